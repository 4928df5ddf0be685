// SPDX-License-Identifier: Apache-2.0
/**
 * Writes docs/rules from the rules themselves and from what provoking them on each kernel
 * showed (provoked/KERNEL.json); with --check, only checks whether the committed pages are
 * that (exit code 1 when one is not, or belongs to no rule).
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { TOPICS } from '../../src/catalogue.ts';
import { readSupport } from '../e2e/support.ts';
import { readMatrix, wholeKernels } from '../lab/kernels.ts';
import { messagesDocument } from './messages-document.ts';
import { ruleDocuments, type Trial, type Trials } from './rules-document.ts';

const directory = new URL('../../docs/rules/', import.meta.url);
const matrix = readMatrix();
const whole = wholeKernels(matrix);
const rows = whole.filter((id) => id in matrix.kernels);
const withIommufd = whole.filter((id) => !rows.includes(id));
const documents = ruleDocuments(TOPICS, rows.map(trialsOn), withIommufd.map(trialsOn));
documents.set('messages.md', messagesDocument(TOPICS));

mkdirSync(directory, { recursive: true });
const stray = readdirSync(directory).filter((name) => !documents.has(name));
if (process.argv.includes('--check')) {
  const stale = [...documents].filter(([name, text]) => textOf(new URL(name, directory)) !== text);
  for (const name of [...stale.map(([name]) => name), ...stray]) {
    console.error(`docs/rules/${name} does not match src/rules: run \`npm run generate\``);
    process.exitCode = 1;
  }
} else {
  for (const name of stray) rmSync(new URL(name, directory));
  for (const [name, text] of documents) writeFileSync(new URL(name, directory), text);
}

/** What was provoked there; and what the agent itself found to be impossible there. */
function trialsOn(kernel: string): Trials {
  const file = new URL(`../e2e/provoked/${kernel}.json`, import.meta.url);
  const none: Omit<Trials, 'kernel'> = { release: undefined, rules: {} };
  const tried = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Trials) : none;
  const rules: Record<string, Trial> = { ...tried.rules };
  for (const { id, impossible: because } of readSupport(kernel).rules) {
    if (because === undefined || rules[id]?.outcome === 'provoked') continue;
    rules[id] = { outcome: 'impossible', because };
  }
  return { kernel, release: tried.release, rules };
}

function textOf(file: URL): string {
  return existsSync(file) ? readFileSync(file, 'utf8') : '';
}
