import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EventCursor } from '../events/cursor.ts';
import { encodeRecord } from '../events/encoder.ts';
import { FLAG } from '../events/wire.gen.ts';
import { Moment } from '../lifecycle/moment.ts';
import { type MomentName, momentIndexOf, POINTS } from '../lifecycle/points.ts';
import { Durations } from './durations.ts';

const BOUNDS = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 600];
const MS = 1e6;

interface Row {
  readonly buckets: readonly (readonly [string, number])[];
  readonly sum: number;
  readonly count: number;
}

/** The end of an operation that took `duration` ns. */
function moment(name: MomentName, duration: number, ret = 0): Moment {
  const bytes = encodeRecord({
    ...{ time: 1, seq: 0, pid: 1, tid: 1, comm: '', ret, flags: FLAG.EVENT_END },
    point: POINTS['mdev.create'],
  });
  const moment = new Moment();
  moment.reset(momentIndexOf(name), new EventCursor(bytes.buffer as ArrayBuffer));
  moment.duration = duration;
  return moment;
}

async function row(durations: Durations, operation: string, result: string): Promise<Row> {
  const { values } = (await durations.get()) as {
    values: { metricName?: string; labels: Record<string, string | number>; value: number }[];
  };
  const own = values.filter(
    ({ labels }) => labels.operation === operation && labels.result === result,
  );
  const single = (suffix: string) => own.find(({ metricName }) => metricName?.endsWith(suffix));
  return {
    buckets: own
      .filter(({ metricName }) => metricName?.endsWith('_bucket'))
      .map(({ labels, value }) => [String(labels.le), value]),
    sum: single('_sum')?.value ?? Number.NaN,
    count: single('_count')?.value ?? Number.NaN,
  };
}

describe('Durations', () => {
  it('has every bucket from the start, all of them empty', async () => {
    const { buckets, sum, count } = await row(new Durations(), 'create', 'ok');
    assert.deepEqual(
      buckets,
      [...BOUNDS, '+Inf'].map((le) => [String(le), 0]),
    );
    assert.deepEqual([sum, count], [0, 0]);
  });

  it('counts what lies on a bound below it, as Prometheus wants', async () => {
    const durations = new Durations();
    for (const bound of BOUNDS) durations.take(moment('mdev.create:end', bound * 1e9));
    const { buckets } = await row(durations, 'create', 'ok');
    assert.deepEqual(
      buckets.map(([, value]) => value),
      [...BOUNDS.map((_, i) => i + 1), BOUNDS.length],
    );
  });

  it('counts what lies beyond a bound in the next bucket', async () => {
    const durations = new Durations();
    for (const bound of BOUNDS) durations.take(moment('mdev.create:end', bound * 1e9 + 1000));
    const { buckets } = await row(durations, 'create', 'ok');
    assert.deepEqual(
      buckets.map(([, value]) => value),
      [...BOUNDS.keys(), BOUNDS.length],
    );
  });

  it('sums seconds', async () => {
    const durations = new Durations();
    for (const ms of [1, 20, 300]) durations.take(moment('vfio.device.open:end', ms * MS));
    const { sum, count } = await row(durations, 'open', 'ok');
    assert.ok(Math.abs(sum - 0.321) < 1e-12, `${sum}`);
    assert.equal(count, 3);
  });

  it('tells failed operations from those that worked', async () => {
    const durations = new Durations();
    durations.take(moment('mdev.create:end', 2 * MS, -17));
    durations.take(moment('mdev.create:end', 3 * MS));
    durations.take(moment('kvm.vm.create:end', 3 * MS, 11));
    assert.deepEqual((await row(durations, 'create', 'error')).count, 1);
    assert.deepEqual((await row(durations, 'create', 'error')).sum, 0.002);
    assert.deepEqual((await row(durations, 'create', 'ok')).count, 1);
    assert.deepEqual(
      (await row(durations, 'vm_create', 'ok')).count,
      1,
      'a descriptor is no error',
    );
  });

  it('takes no notice of moments that end nothing, or whose begin was not seen', async () => {
    const durations = new Durations();
    durations.take(moment('mdev.create:begin', 5));
    durations.take(moment('kvm.put:begin', 5));
    durations.take(moment('mdev.create:end', -1));
    const { values } = (await durations.get()) as { values: { value: number }[] };
    assert.equal(
      values.reduce((sum, { value }) => sum + value, 0),
      0,
    );
  });

  it('keeps each operation apart', async () => {
    const operations = {
      'mdev.create:end': 'create',
      'mdev.probe:end': 'bind',
      'vfio.device.open:end': 'open',
      'vfio.device.close:end': 'close',
      'mdev.remove:end': 'remove',
      'mdev.remove_child:end': 'remove_child',
      'vfio.unregister:end': 'wait_for_users',
      'mdev.parent.unregister:end': 'parent_unregister',
      'kvm.vm.create:end': 'vm_create',
      'kvm.vm.destroy:end': 'vm_destroy',
    } as const;
    for (const [name, operation] of Object.entries(operations)) {
      const durations = new Durations();
      durations.take(moment(name as MomentName, MS));
      for (const other of Object.values(operations)) {
        const { count } = await row(durations, other, 'ok');
        assert.equal(count, other === operation ? 1 : 0, `${name} in ${other}`);
      }
    }
  });
});
