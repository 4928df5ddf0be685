/** A file of settings, in YAML, and where in it each of them stands. */
import { readFileSync } from 'node:fs';
import {
  type Alias,
  type Document,
  isMap,
  isScalar,
  LineCounter,
  type Node,
  parseDocument,
  visit,
} from 'yaml';
import { UserProblem } from '../../src/problem.ts';

export interface SettingsFile {
  readonly settings: Record<string, unknown>;
  /** @returns FILE:LINE of the key at that path, or of its nearest enclosing one */
  place(path: readonly string[]): string;
}

/** @throws {UserProblem} when the file cannot be read, or has no settings in it */
export function readSettings(file: string): SettingsFile {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new UserProblem(
      `cannot read the configuration ${file}: ${(error as NodeJS.ErrnoException).code}`,
      'check the path given to --config',
      { cause: error },
    );
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const [syntax] = document.errors;
  const reject = (offset: number, message: string) => {
    const { line } = lines.linePos(offset);
    const [first] = message.split('\n');
    throw new UserProblem(`${file}:${line}: ${first.replace(/:$/, '')}`, 'correct the YAML there');
  };
  if (syntax) reject(syntax.pos[0], syntax.message);
  const alias = danglingAlias(document);
  if (alias)
    reject(alias.range?.[0] ?? 0, `the alias ${alias.source} stands for nothing before it`);
  const settings: unknown = document.toJS() ?? {};
  const place = (path: readonly string[]) => {
    const offset = offsetOf(document.contents, path);
    return offset === undefined ? file : `${file}:${lines.linePos(offset).line}`;
  };
  if (typeof settings !== 'object' || settings === null || Array.isArray(settings)) {
    throw new UserProblem(
      `${file}:1: expected settings as "key: value"`,
      'see vfioscope run --help',
    );
  }
  return { settings: settings as Record<string, unknown>, place };
}

function danglingAlias(document: Document.Parsed): Alias | undefined {
  let dangling: Alias | undefined;
  visit(document, {
    Alias(_, alias) {
      if (alias.resolve(document)) return undefined;
      dangling = alias;
      return visit.BREAK;
    },
  });
  return dangling;
}

/** Where the key at `path` stands, or its nearest enclosing one. */
function offsetOf(root: Node | null, path: readonly string[]): number | undefined {
  let node: unknown = root;
  let offset: number | undefined;
  for (const key of path) {
    if (!isMap(node)) break;
    const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === key);
    if (!pair) break;
    if (isScalar(pair.key)) offset = pair.key.range?.[0] ?? offset;
    node = pair.value;
  }
  return offset;
}
