// SPDX-License-Identifier: Apache-2.0
/** Whether the pictures in docs/dashboards are of the current dashboards, simulated hosts and drawing program. */
import { createHash } from 'node:crypto';
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { BOARDS } from '../catalogue.ts';

const DASHBOARDS = path.join(import.meta.dirname, '..');
const PICTURES = path.join(DASHBOARDS, '../docs/dashboards');
const STAMP = path.join(PICTURES, 'drawn-from.json');

export function pictureOf(board: string): string {
  return path.join(PICTURES, `${board}.png`);
}

/** Changes what a file contains: only for tests. */
type Change = (file: string, content: Buffer) => Buffer;

/** The hash of what each picture is drawn from, and of the picture itself. */
export function hashes(change: Change = (_, content) => content): Record<string, string> {
  const read = (file: string) => change(file, readFileSync(file));
  const program = globSync('pictures/*.ts', { cwd: DASHBOARDS })
    .filter((file) => !file.endsWith('.test.ts'))
    .sort();
  const drawing = ['simulated-hosts.ts', ...program].map((file) =>
    codeOf(read(path.join(DASHBOARDS, file)).toString()),
  );
  return Object.fromEntries(
    BOARDS.map(({ name }) => {
      const hash = createHash('sha256');
      for (const text of drawing) hash.update(text);
      hash.update(read(path.join(DASHBOARDS, `${name}.json`)));
      hash.update(read(pictureOf(name)));
      return [name, hash.digest('hex')];
    }),
  );
}

/** Where a module lies, and how it is explained, does not change a picture. */
function codeOf(source: string): string {
  return source.replaceAll(/^import [^;]*;\n/gm, '').replaceAll(/^ *(\/\/|\/\*\*|\*).*\n/gm, '');
}

export function writeStamp(): void {
  writeFileSync(STAMP, `${JSON.stringify(hashes(), null, 2)}\n`);
}

/** @returns the dashboards whose pictures have to be drawn again */
export function stale(): string[] {
  const drawn = JSON.parse(readFileSync(STAMP, 'utf8')) as Readonly<Record<string, string>>;
  return Object.entries(hashes())
    .filter(([name, hash]) => drawn[name] !== hash)
    .map(([name]) => name);
}
