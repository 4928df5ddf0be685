// The check finds code that decides by a kernel's number, in a small tree that does.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { KERNEL_NUMBERS } from './kernel-numbers.ts';
import { checkWords } from './words.ts';

const WRONG = [
  "import { arch, release } from 'node:os';",
  'if (isAtLeast(host.kernel, wanted)) return;',
  'const SINCE = [5, 15] as const;',
  'export function kernelVersion(): number[] {}',
  'const newer = host.is_since(6);',
  'extern int LINUX_KERNEL_VERSION __kconfig;',
  "readFileSync('/proc/sys/kernel/osrelease');",
  "const [major] = header.kernel.split('.');",
  "run('uname', ['-r']);",
];
const RIGHT = [
  "import { tmpdir } from 'node:os';",
  '// Before 6.2 the core holds no reference.',
  'pins.release();',
  'if (host.traits.coreHoldsVm) return;',
  'const { since } = device;',
];

function problemsOf(lines: readonly string[]): string[] {
  const root = mkdtempSync(join(tmpdir(), 'vfioscope-numbers-'));
  mkdirSync(join(root, 'src'));
  writeFileSync(join(root, 'src/a.ts'), lines.join('\n'));
  try {
    return checkWords(root, { ...KERNEL_NUMBERS, exceptions: [] });
  } finally {
    rmSync(root, { recursive: true });
  }
}

test('code that asks for the number of the kernel, or compares it, is found', () => {
  assert.deepEqual(
    problemsOf(WRONG).map((problem) => problem.slice(0, problem.indexOf(': '))),
    WRONG.map((_, i) => `src/a.ts:${i + 1}`),
  );
});

test('what only resembles that is not', () => {
  assert.deepEqual(problemsOf(RIGHT), []);
});

test('nothing in the tree does, and no exception excuses nothing', () => {
  assert.deepEqual(checkWords(process.cwd(), KERNEL_NUMBERS), []);
});
