import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { HostDevice, HostParent } from './sysfs.ts';
import { nameTeardowns, readTeardowns } from './teardowns.ts';

const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';
const ABOVE = ['device_release_driver_internal', 'bus_remove_device', 'device_del'];
const WAITING = ['vfio_unregister_group_dev [vfio]', 'mtty_remove [mtty]'];
const REMOVE = [...ABOVE, 'mdev_device_remove [mdev]', 'remove_store [mdev]', 'vfs_write'];
const UNREGISTER = ['mdev_unregister_parent [mdev]', 'mtty_dev_exit [mtty]', 'do_syscall_64'];

const MDEV: HostDevice = {
  ...{ name: UUID, bus: 'mdev', parent: 'mtty', type: '', driver: '', groupId: 1 },
  ...{ removable: false, leaving: true },
};

function parent(name: string): HostParent {
  return { name, driver: '', types: [] };
}

describe('threads in a removal or an unregistration', () => {
  let root = '';

  /** @param state as /proc shows it, "D" or "S f" with the function that it sleeps in */
  function thread(pid: number, state: string, frames: readonly string[], ...files: string[]): void {
    const directory = join(root, `proc/${pid}`);
    const [letter, wchan = ''] = state.split(' ');
    for (const part of ['fd', `task/${pid}`]) mkdirSync(join(directory, part), { recursive: true });
    const lines = frames.map((frame) => `[<0>] ${frame.replace(/( |$)/, '+0x1/0x2$1')}`);
    const write = (file: string, text: string) => writeFileSync(join(directory, file), text);
    write(`task/${pid}/stat`, `${pid} (x) ${letter} 1 2 3\n`);
    write(`task/${pid}/wchan`, wchan);
    write(`task/${pid}/stack`, lines.join('\n'));
    write('status', 'Name:\tbash\nUid:\t7\t7\t7\t7\n');
    for (const [fd, file] of files.entries()) symlinkSync(file, join(directory, `fd/${fd}`));
  }

  async function found(devices: readonly HostDevice[] = [], parents: readonly HostParent[] = []) {
    return nameTeardowns(await readTeardowns(root), devices, parents, root);
  }

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'vfioscope-teardowns-'));
    mkdirSync(join(root, 'proc/self/ns'), { recursive: true });
    symlinkSync('pid:[4026531836]', join(root, 'proc/self/ns/pid'));
  });
  afterEach(() => rmSync(root, { recursive: true }));

  it('remove the device whose file they write to', async () => {
    thread(
      ...([700, 'S vfio_unregister_group_dev', [...WAITING, ...REMOVE]] as const),
      ...['/dev/null', `/sys/devices/virtual/mtty/mtty/${UUID}/remove (deleted)`],
    );
    const task = { pid: 700, tid: 700, comm: 'bash', uid: 7 };
    assert.deepEqual(await found(), {
      removals: [
        {
          ...{ task, name: UUID, bus: 'mdev', parent: 'mtty' },
          ...{ waits: true, inDriver: true, isInferred: false },
        },
      ],
      unregistrations: [],
    });
  });

  it('are not those that sleep elsewhere, or run', async () => {
    thread(700, 'S do_epoll_wait', [...WAITING, ...REMOVE]);
    thread(701, 'R', [...WAITING, ...REMOVE]);
    thread(702, 'D', ['io_schedule', 'vfs_read']);
    assert.deepEqual(await readTeardowns(root), []);
  });

  it('may be in the core, and not in the driver', async () => {
    thread(700, 'D', REMOVE, `/sys/devices/virtual/mtty/mtty/${UUID}/remove`);
    const [{ waits, inDriver }] = (await found()).removals;
    assert.deepEqual({ waits, inDriver }, { waits: false, inDriver: false });
  });

  it('are none where /proc cannot be read', async () => {
    thread(700, 'D', [...WAITING, ...REMOVE]);
    rmSync(join(root, 'proc/700/fd'), { recursive: true });
    writeFileSync(join(root, 'proc/700/fd'), '');
    assert.deepEqual(
      (await readTeardowns(root)).map(({ directories }) => directories),
      [[]],
    );
    rmSync(join(root, 'proc/700/task'), { recursive: true });
    writeFileSync(join(root, 'proc/700/task'), '');
    assert.deepEqual(await readTeardowns(root), []);
    assert.deepEqual(await readTeardowns(join(root, 'nowhere')), []);
  });

  it('remove the only device that somebody unknown removes, which is inferred', async () => {
    thread(700, 'D', [...WAITING, ...ABOVE, 'mdev_device_remove_cb [mdev]', ...UNREGISTER]);
    const { removals, unregistrations } = await found([MDEV], [parent('other')]);
    assert.deepEqual(
      removals.map(({ name, isInferred }) => [name, isInferred]),
      [[UUID, true]],
    );
    assert.deepEqual(
      unregistrations.map(({ name, isInferred }) => [name, isInferred]),
      [['mtty', true]],
    );
  });

  it('have no device if two of them can be its remover, or if it can be one of two', async () => {
    thread(700, 'D', [...WAITING, ...REMOVE]);
    assert.deepEqual((await found([MDEV, { ...MDEV, name: 'other' }])).removals, []);
    thread(701, 'D', [...WAITING, ...REMOVE]);
    assert.deepEqual((await found([MDEV])).removals, []);
  });

  it('unregister the only parent that it can be, which is inferred', async () => {
    thread(700, 'D', UNREGISTER);
    const names = async (...all: Parameters<typeof found>) =>
      (await found(...all)).unregistrations.map(({ name, isInferred }) => [name, isInferred]);
    assert.deepEqual(await names([], [parent('mtty')]), [['mtty', true]]);
    assert.deepEqual(await names([], [parent('mtty'), parent('mtty2')]), []);
    // One of them is setting up an mdev, which an unregistration waits for.
    const created = { ...MDEV, leaving: false };
    assert.deepEqual(await names([created], [parent('mtty'), parent('mtty2')]), [['mtty', true]]);
  });

  it('do not unregister the parent of another driver', async () => {
    thread(700, 'D', UNREGISTER);
    for (const module of ['mtty', 'i915']) {
      const driver = join(root, `sys/class/mdev_bus/${module}-parent/driver`);
      mkdirSync(driver, { recursive: true });
      symlinkSync(`/sys/module/${module}`, join(driver, 'module'));
    }
    const { unregistrations } = await found([], [parent('mtty-parent'), parent('i915-parent')]);
    assert.deepEqual(
      unregistrations.map(({ name }) => name),
      ['mtty-parent'],
    );
  });

  it('unregister the parent that is removed by its own file', async () => {
    thread(700, 'D', UNREGISTER, '/sys/devices/pci0000:00/0000:00:02.0/remove');
    const [{ name, isInferred }] = (await found()).unregistrations;
    assert.deepEqual([name, isInferred], ['0000:00:02.0', false]);
  });
});
