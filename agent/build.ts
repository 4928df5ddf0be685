/**
 * Bundles the agent into dist/agent: a few files instead of a thousand, because finding and reading modules
 * takes most of the start time of a small program.
 */
import { chmodSync, copyFileSync, rmSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'rolldown';
import { buildDocuments } from './build-documents.ts';

/** The modules that run until the probes are attached and that is logged: they are bundled into one file. */
const START = ['main.ts', 'commands/run.ts', 'runtime/log.ts'].map((path) =>
  fileURLToPath(new URL(path, import.meta.url)),
);

/**
 * Gets Node's own modules without `import`, for which Node reads all exports of each: fs would load streams
 * and promises, process the standard input.
 */
const builtins: Plugin = {
  name: 'builtins',
  resolveId: {
    order: 'pre',
    handler(id, importer, { kind }) {
      if (!isBuiltin(id) || importer?.includes('rolldown')) return undefined;
      return `\0${kind === 'require-call' ? 'require' : 'import'}:${id.replace(/^node:/, '')}`;
    },
  },
  load(id) {
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

/** Parts of packages that are never used here, and what replaces them. */
const UNUSED: readonly { readonly of: string; readonly id: RegExp; readonly instead: string }[] = [
  // Subcommands that are programs of their own; there are none.
  { of: '/commander/', id: /^node:child_process$/, instead: 'export default {};' },
  // Loggers in other threads; the agent logs in the main one.
  { of: '/pino/', id: /\/(transport|multistream)(\.js)?$/, instead: 'export default {};' },
  { of: '/pino/', id: /^worker_threads$/, instead: 'export const isMainThread = true;' },
];

const unused: Plugin = {
  name: 'unused',
  resolveId: {
    order: 'pre',
    handler(id, importer) {
      const at = UNUSED.findIndex((one) => importer?.includes(one.of) && one.id.test(id));
      return at < 0 ? undefined : `\0unused:${at}`;
    },
  },
  load(id) {
    return id.startsWith('\0unused:') ? UNUSED[Number(id.slice(8))].instead : undefined;
  },
};

/**
 * koffi searches for its addon and detects whether the C library is glibc or musl, which at each start
 * takes longer than loading the addon. The one for glibc is at a known path; if it is not there or does not
 * load, koffi's own way is used.
 */
const LOAD_ADDON = `
function loadAddon(host) {
  const path = \`\${import.meta.dirname}/../../node_modules/@koromix/koffi-\${host}/\${host.replace('-', '_')}/koffi.node\`;
  const module = { exports: {} };
  try { process.dlopen(module, path); } catch { return undefined; }
  return module.exports;
}`;

const koffi: Plugin = {
  name: 'koffi',
  transform: {
    filter: { id: /koffi\/src\/static\.js$/ },
    handler: (code) => {
      const addon = /require\('@koromix\/koffi-(linux-(?:x64|arm64))'\)/g;
      const direct = (asked: string, host: string) => `loadAddon('${host}') ?? ${asked}`;
      return { code: code.replace(addon, direct) + LOAD_ADDON, map: null };
    },
  },
};

/**
 * OpenTelemetry requires gRPC at run time, which would load a second copy from node_modules beside the one
 * in the bundle, and the classes of the two are different.
 */
const grpc: Plugin = {
  name: 'grpc',
  transform: {
    filter: { id: /otlp-grpc-exporter-base/ },
    handler(code) {
      const asked = '__require("@grpc/grpc-js")';
      if (!code.includes(asked)) return undefined;
      const given = code.replaceAll(asked, 'grpcJs');
      // Line numbers do not change, so the source map stays valid.
      return { code: `import * as grpcJs from '@grpc/grpc-js';${given}`, map: null };
    },
  },
};

let starting: ReadonlySet<string> | undefined;

/** These modules and everything that they import, directly or not. */
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
  plugins: [unused, builtins, koffi, grpc],
  // koffi's native addons, which stay in node_modules.
  external: [/^@koromix\//],
  output: {
    dir: 'dist/agent',
    entryFileNames: '[name].js',
    sourcemap: true,
    sourcemapExcludeSources: true,
    // Smaller files load faster. Names are kept, for stack traces in reports.
    minify: {
      compress: true,
      mangle: { keepNames: { function: true, class: true } },
      codegen: { removeWhitespace: true },
    },
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
buildDocuments('docs', 'dist/docs');
chmodSync('dist/agent/main.js', 0o755);
copyFileSync('package.json', 'dist/package.json');
