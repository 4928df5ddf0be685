import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { pidsWithKvmFiles } from './kvm-files.ts';

describe('the processes that hold KVM files', () => {
  let proc = '';

  const process = (pid: number, ...files: string[]) => {
    mkdirSync(join(proc, `${pid}`, 'fd'), { recursive: true });
    for (const [fd, file] of files.entries())
      symlinkSync(file, join(proc, `${pid}`, 'fd', `${fd}`));
  };
  const namespace = (name: string) => {
    mkdirSync(join(proc, 'self/ns'), { recursive: true });
    symlinkSync(name, join(proc, 'self/ns/pid'));
  };

  beforeEach(() => {
    proc = mkdtempSync(join(tmpdir(), 'proc-'));
  });
  afterEach(() => rmSync(proc, { recursive: true }));

  it('are found by any file of KVM, and by open files of its debugfs', () => {
    namespace('pid:[4026531836]');
    process(1, '/dev/null', 'socket:[1]');
    process(2, '/dev/kvm');
    process(3, '/dev/null', 'anon_inode:kvm-vm');
    process(4, 'anon_inode:kvm-vcpu:0');
    process(5, '/sys/kernel/debug/kvm/77-11/mmu_cache_miss');
    assert.deepEqual(pidsWithKvmFiles(proc), new Set([3, 4, 5]));
  });

  it('are not known when a process cannot be looked into', () => {
    namespace('pid:[4026531836]');
    // Reading a file as a directory fails in another way than with "gone", as a denial does.
    mkdirSync(join(proc, '7'));
    symlinkSync('/dev/null', join(proc, '7/fd'));
    assert.equal(pidsWithKvmFiles(proc), undefined);
  });

  it('are not known from within a pid namespace, where others do not show', () => {
    namespace('pid:[4026532999]');
    process(3, 'anon_inode:kvm-vm');
    assert.equal(pidsWithKvmFiles(proc), undefined);
  });

  it('may end while they are looked at', () => {
    namespace('pid:[4026531836]');
    mkdirSync(join(proc, '9'));
    assert.deepEqual(pidsWithKvmFiles(proc), new Set());
  });
});
