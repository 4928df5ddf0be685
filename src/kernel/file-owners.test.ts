import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { fileOwners, hasDeviceFile, pidsWithKvmFiles } from './file-owners.ts';

const DEVICE = 'anon_inode:[vfio-device]';

let proc = '';

function process(pid: number, ...files: string[]): void {
  mkdirSync(join(proc, `${pid}`, 'fd'), { recursive: true });
  for (const [fd, file] of files.entries()) symlinkSync(file, join(proc, `${pid}`, 'fd', `${fd}`));
}

function namespace(name = 'pid:[4026531836]'): void {
  mkdirSync(join(proc, 'self/ns'), { recursive: true });
  symlinkSync(name, join(proc, 'self/ns/pid'));
}

beforeEach(() => {
  proc = mkdtempSync(join(tmpdir(), 'proc-'));
});
afterEach(() => rmSync(proc, { recursive: true }));

describe('the processes that hold KVM files', () => {
  const pids = () => pidsWithKvmFiles(fileOwners(proc));

  it('are found by any file of KVM, and by open files of its debugfs', () => {
    namespace();
    process(1, '/dev/null', 'socket:[1]');
    process(2, '/dev/kvm');
    process(3, '/dev/null', 'anon_inode:kvm-vm');
    process(4, 'anon_inode:kvm-vcpu:0');
    process(5, '/sys/kernel/debug/kvm/77-11/mmu_cache_miss');
    process(6, DEVICE);
    assert.deepEqual(pids(), new Set([3, 4, 5]));
  });

  it('are not known when a process cannot be looked into', () => {
    namespace();
    // Reading a file as a directory fails in another way than with "gone", as a denial does.
    mkdirSync(join(proc, '7'));
    symlinkSync('/dev/null', join(proc, '7/fd'));
    assert.equal(pids(), undefined);
  });

  it('are not known from within a pid namespace, where others do not show', () => {
    namespace('pid:[4026532999]');
    process(3, 'anon_inode:kvm-vm');
    assert.equal(pids(), undefined);
  });

  it('may end while they are looked at', () => {
    namespace();
    mkdirSync(join(proc, '9'));
    assert.deepEqual(pids(), new Set());
  });
});

describe('the processes that hold device files', () => {
  it('are told with name, user and descriptors, and the device where the kernel names it', () => {
    namespace();
    process(3, '/dev/null', DEVICE, 'anon_inode:kvm-vm', DEVICE);
    writeFileSync(join(proc, '3/status'), 'Name:\tqemu\nTgid:\t3\nUid:\t107\t0\t0\t107\n');
    mkdirSync(join(proc, '3/fdinfo'));
    const path = '/sys/devices/virtual/mtty/mtty/83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';
    writeFileSync(join(proc, '3/fdinfo/3'), `pos:\t0\nvfio-device-syspath: ${path}\n`);
    const deviceFiles = [{ fd: 1 }, { fd: 3, device: '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001' }];
    assert.deepEqual(fileOwners(proc), [
      { pid: 3, comm: 'qemu', uid: 107, kvmFiles: true, deviceFiles },
    ]);
  });

  it('are told although they end before their name is read', () => {
    namespace();
    process(3, DEVICE);
    assert.deepEqual(fileOwners(proc), [
      { pid: 3, comm: '', uid: -1, kvmFiles: false, deviceFiles: [{ fd: 0 }] },
    ]);
  });
});

describe('whether a process has a device file', () => {
  it('is seen at its descriptor', () => {
    namespace();
    process(3, '/dev/null', DEVICE);
    assert.deepEqual(
      [0, 1, 2].map((fd) => hasDeviceFile(3, fd, proc)),
      [false, true, false],
    );
    assert.equal(hasDeviceFile(4, 1, proc), false, 'it is gone');
  });

  it('is not known from within a pid namespace', () => {
    namespace('pid:[4026532999]');
    process(3, DEVICE);
    assert.equal(hasDeviceFile(3, 0, proc), undefined);
  });
});
