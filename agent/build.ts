/**
 * Bundles the agent into dist/agent: a few files instead of a thousand, because
 * finding and reading modules is most of the time that a small program needs to start.
 */
import { copyFileSync, rmSync } from 'node:fs';
import { build } from 'esbuild';

rmSync('dist/agent', { recursive: true, force: true });
await build({
  entryPoints: ['agent/main.ts'],
  outdir: 'dist/agent',
  bundle: true,
  // Less to read and to keep. Names stay, for a stack that somebody reports.
  minifyWhitespace: true,
  minifySyntax: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node22',
  sourcemap: 'linked',
  sourcesContent: false,
  // A native addon, found through node_modules.
  external: ['koffi'],
  // Packages in CommonJS expect to be able to require Node's own modules.
  banner: {
    js: "import { createRequire as vfioscopeRequire } from 'node:module'; const require = vfioscopeRequire(import.meta.url);",
  },
  logLevel: 'warning',
});
copyFileSync('package.json', 'dist/package.json');
