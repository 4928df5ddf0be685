import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { UserProblem } from '../problem.ts';
import { answer } from './sysfs-files.ts';
import { readParents } from './sysfs-parents.ts';

const MTTY = 'sys/devices/virtual/mtty/mtty';
const MTTY_1 = {
  id: 'mtty-1',
  name: 'Single port serial',
  deviceApi: 'vfio-pci',
  availableInstances: 24,
};

describe('the parents of a host', () => {
  let root = '';
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'vfioscope-parents-'));
    mkdirSync(join(root, 'sys/class/mdev_bus'), { recursive: true });
  });
  afterEach(() => rmSync(root, { recursive: true }));

  const file = (path: string, text: string) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  const parent = (device: string, name: string) =>
    symlinkSync(`../../../${device}`, join(root, 'sys/class/mdev_bus', name));
  const type = (directory: string, files: Readonly<Record<string, string>> = {}) => {
    const own = { name: MTTY_1.name, device_api: 'vfio-pci', available_instances: '24', ...files };
    for (const [name, text] of Object.entries(own)) file(`${directory}/${name}`, `${text}\n`);
  };

  it('are none where no driver offers any, or mdev is not loaded', async () => {
    assert.deepEqual(await readParents(root), []);
    rmSync(join(root, 'sys/class/mdev_bus'), { recursive: true });
    assert.deepEqual(await readParents(root), []);
  });

  it('have types, which differ in what is left of them', async () => {
    type(`${MTTY}/mdev_supported_types/mtty-1`);
    type(`${MTTY}/mdev_supported_types/mtty-2`, {
      name: 'Dual port serial',
      available_instances: '12',
    });
    parent(MTTY, 'mtty');
    const second = { id: 'mtty-2', name: 'Dual port serial', availableInstances: 12 };
    assert.deepEqual(await readParents(root), [
      { name: 'mtty', driver: '', types: [MTTY_1, { ...MTTY_1, ...second }] },
    ]);
  });

  it('have a driver, unless they are no real devices', async () => {
    const device = 'sys/devices/pci0000:00/0000:00:02.0';
    type(`${device}/mdev_supported_types/i915-GVTg_V5_4`);
    symlinkSync('../../../bus/pci/drivers/i915', join(root, device, 'driver'));
    parent(device, '0000:00:02.0');
    const [{ name, driver }] = await readParents(root);
    assert.deepEqual([name, driver], ['0000:00:02.0', 'i915']);
  });

  it('have types whose drivers report little', async () => {
    const directory = `${MTTY}/mdev_supported_types/mtty-1`;
    type(directory, { available_instances: '' });
    rmSync(join(root, directory, 'name'));
    parent(MTTY, 'mtty');
    assert.deepEqual((await readParents(root))[0].types, [
      { ...MTTY_1, name: '', availableInstances: undefined },
    ]);
  });

  it('may vanish at any step', async () => {
    type(`${MTTY}/mdev_supported_types/mtty-1`);
    mkdirSync(join(root, MTTY, 'mdev_supported_types/mtty-2'));
    parent(MTTY, 'mtty');
    parent('sys/devices/gone', 'gone');
    mkdirSync(join(root, 'sys/devices/unregistered'));
    parent('sys/devices/unregistered', 'unregistered');
    assert.deepEqual(await readParents(root), [{ name: 'mtty', driver: '', types: [MTTY_1] }]);
  });

  it('are unknown when sysfs cannot be read, or is not there', async () => {
    rmSync(join(root, 'sys/class/mdev_bus'), { recursive: true });
    file('sys/class/mdev_bus', '');
    await assert.rejects(readParents(root), UserProblem);
    rmSync(join(root, 'sys'), { recursive: true });
    await assert.rejects(readParents(root), UserProblem);
  });

  it('do not keep anybody waiting whose driver does not answer', async () => {
    const path = join(root, 'available_instances');
    execFileSync('mkfifo', [path]); // a read waits until somebody writes
    assert.equal(await answer(path, 20), undefined);
    assert.equal(await answer(path, 1e9), undefined, 'not asked again');
    writeFileSync(path, 'late\n');
    rmSync(path);
    writeFileSync(path, '3\n');
    let said: string | undefined;
    while (said === undefined) {
      await setImmediate();
      said = await answer(path);
    }
    assert.equal(said, '3');
  });
});
