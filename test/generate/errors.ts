/**
 * Writes docs/errors.md from the table of problem codes; with --check, only reports whether the
 * committed file is current (exit code 1 when it is not).
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { code, table } from '../../src/markdown.ts';
import { PROBLEM_CODES } from '../../src/problem-codes.ts';

const rows = Object.entries(PROBLEM_CODES).map(([name, { cause, remedy }]) => [
  code(name),
  cause,
  remedy,
]);

const document = `# Error codes

<!-- Generated from src/problem-codes.ts by test/generate/errors.ts: do not edit. -->

A failure that you can fix has a code, a message that names the object, and a next step. Commands print
them to stderr, JSON documents and log lines have them as \`code\`, \`message\` or \`msg\`, and \`next\`:

\`\`\`
error[config.unknown-key]: /etc/vfioscope.yaml:2: unknown setting rules.remove_stal_seconds
  what to do: use one of disabled, remove_stall_seconds, …
\`\`\`

Codes are stable: match them, not the messages. [configuration.md](configuration.md#exit-codes) lists the
exit codes of commands.

${table(['code', 'cause', 'remedy'], rows)}
`;

const target = new URL('../../docs/errors.md', import.meta.url);
if (!process.argv.includes('--check')) {
  writeFileSync(target, document);
} else if (readFileSync(target, 'utf8') !== document) {
  console.error('docs/errors.md does not match src/problem-codes.ts: run `npm run generate`');
  process.exitCode = 1;
}
