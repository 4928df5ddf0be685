import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { LockedMemoryLimits, lockedMemoryLimit } from './limits.ts';

/** As the kernel writes it. */
const LIMITS = `Limit                     Soft Limit           Hard Limit           Units     
Max cpu time              unlimited            unlimited            seconds   
Max locked memory         8388608              unlimited            bytes     
`;

test('the limit of locked memory is the soft one', () => {
  const proc = mkdtempSync(join(tmpdir(), 'proc-'));
  try {
    for (const directory of ['self/ns', '600', '601', '602']) {
      mkdirSync(join(proc, directory), { recursive: true });
    }
    assert.equal(lockedMemoryLimit(600, proc), undefined);
    symlinkSync('pid:[4026531836]', join(proc, 'self/ns/pid'));
    writeFileSync(join(proc, '600/limits'), LIMITS);
    writeFileSync(join(proc, '601/limits'), LIMITS.replace('8388608  ', 'unlimited'));
    writeFileSync(join(proc, '602/limits'), '');
    assert.equal(lockedMemoryLimit(600, proc), 8 * 1024 ** 2);
    assert.equal(lockedMemoryLimit(601, proc), Number.POSITIVE_INFINITY);
    assert.equal(lockedMemoryLimit(602, proc), undefined);
    assert.equal(lockedMemoryLimit(603, proc), undefined);
  } finally {
    rmSync(proc, { recursive: true });
  }
});

test('a process that is refused again and again is asked once a second', () => {
  const asked: number[] = [];
  let now = 5e9;
  const read = (pid: number) => asked.push(pid);
  const limits = new LockedMemoryLimits(read, () => now);
  assert.deepEqual([limits.of(600), limits.of(600)], [1, 1]);
  assert.equal(limits.of(601), 2);
  now += 2e9;
  assert.equal(limits.of(601), 3);
  assert.deepEqual(asked, [600, 601, 601]);
});
