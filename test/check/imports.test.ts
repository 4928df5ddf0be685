// The check of imports finds what it is there for, in a small tree that breaks its rules.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { checkImports } from './imports.ts';
import { LAYERS } from './layers.ts';

/** A legal tree: tests add to it. */
const LEGAL = {
  'src/problem.ts': 'export type Problem = string;',
  'src/events/points.ts': "import type { Problem } from '../problem.ts';\nexport type P = Problem;",
  'src/kernel/host.ts': "import type { P } from '../events/points.ts';\nexport const p: P = '';",
  'src/lifecycle/world.ts': 'export class World {}',
  'src/engine/rule.ts': "export { World } from '../lifecycle/world.ts';\nexport type Rule = 1;",
  'src/rules/a.ts': "import { World } from '../engine/rule.ts';\nexport const a = new World();",
  'src/catalogue.ts': "export { a } from './rules/a.ts';",
  'agent/main.ts': "import '../src/catalogue.ts';\nimport '../src/kernel/host.ts';",
  'dashboards/generate.ts': "import '../src/catalogue.ts';",
  'test/kit/kit.ts': "export { World } from '../../src/lifecycle/world.ts';",
  'test/e2e/agent.ts': "import '../../agent/main.ts';\nexport const one = 1;",
  'src/lifecycle/world.test.ts': "import '../../test/kit/kit.ts';",
};

let root: string;

function write(files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
}

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'vfioscope-imports-'));
  write(LEGAL);
});

afterEach(() => rmSync(root, { recursive: true }));

const find = () => checkImports(root);

test('a legal tree passes', async () => {
  assert.deepEqual(await find(), []);
});

const UPWARD = [
  { why: 'a value', text: "import { World } from '../engine/rule.ts';\nnew World();" },
  { why: 'a type', text: "import type { Rule } from '../engine/rule.ts';\nexport type R = Rule;" },
  { why: 'a type among values', text: "import { type Rule } from '../engine/rule.ts';" },
  { why: 'a re-export', text: "export * from '../engine/rule.ts';" },
  { why: 'a late import', text: "await import('../engine/rule.ts');" },
];

for (const { why, text } of UPWARD) {
  test(`an arrow upward is found: ${why}`, async () => {
    write({ 'src/kernel/host.ts': text });
    assert.deepEqual(await find(), [
      'src/kernel/host.ts -> src/engine/rule.ts: kernel may not import from engine',
    ]);
  });
}

test('a type in an import expression, which the parser does not see, is refused', async () => {
  write({ 'src/kernel/host.ts': `export type R = ${'import'}('../engine/rule.ts').Rule;` });
  assert.match((await find()).join(), /^src\/kernel\/host\.ts: names a type by import\(\)/);
});

test('a circle of files is found, of types too, within one layer', async () => {
  write({
    'src/lifecycle/world.ts': "import type { V } from './vfio.ts';\nexport class World { v?: V }",
    'src/lifecycle/vfio.ts': "import { World } from './world.ts';\nexport class V extends World {}",
  });
  const problems = await find();
  assert.ok(
    problems.includes(
      'src/lifecycle/vfio.ts -> src/lifecycle/world.ts -> src/lifecycle/vfio.ts: files may not import each other in a circle',
    ),
    problems.join('\n'),
  );
});

test('src/catalogue.ts is above the rules, though its directory is the lowest layer', async () => {
  write({
    'src/rules/b.ts': "import '../catalogue.ts';",
    'src/rules/c.ts': "import '../problem.ts';",
  });
  assert.deepEqual(await find(), [
    'src/rules/b.ts -> src/catalogue.ts: rules may not import from catalogue',
  ]);
});

test('nothing of src/ or agent/ imports dashboards or test, and tests only the kit', async () => {
  write({
    'src/telemetry/a.ts': "import '../../dashboards/generate.ts';",
    'agent/b.ts': "import '../test/kit/kit.ts';",
    'src/telemetry/c.test.ts': "import '../../test/e2e/agent.ts';",
  });
  assert.deepEqual((await find()).sort(), [
    'agent/b.ts -> test/kit/kit.ts: agent may not import what stands beside the layers',
    'src/telemetry/a.ts -> dashboards/generate.ts: telemetry may not import what stands beside the layers',
    'src/telemetry/c.test.ts -> test/e2e/agent.ts: tests of telemetry may import nothing of test/ but its kit',
  ]);
});

test('a directory of src/ without a layer is found', async () => {
  write({ 'src/misc/a.ts': 'export const a = 1;' });
  assert.deepEqual(await find(), ['src/misc/a.ts: belongs to no layer of test/check/layers.ts']);
});

test('the layers are a ladder: each imports only from those before it', () => {
  LAYERS.forEach(({ name, imports }, index) => {
    const below = LAYERS.slice(0, index).map((layer) => layer.name);
    for (const other of imports) assert.ok(below.includes(other), `${name} imports ${other}`);
  });
});
