/** A dashboard as the settings of a mixin want it. */
import { type Board, build } from '../board.ts';
import { scoped } from './rendered.ts';
import type { MixinSettings } from './settings.ts';

/** The fields of a dashboard that are PromQL. */
const QUERIES = new Set(['expr', 'query', 'definition']);
/** The objects whose keys are names of labels, and the texts that name labels in braces. */
const BY_LABEL = new Set(['renameByName', 'indexByName', 'excludeByName']);
const LEGENDS = new Set(['legendFormat', 'titleFormat', 'textFormat']);

/** @returns the JSON that Grafana imports */
export function boardJson(board: Board, settings: MixinSettings): string {
  return `${JSON.stringify(adapted(build(board), '', settings), null, 2)}\n`;
}

function adapted(value: unknown, key: string, settings: MixinSettings): unknown {
  const { cluster_label: label } = settings;
  if (typeof value === 'string') {
    if (QUERIES.has(key)) return scoped(value, settings);
    return LEGENDS.has(key) ? value.replaceAll('{{cluster}}', `{{${label}}}`) : value;
  }
  if (Array.isArray(value)) return value.map((one) => adapted(one, key, settings));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, one]) => [
      BY_LABEL.has(key) && name === 'cluster' ? label : name,
      adapted(one, name, settings),
    ]),
  );
}
