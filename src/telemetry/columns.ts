/** The text of a log message for people: words that lines begin with stand in a column, which the message does not have. */
import { ATTRIBUTION_COLUMN, ATTRIBUTION_LABELS } from '../engine/attribution-lines.ts';

/** The first words of messages about lifecycles, which are of at most this many characters. */
const COLUMN = 8;
const WORDS = new Set(
  [
    ...['parent', 'created', 'failed', 'opened', 'closed', 'waiting', 'removed', 'bound'],
    ...['released', 'resolved', 'repeated', 'waiters'],
  ].map((word) => `${word} `),
);

/** @param message of several lines at most */
export function inColumns(message: string): string {
  const [first, ...rest] = message.split('\n');
  const end = first.indexOf(' ') + 1;
  const word = first.slice(0, end);
  const aligned = WORDS.has(word) ? word.trimEnd().padEnd(COLUMN) + first.slice(end - 1) : first;
  return [aligned, ...rest.map(labelled)].join('\n');
}

function labelled(line: string): string {
  const text = line.trimStart();
  const label = ATTRIBUTION_LABELS.find((one) => text.startsWith(`${one} `));
  if (label === undefined) return line;
  const indent = line.slice(0, line.length - text.length);
  return `${indent}${label.padEnd(ATTRIBUTION_COLUMN)}${text.slice(label.length)}`;
}
