/** What a command printed on a real kernel, shortened to what a reader needs to recognise it. */

/** Characters, lines. */
const WIDTH = 400;
const MOST = 80;
/** Samples of more lines are folded. */
const SHORT = 6;

/** Of a log, whose lines before do not explain the last ones. */
const MOST_OF_LOG = 14;

/** The first lines of an output, or the last ones of a log. */
export function shortened(output: string, isLog = false): string {
  const all = output.split('\n').map(narrow);
  const most = isLog ? MOST_OF_LOG : MOST;
  if (all.length <= most) return all.join('\n');
  return (isLog ? ['…', ...all.slice(-most)] : [...all.slice(0, most), '…']).join('\n');
}

function narrow(line: string): string {
  const plain = line.replaceAll('\t', '  ').trimEnd();
  return plain.length > WIDTH ? `${plain.slice(0, WIDTH - 1)}…` : plain;
}

/**
 * @param output that was shortened
 * @param isProvoked whether what the alert is about existed when the test of the runbooks ran the command
 * @param indent of the step that the command belongs to
 */
export function sample(output: string, isProvoked: boolean, indent: string): string {
  const lines = output.split('\n');
  const block = ['```text', ...lines, '```'];
  const intro = `In the lab, ${isProvoked ? 'with' : 'without'} this fault, it printed`;
  const parts =
    lines.length <= SHORT
      ? [`${intro}:`, '', ...block]
      : [`<details><summary>${intro}…</summary>`, '', ...block, '', '</details>'];
  return parts.map((line) => (line === '' ? '' : indent + line)).join('\n');
}
