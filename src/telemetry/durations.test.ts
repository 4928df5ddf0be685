import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EventCursor } from '../events/cursor.ts';
import { encodeRecord } from '../events/encoder.ts';
import { FLAG } from '../events/wire.gen.ts';
import { Moment } from '../lifecycle/moment.ts';
import { type MomentName, momentIndexOf, POINTS } from '../lifecycle/points.ts';
import { Durations } from './durations.ts';
import type { MetricsSource } from './metrics/metric.ts';

const BOUNDS = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 600];
const LE = '0.0001 0.0005 0.001 0.005 0.01 0.05 0.1 0.5 1.0 5.0 10.0 60.0 600.0 +Inf'.split(' ');
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

/** What a scrape shows: the rest of the source is not needed for durations without traces. */
const SOURCE = { traceIdOf: () => undefined } as unknown as MetricsSource;

/** By operation and result. */
function rows(durations: Durations): Map<string, Row> {
  const found = new Map<string, { buckets: [string, number][]; sum: number; count: number }>();
  durations.show(
    {
      show: () => assert.fail('a histogram has no samples but its parts'),
      part(suffix, value, [operation, result, le] = []) {
        const key = `${operation} ${result}`;
        const row = found.get(key) ?? { buckets: [], sum: Number.NaN, count: Number.NaN };
        found.set(key, row);
        if (suffix === '_bucket') row.buckets.push([le, value]);
        else row[suffix === '_sum' ? 'sum' : 'count'] = value;
      },
    },
    SOURCE,
  );
  return found;
}

function row(durations: Durations, operation: string, result: string): Row {
  return rows(durations).get(`${operation} ${result}`) ?? assert.fail(`no ${operation} ${result}`);
}

describe('Durations', () => {
  it('has every bucket from the start, all of them empty', () => {
    const { buckets, sum, count } = row(new Durations(), 'create', 'ok');
    assert.deepEqual(
      buckets,
      LE.map((le) => [le, 0]),
    );
    assert.deepEqual([sum, count], [0, 0]);
  });

  it('counts what lies on a bound below it, as Prometheus wants', () => {
    const durations = new Durations();
    for (const bound of BOUNDS) durations.take(moment('mdev.create:end', bound * 1e9));
    const { buckets } = row(durations, 'create', 'ok');
    assert.deepEqual(
      buckets.map(([, value]) => value),
      [...BOUNDS.map((_, i) => i + 1), BOUNDS.length],
    );
  });

  it('counts what lies beyond a bound in the next bucket', () => {
    const durations = new Durations();
    for (const bound of BOUNDS) durations.take(moment('mdev.create:end', bound * 1e9 + 1000));
    const { buckets } = row(durations, 'create', 'ok');
    assert.deepEqual(
      buckets.map(([, value]) => value),
      [...BOUNDS.keys(), BOUNDS.length],
    );
  });

  it('sums seconds', () => {
    const durations = new Durations();
    for (const ms of [1, 20, 300]) durations.take(moment('vfio.device.open:end', ms * MS));
    const { sum, count } = row(durations, 'open', 'ok');
    assert.ok(Math.abs(sum - 0.321) < 1e-12, `${sum}`);
    assert.equal(count, 3);
  });

  it('tells failed operations from those that worked', () => {
    const durations = new Durations();
    durations.take(moment('mdev.create:end', 2 * MS, -17));
    durations.take(moment('mdev.create:end', 3 * MS));
    durations.take(moment('kvm.vm.create:end', 3 * MS, 11));
    assert.deepEqual(row(durations, 'create', 'error').count, 1);
    assert.deepEqual(row(durations, 'create', 'error').sum, 0.002);
    assert.deepEqual(row(durations, 'create', 'ok').count, 1);
    assert.deepEqual(row(durations, 'vm_create', 'ok').count, 1, 'a descriptor is no error');
  });

  it('takes no notice of moments that end nothing, or whose begin was not seen', () => {
    const durations = new Durations();
    durations.take(moment('mdev.create:begin', 5));
    durations.take(moment('kvm.put:begin', 5));
    durations.take(moment('mdev.create:end', -1));
    for (const [key, { sum, count }] of rows(durations))
      assert.deepEqual([sum, count], [0, 0], key);
  });

  it('keeps each operation apart', () => {
    const operations = {
      'mdev.create:end': 'create',
      'mdev.probe:end': 'bind',
      'vfio.device.open:end': 'open',
      'vfio.device.close:end': 'close',
      'mdev.remove:end': 'remove',
      'mdev.remove_child:end': 'remove_child',
      'vfio.unregister:end': 'wait_for_users',
      'mdev.release:end': 'release',
      'mdev.parent.unregister:end': 'parent_unregister',
      'kvm.vm.create:end': 'vm_create',
      'kvm.vm.destroy:end': 'vm_destroy',
    } as const;
    for (const [name, operation] of Object.entries(operations)) {
      const durations = new Durations();
      durations.take(moment(name as MomentName, MS));
      for (const other of Object.values(operations)) {
        const { count } = row(durations, other, 'ok');
        assert.equal(count, other === operation ? 1 : 0, `${name} in ${other}`);
      }
    }
  });

  it('counts failures by their errors, also of calls whose begin was not seen', () => {
    const durations = new Durations();
    durations.take(moment('mdev.create:end', MS, -17));
    durations.take(moment('mdev.create:end', MS, -17));
    durations.take(moment('mdev.create:end', -1, -110));
    durations.take(moment('vfio.device.open:end', MS, -16));
    assert.deepEqual(
      [...durations.errors()],
      [
        { operation: 'create', errno: 'EEXIST', count: 2 },
        { operation: 'create', errno: 'ETIMEDOUT', count: 1 },
        { operation: 'open', errno: 'EBUSY', count: 1 },
      ],
    );
  });

  it('puts errors without a name together, whatever a driver makes up', () => {
    const durations = new Durations();
    for (const ret of [-600, -4000, -70000]) durations.take(moment('mdev.create:end', MS, ret));
    assert.deepEqual([...durations.errors()], [{ operation: 'create', errno: 'other', count: 3 }]);
  });
});
