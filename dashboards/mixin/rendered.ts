/**
 * PromQL as the settings of a mixin want it. Expressions are written for the label `cluster` and without a
 * selector of the agents, so that they can be read; both are put in when files are rendered.
 */
import type { MixinSettings } from './settings.ts';

/**
 * A metric of the agent that is no recorded sum (whose name has colons), the brace behind it if there is one,
 * and the brace that ends matchers without any.
 */
const METRIC =
  /(?<![\w:"$])(vfioscope_\w+|(?:process|nodejs)_(?!version\b)\w+|up)(?![\w:(="])(\{)?(\})?/g;

/** Puts selector and cluster label in. */
export function scoped(
  expr: string,
  settings: Pick<MixinSettings, 'selector' | 'cluster_label'>,
): string {
  const { selector, cluster_label: label } = settings;
  const selected = selector
    ? expr.replace(METRIC, (_all, metric: string, opened = '', closed = '') => {
        if (!opened) return `${metric}{${selector}}`;
        return closed ? `${metric}{${selector}}` : `${metric}{${selector},`;
      })
    : expr;
  return label === 'cluster' ? selected : selected.replace(/(?<![$\w])cluster(?![\w":])/g, label);
}

/** Puts thresholds (`$name`), selector and cluster label in. */
export function rendered(expr: string, settings: MixinSettings): string {
  const thresholds: Readonly<Record<string, number>> = settings.thresholds;
  const filled = expr.replace(/\$(\w+)/g, (_all, name: string) => {
    const value = thresholds[name];
    if (value === undefined) throw new Error(`no setting is the threshold ${name}: ${expr}`);
    return `${value}`;
  });
  return scoped(filled, settings);
}
