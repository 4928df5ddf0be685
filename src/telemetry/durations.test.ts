import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EventCursor } from '../events/cursor.ts';
import { encodeRecord } from '../events/encoder.ts';
import { type EventKind, kindIndexOf, POINTS } from '../events/points.ts';
import { FLAG } from '../events/wire.gen.ts';
import { Transition } from '../lifecycle/transition.ts';
import { Durations } from './durations.ts';
import type { MetricsSource } from './metrics/source.ts';

const BOUNDS = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 600];
const LE = '0.0001 0.0005 0.001 0.005 0.01 0.05 0.1 0.5 1.0 5.0 10.0 60.0 600.0 +Inf'.split(' ');
const MS = 1e6;

interface Row {
  readonly buckets: readonly (readonly [string, number])[];
  readonly sum: number;
  readonly count: number;
}

/** The end of an operation that took `duration` ns. */
function transition(name: EventKind, duration: number, ret = 0): Transition {
  const bytes = encodeRecord({
    ...{ time: 1, seq: 0, pid: 1, tid: 1, comm: '', ret, flags: FLAG.EVENT_END },
    point: POINTS['mdev.create'],
  });
  const transition = new Transition();
  transition.reset(kindIndexOf(name), new EventCursor(bytes.buffer as ArrayBuffer));
  transition.duration = duration;
  return transition;
}

/** Durations without exemplars need nothing else of the source. */
const SOURCE = { traceIdOf: () => undefined } as unknown as MetricsSource;

/** By operation and result. */
function rows(durations: Durations): Map<string, Row> {
  const found = new Map<string, { buckets: [string, number][]; sum: number; count: number }>();
  durations.show(
    {
      show: () => assert.fail('a histogram consists of its parts only'),
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
  it('has no series before the first operation of its kind and result, and then every bucket', () => {
    const durations = new Durations();
    assert.equal(rows(durations).size, 0);
    durations.event(transition('mdev.create:end', MS));
    assert.deepEqual([...rows(durations).keys()], ['create ok']);
    const { buckets } = row(durations, 'create', 'ok');
    assert.deepEqual(
      buckets.map(([le]) => le),
      LE,
    );
  });

  it('distinguishes seconds and minutes of operations that wait for users', () => {
    const durations = new Durations();
    for (const seconds of [15, 25, 50, 100, 200, 500, 1000, 5000]) {
      durations.event(transition('mdev.remove:end', seconds * 1e9));
    }
    const { buckets } = row(durations, 'remove', 'ok');
    assert.deepEqual(buckets.slice(5), [
      ...[['10.0', 0] as const, ['20.0', 1] as const, ['30.0', 2] as const, ['60.0', 3] as const],
      ...[['120.0', 4] as const, ['300.0', 5] as const, ['600.0', 6] as const],
      ...[['3600.0', 7] as const, ['+Inf', 8] as const],
    ]);
  });

  it('counts a value equal to a bound in the bucket of that bound, as Prometheus does', () => {
    const durations = new Durations();
    for (const bound of BOUNDS) durations.event(transition('mdev.create:end', bound * 1e9));
    const { buckets } = row(durations, 'create', 'ok');
    assert.deepEqual(
      buckets.map(([, value]) => value),
      [...BOUNDS.map((_, i) => i + 1), BOUNDS.length],
    );
  });

  it('counts a value above a bound in the next bucket', () => {
    const durations = new Durations();
    for (const bound of BOUNDS) durations.event(transition('mdev.create:end', bound * 1e9 + 1000));
    const { buckets } = row(durations, 'create', 'ok');
    assert.deepEqual(
      buckets.map(([, value]) => value),
      [...BOUNDS.keys(), BOUNDS.length],
    );
  });

  it('adds up seconds', () => {
    const durations = new Durations();
    for (const ms of [1, 20, 300]) durations.event(transition('vfio.device.open:end', ms * MS));
    const { sum, count } = row(durations, 'open', 'ok');
    assert.ok(Math.abs(sum - 0.321) < 1e-12, `${sum}`);
    assert.equal(count, 3);
  });

  it('separates failed operations from successful ones', () => {
    const durations = new Durations();
    durations.event(transition('mdev.create:end', 2 * MS, -17));
    durations.event(transition('mdev.create:end', 3 * MS));
    durations.event(transition('kvm.vm.create:end', 3 * MS, 11));
    assert.deepEqual(row(durations, 'create', 'error').count, 1);
    assert.deepEqual(row(durations, 'create', 'error').sum, 0.002);
    assert.deepEqual(row(durations, 'create', 'ok').count, 1);
    assert.deepEqual(row(durations, 'vm_create', 'ok').count, 1, 'a descriptor is no error');
  });

  it('ignores transitions that end no operation, or whose begin was not observed', () => {
    const durations = new Durations();
    durations.event(transition('mdev.create:begin', 5));
    durations.event(transition('kvm.put:begin', 5));
    durations.event(transition('mdev.create:end', -1));
    for (const [key, { sum, count }] of rows(durations))
      assert.deepEqual([sum, count], [0, 0], key);
  });

  it('keeps a histogram for each operation', () => {
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
      durations.event(transition(name as EventKind, MS));
      assert.deepEqual([...rows(durations).keys()], [`${operation} ok`]);
      assert.equal(row(durations, operation, 'ok').count, 1);
    }
  });

  it('counts failures by errno, also of calls whose begin was not observed', () => {
    const durations = new Durations();
    durations.event(transition('mdev.create:end', MS, -17));
    durations.event(transition('mdev.create:end', MS, -17));
    durations.event(transition('mdev.create:end', -1, -110));
    durations.event(transition('vfio.device.open:end', MS, -16));
    assert.deepEqual(
      [...durations.errors()],
      [
        { operation: 'create', errno: 'EEXIST', count: 2 },
        { operation: 'create', errno: 'ETIMEDOUT', count: 1 },
        { operation: 'open', errno: 'EBUSY', count: 1 },
      ],
    );
  });

  it('counts all errors without a name together, whatever a driver returns', () => {
    const durations = new Durations();
    for (const ret of [-600, -4000, -70000])
      durations.event(transition('mdev.create:end', MS, ret));
    assert.deepEqual([...durations.errors()], [{ operation: 'create', errno: 'other', count: 3 }]);
  });
});
