import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { FileOwner } from '../events/host.ts';
import { type FileFacts, VfioNodes } from './file-kind.ts';
import { fileOwners, hasDeviceFile, pidsWithKvmFiles } from './file-owners.ts';

const DEVICE = 'anon_inode:[vfio-device]';
const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';
/** What stat() has for 236:3 and 511:300: a group, and a cdev with a large number. */
const GROUP_NODE = 236 * 256 + 3;
const CDEV_NODE = 0x100000 + 0x1ff * 256 + 0x2c;

let root = '';
/** What files are, by PID/fd/N or PID/map_files/RANGE. */
let numbers: Map<string, number>;
let debugfs: Set<string>;

const facts: FileFacts = {
  deviceNumber: async (path) => numbers.get(path.slice(`${root}/proc/`.length)),
  isDebugfs: async (path) => debugfs.has(path.slice(`${root}/proc/`.length)),
};

function process(pid: number, ...files: string[]): void {
  const directory = join(root, 'proc', `${pid}`, 'fd');
  mkdirSync(directory, { recursive: true });
  for (const [fd, file] of files.entries()) symlinkSync(file, join(directory, `${fd}`));
}

function write(path: string, text: string): void {
  mkdirSync(join(root, path, '..'), { recursive: true });
  writeFileSync(join(root, path), text);
}

/** @param ticks when it was started, in hundredths of a second */
function started(pid: number, ticks: number): void {
  const fields = ['S', ...Array.from({ length: 18 }, () => '0'), `${ticks}`, '0'];
  write(`proc/${pid}/stat`, `${pid} (a (b) c) ${fields.join(' ')}\n`);
}

function namespace(name = 'pid:[4026531836]'): void {
  mkdirSync(join(root, 'proc/self/ns'), { recursive: true });
  symlinkSync(name, join(root, 'proc/self/ns/pid'));
  process(1, '/dev/null', 'socket:[1]');
}

/** A host with group 42 and the cdev of a device. */
function nodes(): void {
  write('sys/class/vfio/42/dev', '236:3\n');
  write('sys/class/vfio-dev/vfio7/dev', '511:300\n');
  symlinkSync(`../../../devices/mtty/${UUID}`, join(root, 'sys/class/vfio-dev/vfio7/device'));
}

const read = (nodes = new VfioNodes(root)) => fileOwners(root, nodes, facts);

function owner(pid: number, fields: Partial<FileOwner>): FileOwner {
  const none = { kvmFiles: false, deviceFiles: [], groupFiles: [], cdevFiles: [] };
  return { pid, comm: '', uid: -1, startedAt: 0, ...none, mappedDevices: [], ...fields };
}

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'proc-'));
  numbers = new Map();
  debugfs = new Set();
});
afterEach(() => rmSync(root, { recursive: true }));

describe('the processes that hold KVM files', () => {
  const pids = async () => pidsWithKvmFiles(await read());

  it('are found by any file of KVM, and by open files of its debugfs', async () => {
    namespace();
    process(2, '/dev/kvm');
    process(3, '/dev/null', 'anon_inode:kvm-vm');
    process(4, 'anon_inode:kvm-vcpu:0');
    process(5, '/sys/kernel/debug/kvm/77-11/mmu_cache_miss');
    debugfs.add('5/fd/0');
    process(6, DEVICE);
    assert.deepEqual(await pids(), new Set([3, 4, 5]));
  });

  it('are also found by a mapping of a vcpu, which keeps its VM without a descriptor', async () => {
    namespace();
    for (const [pid, link] of [
      [3, 'anon_inode:kvm-vcpu:0'],
      [4, '/tmp/anon_inode:kvm-vcpu:0'],
      [5, '/memfd:anon_inode:kvm-vcpu:0 (deleted)'],
    ] as const) {
      process(pid);
      write(`proc/${pid}/maps`, `7f00-7f01 rw-s 00000000 00:0f 1066 ${' '.repeat(20)}${link}\n`);
    }
    assert.deepEqual(await pids(), new Set([3]));
  });

  it('are not those who have chosen the names of such files', async () => {
    namespace();
    process(2, '/tmp/debug/kvm/1-2/x', '/memfd:/debug/kvm/1-2/x (deleted)');
    process(3, '/memfd:anon_inode:kvm-vm (deleted)', '/tmp/anon_inode:kvm-vm');
    assert.deepEqual(await pids(), new Set());
  });

  it('are unknown when the files of a process cannot be read', async () => {
    namespace();
    // Reading a file as a directory fails in another way than with "gone", as a denial does.
    mkdirSync(join(root, 'proc/7'));
    symlinkSync('/dev/null', join(root, 'proc/7/fd'));
    assert.equal(await pids(), undefined);
  });

  it('are unknown where /proc hides processes of others', async () => {
    namespace();
    rmSync(join(root, 'proc/1'), { recursive: true });
    process(3, 'anon_inode:kvm-vm');
    assert.equal(await pids(), undefined);
  });

  it('are not known from within a pid namespace, where others do not show', async () => {
    namespace('pid:[4026532999]');
    process(3, 'anon_inode:kvm-vm');
    assert.equal(await pids(), undefined);
  });

  it('may end while they are read', async () => {
    namespace();
    mkdirSync(join(root, 'proc/9'));
    assert.deepEqual(await pids(), new Set());
  });
});

describe('the processes that hold device files', () => {
  it('are found with name, user and descriptors, and the device where the kernel names it', async () => {
    namespace();
    process(3, '/dev/null', DEVICE, 'anon_inode:kvm-vm', DEVICE);
    write('proc/3/status', 'Name:\tqemu\nTgid:\t3\nUid:\t107\t0\t0\t107\n');
    started(3, 5);
    const path = `/sys/devices/virtual/mtty/mtty/${UUID}`;
    write('proc/3/fdinfo/3', `pos:\t0\nvfio-device-syspath: ${path}\n`);
    const deviceFiles = [{ fd: 1 }, { fd: 3, device: UUID }];
    const named = { comm: 'qemu', uid: 107, startedAt: 5e7 };
    assert.deepEqual(await read(), [owner(3, { ...named, kvmFiles: true, deviceFiles })]);
  });

  it('are found although they end before their name is read', async () => {
    namespace();
    process(3, DEVICE);
    assert.deepEqual(await read(), [owner(3, { deviceFiles: [{ fd: 0 }] })]);
  });

  it('are not those who have got the id of one that has ended meanwhile', async () => {
    namespace();
    process(3, DEVICE);
    started(3, 1e15);
    assert.deepEqual(await read(), []);
  });

  it('are found by files of groups and by cdevs, whatever those are called there', async () => {
    namespace();
    nodes();
    process(3, '/dev/vfio/42', '/srv/box/dev/vfio/noiommu-1', '/dev/vfio/vfio');
    numbers
      .set('3/fd/0', GROUP_NODE)
      .set('3/fd/1', GROUP_NODE)
      .set('3/fd/2', 10 * 256 + 196);
    process(4, '/dev/vfio/devices/vfio7', '/tmp/vfio/42');
    numbers.set('4/fd/0', CDEV_NODE);
    const groupFiles = [0, 1].map((fd) => ({ fd, group: 42 }));
    assert.deepEqual(await read(), [
      owner(3, { groupFiles }),
      owner(4, { cdevFiles: [{ fd: 0, cdev: 'vfio7', device: UUID }] }),
    ]);
  });

  it('are found by a cdev that sysfs does not show any more, with its device if that was seen', async () => {
    namespace();
    nodes();
    write('proc/devices', 'Character devices:\n236 vfio\n511 vfio-dev\n');
    process(4, '/dev/vfio/devices/vfio300 (deleted)');
    numbers.set('4/fd/0', CDEV_NODE);
    const known = new VfioNodes(root);
    known.read();
    rmSync(join(root, 'sys/class/vfio-dev/vfio7'), { recursive: true });
    assert.deepEqual((await read(known))?.[0].cdevFiles, [{ fd: 0, cdev: 'vfio7', device: UUID }]);
    assert.deepEqual((await read())?.[0].cdevFiles, [{ fd: 0, cdev: 'vfio300' }]);
  });

  it('are found by a mapping alone, of a device file or of a cdev', async () => {
    namespace();
    nodes();
    process(3, '/dev/null');
    const heap = Array.from(
      { length: 5000 },
      (_, i) => `${i.toString(16)}000-${i}fff rw-p 0 0:0 0 `,
    );
    const mappings = [
      '7f00-7f01 rw-s 00000000 00:0e 1063                    /memfd:anon_inode:[vfio-device]',
      '7f01-7f02 rw-s 00000000 00:0e 1063                    anon_inode:[vfio-device]',
      '7f02-7f03 rw-s 00000000 00:05 812                     /dev/vfio/devices/vfio7',
    ];
    write('proc/3/maps', `${[...heap, ...mappings, ...heap].join('\n')}\n`);
    numbers.set('3/map_files/7f02-7f03', CDEV_NODE);
    const mappedDevices = [{}, { device: UUID }];
    assert.deepEqual(await read(), [owner(3, { mappedDevices })]);
  });
});

describe('reading who holds files', () => {
  it('gives the event loop a turn many times over, however many files one process has', async () => {
    namespace();
    process(3, ...Array.from({ length: 20_000 }, () => '/dev/null'), DEVICE);
    let isOver = false;
    let turns = 0;
    const count = () => {
      turns++;
      if (!isOver) setImmediate(count);
    };
    setImmediate(count);
    const { user, system } = globalThis.process.cpuUsage();
    const owners = await read();
    isOver = true;
    const used = globalThis.process.cpuUsage();
    const spent = (used.user + used.system - user - system) / 1000;
    assert.deepEqual(owners, [owner(3, { deviceFiles: [{ fd: 20_000 }] })]);
    assert.ok(spent / turns < 20, `${turns} turns in ${spent} ms`);
  });
});

describe('whether a process has a device file', () => {
  it('is found at its descriptor', () => {
    namespace();
    process(3, '/dev/null', DEVICE);
    assert.deepEqual(
      [0, 1, 2].map((fd) => hasDeviceFile(3, fd, UUID, join(root, 'proc'))),
      [false, true, false],
    );
    assert.equal(hasDeviceFile(4, 1, UUID, join(root, 'proc')), false, 'it is gone');
  });

  it('is that of the device where the kernel shows of which one it is', () => {
    namespace();
    process(3, DEVICE);
    write(
      'proc/3/fdinfo/0',
      `pos:\t0\nvfio-device-syspath: /sys/devices/virtual/mtty/mtty/${UUID}\n`,
    );
    const has = (device: string) => hasDeviceFile(3, 0, device, join(root, 'proc'));
    assert.deepEqual([has(UUID), has('0000:01:00.0')], [true, false]);
  });

  it('is not known from within a pid namespace', () => {
    namespace('pid:[4026532999]');
    process(3, DEVICE);
    assert.equal(hasDeviceFile(3, 0, UUID, join(root, 'proc')), undefined);
  });
});
