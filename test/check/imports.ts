// Checks the imports between layers (layers.ts), and that no files import each other in a circle, with
// dependency-cruiser. Imports of types count: a type from above is an arrow upward, too.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { cruise, type IFlattenedRuleSet, type IViolation } from 'dependency-cruiser';
import { BESIDE, LAYERS, type Layer, TEST_KIT } from './layers.ts';

const DIRECTORIES = ['src', 'agent', 'dashboards', 'test'];
const TEST = '\\.test\\.ts$';

type Forbidden = NonNullable<IFlattenedRuleSet['forbidden']>[number];

/** The files of a layer. `base` is what stands in src/ itself, but for the catalogue above it. */
function files(layer: Layer): { path: string; pathNot: string[] } {
  const above = LAYERS.slice(LAYERS.indexOf(layer) + 1);
  return { path: layer.path, pathNot: above.map(({ path }) => path) };
}

function forbid(name: string, from: Forbidden['from'], to: object): Forbidden {
  return { name, severity: 'error', from, to } as Forbidden;
}

function layerRules(layer: Layer): Forbidden[] {
  const from = files(layer);
  const denied = LAYERS.filter(({ name }) => name !== layer.name && !layer.imports.includes(name));
  return [
    ...denied.map((other) =>
      forbid(`${layer.name} may not import from ${other.name}`, from, files(other)),
    ),
    forbid(
      `${layer.name} may not import what stands beside the layers`,
      { ...from, pathNot: [...from.pathNot, TEST] },
      { path: BESIDE },
    ),
    forbid(
      `tests of ${layer.name} may import nothing of test/ but its kit`,
      { path: `${layer.path}.*${TEST}` },
      { path: BESIDE, pathNot: [TEST_KIT] },
    ),
  ];
}

const RULES: Forbidden[] = [
  ...LAYERS.flatMap(layerRules),
  forbid('files may not import each other in a circle', {}, { circular: true }),
];

function describe({ rule, from, to, cycle }: IViolation): string {
  const path = cycle ? cycle.map(({ name }) => name).join(' -> ') : to;
  return `${from} -> ${path}: ${rule.name}`;
}

/** A type that is named by an import expression, which the parser passes over. */
const TYPE_EXPRESSION = /\bimport\(['"][^'"]+['"]\)\.[A-Z]|\btypeof import\(/;

/** What is wrong below `root`, a sentence each: imports that break a rule, files of src/ without a layer. */
export async function checkImports(root: string): Promise<string[]> {
  const { output } = await cruise(DIRECTORIES, {
    baseDir: root,
    parser: 'swc',
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^dist/' },
    enhancedResolveOptions: { extensions: ['.ts', '.js', '.json'] },
    validate: true,
    ruleSet: { forbidden: RULES },
  });
  if (typeof output === 'string') throw new Error(output);
  const problems = output.summary.violations.map(describe);
  for (const { source } of output.modules) {
    if (!/^(src|agent|dashboards|test)\/.*\.ts$/.test(source)) continue;
    if (source.startsWith('src/') && !LAYERS.some(({ path }) => new RegExp(path).test(source))) {
      problems.push(`${source}: belongs to no layer of test/check/layers.ts`);
    }
    if (TYPE_EXPRESSION.test(readFileSync(join(root, source), 'utf8'))) {
      problems.push(
        `${source}: names a type by import(), which this check cannot see: use import type`,
      );
    }
  }
  return problems;
}
