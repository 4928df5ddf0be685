import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { until } from '../../test/until.ts';
import { fittingName } from '../events/long-name.ts';
import { AvailableInstances } from './available-instances.ts';
import { bootTime } from './os.ts';

const TYPES = 'sys/class/mdev_bus/mtty/mdev_supported_types';

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'vfioscope-instances-'));
});
afterEach(() => rmSync(root, { recursive: true }));

function offer(type: string, text: string): void {
  mkdirSync(join(root, TYPES, type), { recursive: true });
  writeFileSync(join(root, TYPES, type, 'available_instances'), text);
}

/** The answer, for which it may have to be asked several times. */
async function answered(instances: AvailableInstances, notBefore: number) {
  let types: ReadonlyMap<string, number> | undefined;
  await until('the driver has answered', () => {
    types = instances.of('mtty', notBefore);
    return types !== undefined;
  });
  return Object.fromEntries(types ?? []);
}

it('returns for each type how many are left, when the driver has answered', async () => {
  offer('mtty-1', '24\n');
  offer('mtty-2', '12\n');
  const instances = new AvailableInstances(root);
  const now = bootTime();
  assert.equal(instances.of('mtty', now), undefined);
  assert.deepEqual(await answered(instances, now), { 'mtty-1': 24, 'mtty-2': 12 });
});

it('asks again only for an answer that is newer', async () => {
  offer('mtty-1', '24\n');
  const instances = new AvailableInstances(root);
  const now = bootTime();
  await answered(instances, now);
  offer('mtty-1', '23\n');
  assert.deepEqual(await answered(instances, now), { 'mtty-1': 24 });
  assert.deepEqual(await answered(instances, bootTime()), { 'mtty-1': 23 });
});

it('returns what it knows while the driver is asked again', async () => {
  offer('mtty-1', '24\n');
  const instances = new AvailableInstances(root);
  assert.equal(instances.lately('mtty', bootTime()), undefined);
  await answered(instances, 0);
  offer('mtty-1', '23\n');
  const since = bootTime();
  assert.equal(instances.lately('mtty', since)?.get('mtty-1'), 24);
  await answered(instances, since);
  assert.equal(instances.lately('mtty', since)?.get('mtty-1'), 23);
});

it('leaves out a type whose driver does not answer, or not with a number', async () => {
  offer('mtty-1', '24\n');
  offer('mtty-2', 'many\n');
  mkdirSync(join(root, TYPES, 'mtty-3'));
  const instances = new AvailableInstances(root);
  assert.deepEqual(await answered(instances, bootTime()), { 'mtty-1': 24 });
});

it('waits for no driver', async () => {
  mkdirSync(join(root, TYPES, 'mtty-1'), { recursive: true });
  const file = join(root, TYPES, 'mtty-1', 'available_instances');
  execFileSync('mkfifo', [file]);
  const instances = new AvailableInstances(root);
  const now = bootTime();
  assert.equal(instances.of('mtty', now), undefined);
  await setTimeout(20);
  assert.equal(instances.of('mtty', now), undefined);
  writeFileSync(file, '7\n');
  assert.deepEqual(await answered(instances, now), { 'mtty-1': 7 });
});

it('asks a driver that does not answer for one type only: each takes a thread', async () => {
  const files = ['mtty-1', 'mtty-2', 'mtty-3'].map((type) => join(root, TYPES, type));
  for (const file of files) {
    mkdirSync(file, { recursive: true });
    execFileSync('mkfifo', [join(file, 'available_instances')]);
  }
  new AvailableInstances(root).of('mtty', bootTime());
  // Longer than a driver may take for one.
  await setTimeout(1300);
  const asked = files.filter((file) => {
    try {
      const { O_WRONLY, O_NONBLOCK } = constants;
      closeSync(openSync(join(file, 'available_instances'), O_WRONLY | O_NONBLOCK));
      return true;
    } catch {
      return false;
    }
  });
  assert.equal(asked.length, 1);
});

it('asks a driver that did not answer in time again, when it has', async () => {
  mkdirSync(join(root, TYPES, 'mtty-1'), { recursive: true });
  const file = join(root, TYPES, 'mtty-1', 'available_instances');
  execFileSync('mkfifo', [file]);
  const instances = new AvailableInstances(root);
  const lately = () => instances.lately('mtty', 0)?.get('mtty-1');
  assert.equal(lately(), undefined);
  await setTimeout(1300);
  writeFileSync(file, '7\n');
  rmSync(file);
  offer('mtty-1', '6\n');
  await until('the driver has answered', () => lately() !== undefined);
  assert.equal(lately(), 6);
});

it('knows nothing of a parent that is not there', async () => {
  const instances = new AvailableInstances(root);
  const now = bootTime();
  instances.of('mtty', now);
  await setTimeout(20);
  assert.equal(instances.of('mtty', now), undefined);
});

it('asks the driver of a parent whose name is too long for records', async () => {
  const parent = `parent-${'x'.repeat(40)}`;
  const directory = join(root, 'sys/class/mdev_bus', parent, 'mdev_supported_types/t');
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'available_instances'), '7');
  const instances = new AvailableInstances(root);
  await until('the driver has answered', () => {
    return instances.of(fittingName(parent), 0)?.get('t') === 7;
  });
});
