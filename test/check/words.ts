// Looks for retired words (retired-words.ts) in prose, names and comments.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import type { RetiredWord, WordException } from './retired-words.ts';

/** Files that people read or write: no objects, recordings or pictures. */
const TEXT = /\.(md|ts|c|h|sh|ya?ml|json|svg|html|service|dot)$|(^|\/)(Makefile|Dockerfile)$/;

/** What names the words in order to retire them, and what others wrote. */
const SKIPPED =
  /^(test\/check\/(retired-words|words\.test)\.ts|package-lock\.json|LICENSES\/)|(^|\/)(node_modules|dist|\.git)\//;

export interface WordCheck {
  readonly words: readonly RetiredWord[];
  readonly exceptions: readonly WordException[];
  /** Files, and directories that end in a slash, relative to the root. */
  readonly paths: readonly string[];
}

function filesBelow(root: string, path: string): string[] {
  if (!path.endsWith('/')) return [path];
  const found = existsSync(join(root, path))
    ? readdirSync(join(root, path), { recursive: true, withFileTypes: true })
    : [];
  return found
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)));
}

/** `aName`, `a_name` and `AName` as words. */
function apart(line: string): string {
  return line.replace(/([a-z0-9])([A-Z])/g, '$1 $2').replaceAll('_', ' ');
}

function matches(path: string, exception: WordException, line: string): boolean {
  return path.startsWith(exception.path) && exception.line.test(line);
}

/** One sentence for each retired word, `file:line: …`, and for each exception that excuses nothing. */
export function checkWords(root: string, { words, exceptions, paths }: WordCheck): string[] {
  const problems: string[] = [];
  const unused = new Set(exceptions);
  const patterns = words.map(({ pattern, instead }) => ({
    pattern: new RegExp(pattern, 'i'),
    instead,
  }));
  for (const path of new Set(paths.flatMap((each) => filesBelow(root, each)))) {
    if (!TEXT.test(path) || SKIPPED.test(path)) continue;
    const lines = readFileSync(join(root, path), 'utf8').split('\n');
    lines.forEach((line, index) => {
      for (const { pattern, instead } of patterns) {
        const found = pattern.exec(line) ?? pattern.exec(apart(line));
        if (!found) continue;
        const excuse = exceptions.find((exception) => matches(path, exception, line));
        if (excuse) unused.delete(excuse);
        else problems.push(`${path}:${index + 1}: "${found[0]}" is retired: ${instead}`);
      }
    });
  }
  for (const { path, line } of unused) {
    problems.push(`${path}: the exception ${line} of test/check excuses nothing`);
  }
  return problems;
}
