/**
 * Bundles the agent into dist/agent: a few files instead of a thousand, because
 * finding and reading modules is most of the time that a small program needs to start.
 */
import { chmodSync, copyFileSync, rmSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'rolldown';

/** What the agent is until its probes are attached and it has said so: one file. */
const START = ['main.ts', 'commands/run.ts', 'runtime/log.ts'].map((path) =>
  fileURLToPath(new URL(path, import.meta.url)),
);

/**
 * Node's own modules without `import`, for which Node makes a module of each by asking for
 * all that it exports: with fs come streams and promises, with process the standard input.
 */
const builtins: Plugin = {
  name: 'builtins',
  resolveId: {
    order: 'pre',
    handler(id, importer, { kind }) {
      if (!isBuiltin(id) || importer?.includes('rolldown')) return undefined;
      // It can run subcommands that are programs of their own. None of ours is.
      if (id === 'node:child_process' && importer?.includes('/commander/')) return '\0nothing';
      return `\0${kind === 'require-call' ? 'require' : 'import'}:${id.replace(/^node:/, '')}`;
    },
  },
  load(id) {
    if (id === '\0nothing') return 'export default {};';
    const [, kind, name] = /^\0(require|import):(.+)$/.exec(id) ?? [];
    if (name === undefined) return undefined;
    const module = `/* @__PURE__ */ process.getBuiltinModule('${name}')`;
    if (kind === 'require') return `module.exports = ${module};`;
    const exported = Object.keys(process.getBuiltinModule(name) ?? {});
    const lines = exported.map(
      (key) => `const _${key} = /* @__PURE__ */ (() => it.${key})(); export { _${key} as ${key} };`,
    );
    return [`const it = ${module};`, 'export default it;', ...lines].join('\n');
  },
};

let starting: ReadonlySet<string> | undefined;

/** All that these modules import, and what that imports. */
function closure(of: readonly string[], imports: (id: string) => readonly string[]): Set<string> {
  const all = new Set<string>();
  const add = (id: string) => {
    if (all.has(id)) return;
    all.add(id);
    for (const one of imports(id)) add(one);
  };
  for (const id of of) add(id);
  return all;
}

rmSync('dist/agent', { recursive: true, force: true });
await build({
  input: 'agent/main.ts',
  platform: 'node',
  plugins: [builtins],
  // koffi's native addons, found through node_modules.
  external: [/^@koromix\//],
  output: {
    dir: 'dist/agent',
    entryFileNames: '[name].js',
    sourcemap: true,
    sourcemapExcludeSources: true,
    // Less to read and to keep. Names stay, for a stack that somebody reports.
    minify: { compress: true, mangle: false, codegen: { removeWhitespace: true } },
    codeSplitting: {
      groups: [
        {
          debugName: 'start',
          name(id, modules) {
            const imports = (one: string) => modules.getModuleInfo(one)?.importedIds ?? [];
            starting ??= closure(START, imports);
            return starting.has(id) || id.includes('rolldown/runtime') ? 'start' : null;
          },
        },
      ],
    },
  },
});
chmodSync('dist/agent/main.js', 0o755);
copyFileSync('package.json', 'dist/package.json');
