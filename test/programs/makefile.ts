// SPDX-License-Identifier: Apache-2.0
/** Finds the programs that the recipes of a makefile start, and its calls of the shell. */
import { programsOfShell } from './shell.ts';

const CALL = /\$\(shell ([^()]*)\)/g;
const VARIABLE = /\$\((\w+)\)/g;

export function programsOfMakefile(text: string): Set<string> {
  const lines = text.replaceAll('\\\n', ' ').split('\n');
  const variables = new Map<string, string>();
  for (const line of lines) {
    const [, name, value] = /^(\w+)\s*[?:]?=\s*(.*)$/.exec(line) ?? [];
    if (name !== undefined) variables.set(name, value);
  }
  const expanded = (line: string): string => {
    const next = line.replaceAll(CALL, 'word').replaceAll(VARIABLE, (_, name) => {
      return variables.get(name) ?? '';
    });
    return next === line ? line.replaceAll('$$', '$') : expanded(next);
  };
  const recipes = lines
    .filter((line) => line.startsWith('\t'))
    .map((line) => expanded(line.replace(/^\s*[@+-]*/, '').replaceAll(/\$[@<^*]/g, 'file')));
  const calls = [...text.matchAll(CALL)].map(([, call]) => call);
  return new Set([...recipes, ...calls].flatMap((line) => [...programsOfShell(line).programs]));
}
