// Snippets are put where the document says, and a document that has gone stale is found.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { applySnippets, commandsOf } from './snippets.ts';

const A = "const A = [\n  {\n    name: 'first',\n  },\n];\n";

function apply(document: string): Map<string, string> {
  const files = new Map([['a.ts', A]]);
  applySnippets(document, {
    read: (file) => files.get(file) ?? '',
    write: (file, text) => files.set(file, text),
  });
  return files;
}

const block = (head: string, body: string, indent = '') =>
  `text\n\n${indent}<!-- ${head} -->\n${indent}\`\`\`ts\n${body}${indent}\`\`\`\n\nmore\n`;

test('a whole file, out of an indented block', () => {
  const files = apply(block('file: b.ts', '   const B = {\n     b: 1,\n   };\n', '   '));
  assert.equal(files.get('b.ts'), 'const B = {\n  b: 1,\n};\n');
});

test('lines before, after, and before the object that holds a line', () => {
  const one = '  { name: 1 },\n';
  assert.match(apply(block('after: a.ts, `const A`', one)).get('a.ts') ?? '', /\[\n {2}\{ name: 1/);
  assert.match(apply(block('before: a.ts, `];`', one)).get('a.ts') ?? '', /1 \},\n\];/);
  const entry = apply(block("before entry: a.ts, `name: 'first'`", one)).get('a.ts') ?? '';
  assert.match(entry, /\[\n {2}\{ name: 1 \},\n {2}\{\n/);
});

test('an anchor that is gone is an error', () => {
  assert.throws(
    () => apply(block('after: a.ts, `nothing`', 'x\n')),
    /a\.ts has no line with nothing/,
  );
});

test('commands are those of marked blocks, without comments', () => {
  const commands = commandsOf(block('run', 'npm run build   # makes dist/\n\nnpm run check\n'));
  assert.deepEqual(commands, ['npm run build', 'npm run check']);
});

test('blocks without a marker are left alone', () => {
  assert.deepEqual([...apply('```ts\nconst x = 1;\n```\n')], [['a.ts', A]]);
});
