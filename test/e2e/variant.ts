// SPDX-License-Identifier: Apache-2.0
/** Builds variants of the agent and its probes from changed sources. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';

type Change = readonly [from: string | RegExp, to: string];

/** Another version of the wire format than any agent has. */
export const OTHER_WIRE: Change = [/WIRE_VERSION = \d+/, 'WIRE_VERSION = 99'];

/**
 * Builds the probes into `directory`/bpf.
 * @param file of bpf/ in which all changes are made @throws when there is nothing to change
 */
export function buildProbes(directory: string, file: string, changes: readonly Change[]): void {
  cpSync('bpf', `${directory}/sources`, { recursive: true });
  const path = `${directory}/sources/${file}`;
  let text = readFileSync(path, 'utf8');
  for (const [from, to] of changes) {
    const changed = text.replace(from, to);
    assert.notEqual(changed, text, `${file} has no ${from}`);
    text = changed;
  }
  writeFileSync(path, text);
  execFileSync('make', ['-s', '-C', `${directory}/sources`, 'OUT=../bpf'], { stdio: 'inherit' });
}

/** Copies the agent as it was built, to run with the probes of `directory`. */
export function copyAgent(directory: string): void {
  cpSync('dist/agent', `${directory}/agent`, { recursive: true });
  cpSync('dist/package.json', `${directory}/package.json`);
}
