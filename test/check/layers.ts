// The layers of vfioscope: which directories each may import from. test/check/imports.ts checks it,
// docs/architecture.md draws it.

/** One layer: the files that belong to it, and the names of the layers that they may import from. */
export interface Layer {
  readonly name: string;
  /** A regular expression for paths relative to the root of the repository. */
  readonly path: string;
  /** A layer may always import from itself. */
  readonly imports: readonly string[];
}

const STATE = ['base', 'events', 'lifecycle'];
const RULES = [...STATE, 'scenario', 'engine', 'rules', 'catalogue'];

/** From the bottom to the top. No layer may import from one below it in this list. */
export const LAYERS: readonly Layer[] = [
  { name: 'base', path: '^src/[^/]+\\.ts$', imports: [] },
  { name: 'events', path: '^src/events/', imports: ['base'] },
  { name: 'kernel', path: '^src/kernel/', imports: ['base', 'events'] },
  { name: 'capture', path: '^src/capture/', imports: ['base', 'events'] },
  { name: 'lifecycle', path: '^src/lifecycle/', imports: ['base', 'events'] },
  { name: 'scenario', path: '^src/scenario/', imports: ['base', 'events'] },
  { name: 'engine', path: '^src/engine/', imports: [...STATE, 'scenario'] },
  { name: 'rules', path: '^src/rules/', imports: [...STATE, 'scenario', 'engine'] },
  {
    name: 'catalogue',
    path: '^src/catalogue(\\.test)?\\.ts$',
    imports: [...STATE, 'scenario', 'engine', 'rules'],
  },
  { name: 'telemetry', path: '^src/(telemetry|http)/', imports: RULES },
  { name: 'agent', path: '^agent/', imports: [...RULES, 'kernel', 'capture', 'telemetry'] },
];

/** What stands beside the layers: it may import from all of them, and none may import from it. */
export const BESIDE = '^(test|dashboards)/';

/** What tests of the layers may import from in addition: test/kit, and the files of test/ itself. */
export const TEST_KIT = '^test/(kit/|[^/]+\\.ts$)';
