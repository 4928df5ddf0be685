/** Reads a settings file in YAML, with the line of each setting. What it may cost is bounded. */
import { closeSync, openSync, readSync } from 'node:fs';
import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  LineCounter,
  type Node,
  parseDocument,
  visit,
} from 'yaml';
import { codeOf, messageOf } from '../../src/errors.ts';
import { UserProblem } from '../../src/problem.ts';

/** Bytes: far more than all settings with all rules and headers take. */
const LARGEST = 1 << 18;
/** An alias stands for all of what it names, so a few lines can stand for gigabytes. */
const MOST_ALIASES = 100;
/** What the YAML parser calls tag:yaml.org,2002:…; settings have no other types. */
const TAGS = new Set(['str', 'int', 'float', 'bool', 'null', 'map', 'seq']);
const TAG_PREFIX = 'tag:yaml.org,2002:';

export interface SettingsFile {
  readonly settings: Record<string, unknown>;
  /** @returns FILE:LINE of the key at that path, or of its nearest enclosing one */
  place(path: readonly string[]): string;
}

/** @throws {UserProblem} when the file cannot be read or has no settings in it */
export function readSettings(file: string): SettingsFile {
  const text = readText(file);
  const lines = new LineCounter();
  const reject = (offset: number, message: string): never => {
    const { line } = lines.linePos(offset);
    const [first] = message.split('\n');
    throw new UserProblem(
      'config.syntax',
      `${file}:${line || 1}: ${first.replace(/:$/, '')}`,
      'correct the YAML at that line',
    );
  };
  const document = parse(text, lines, reject);
  const settings = contentOf(document, reject);
  const place = (path: readonly string[]) => {
    const offset = offsetOf(document.contents, path);
    return offset === undefined ? file : `${file}:${lines.linePos(offset).line}`;
  };
  if (typeof settings !== 'object' || settings === null || Array.isArray(settings)) {
    throw new UserProblem(
      'config.not-a-mapping',
      `${file}:1: expected settings as "key: value"`,
      'write settings as vfioscope run --help lists them',
    );
  }
  return { settings: settings as Record<string, unknown>, place };
}

/** Reads no more than is allowed: a device such as /dev/zero has no end. */
function readText(file: string): string {
  const bytes = Buffer.alloc(LARGEST + 1);
  let length = 0;
  try {
    const fd = openSync(file, 'r');
    try {
      for (let read = -1; read !== 0 && length < bytes.length; length += read) {
        read = readSync(fd, bytes, length, bytes.length - length, null);
      }
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    throw new UserProblem(
      'config.unreadable',
      `cannot read the configuration ${file}: ${codeOf(error)}`,
      'correct the path given to --config, or the permissions of the file',
      { cause: error },
    );
  }
  if (length <= LARGEST) return bytes.toString('utf8', 0, length);
  throw new UserProblem(
    'config.too-large',
    `the configuration ${file} has more than ${LARGEST} bytes`,
    'name a file that contains settings and nothing else',
  );
}

type Reject = (offset: number, message: string) => never;

function parse(text: string, lineCounter: LineCounter, reject: Reject): Document.Parsed {
  try {
    // The parser compares each key with all others; checkNodes() finds the same in one pass.
    const document = parseDocument(text, { lineCounter, uniqueKeys: false });
    const [problem] = [...document.errors, ...document.warnings];
    if (problem) reject(problem.pos[0], problem.message);
    checkNodes(document, reject);
    return document;
  } catch (error) {
    // Thrown by recursion over lists in lists in lists.
    if (error instanceof RangeError) reject(0, 'lists or mappings are nested too deeply');
    throw error;
  }
}

/** Rejects what would be misunderstood or ignored in silence. */
function checkNodes(document: Document.Parsed, reject: Reject): void {
  const anchors = new Set<string>();
  let aliases = 0;
  const offset = (node: unknown) => (isNode(node) ? (node.range?.[0] ?? 0) : 0);
  visit(document, (_, node) => {
    if (isAlias(node)) {
      if (!anchors.has(node.source))
        reject(offset(node), `the alias ${node.source} has no anchor before it`);
      if (++aliases > MOST_ALIASES)
        reject(offset(node), `there are more than ${MOST_ALIASES} aliases`);
    } else if (isNode(node)) {
      const { anchor, tag } = node as { anchor?: string; tag?: string };
      if (anchor !== undefined) anchors.add(anchor);
      if (tag !== undefined && !TAGS.has(tag.replace(TAG_PREFIX, ''))) {
        reject(
          offset(node),
          `the tag ${tag.replace(TAG_PREFIX, '!!')} is not supported in settings`,
        );
      }
    }
    if (!isMap(node)) return;
    const keys = new Set<unknown>();
    for (const { key } of node.items) {
      if (!isScalar(key))
        reject(offset(key ?? node), 'a key must be a name, not a list or a mapping');
      else if (keys.has(key.value)) reject(offset(key), 'Map keys must be unique');
      else keys.add(key.value);
    }
  });
}

function contentOf(document: Document.Parsed, reject: Reject): unknown {
  try {
    return document.toJS({ maxAliasCount: MOST_ALIASES }) ?? {};
  } catch (error) {
    return reject(0, messageOf(error));
  }
}

/** The offset of the key at `path`, or of its nearest enclosing one. */
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
