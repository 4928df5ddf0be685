import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { WIRE } from './wire.gen.ts';
import {
  failureToRead,
  pointProblems,
  type WireDescription,
  wireDifference,
} from './wire-description.ts';

type Fields = WireDescription['event'];

function changed(fields: Fields, name: string, change: Partial<Fields[number]>): Fields {
  assert.ok(fields.some((field) => field.name === name));
  return fields.map((field) => (field.name === name ? { ...field, ...change } : field));
}

/** Other descriptions, and what has to be said about each. */
const DIFFERENCES: readonly (readonly [string, Partial<WireDescription>, RegExp])[] = [
  [
    'another version',
    { version: WIRE.version + 1 },
    new RegExp(`version ${WIRE.version + 1}, this agent reads version ${WIRE.version}$`),
  ],
  [
    'a field elsewhere',
    { event: changed(WIRE.event, 'ret', { offset: 44 }) },
    /^event field \d+ is ret \(4 bytes at 44, signed\), expected ret \(4 bytes at 40, signed\)$/,
  ],
  [
    'a field of another size',
    { event: changed(WIRE.event, 'comm', { size: 8, signed: false }) },
    /event field \d+ is comm \(8 bytes at 24\), expected comm \(16 bytes at 24\)/,
  ],
  [
    'a field of another name',
    { cpuCounters: changed(WIRE.cpuCounters, 'dropped', { name: 'lost' }) },
    /cpuCounters field 1 is lost .* expected dropped/,
  ],
  [
    'a field less',
    { names: WIRE.names.slice(0, -1) },
    /names field 9 is missing, expected device_state/,
  ],
  [
    'a field more',
    { names: [...WIRE.names, { name: 'extra', offset: 320, size: 8, signed: false }] },
    /names field 10 is extra \(8 bytes at 320\), expected missing/,
  ],
  ['a longer event', { eventSize: 120 }, /^eventSize is 120, expected 112$/],
  ['a longer named event', { namedSize: 400 }, /^namedSize is 400, expected 320$/],
  ['longer counters', { cpuCountersSize: 128 }, /^cpuCountersSize is 128, expected 64$/],
  ['more room for points', { pointLimit: 512 }, /^pointLimit is 512, expected 256$/],
  [
    'a point of another number',
    { points: { ...WIRE.points, KVM_PUT: 99 } },
    /^KVM_PUT is 99, expected 38$/,
  ],
  [
    'a point more',
    { points: { ...WIRE.points, IOMMUFD_BIND: 60 } },
    /^IOMMUFD_BIND is 60, expected none$/,
  ],
  ['no flags', { flags: {} }, /^EVENT_END is missing, expected 1$/],
  ['a part of a snapshot less', { coverage: {} }, /^COVERED_SYSFS is missing, expected 1$/],
  ['a device state less', { deviceStates: {} }, /^DEVICE_REMOVABLE is missing, expected 1$/],
];

describe('wireDifference', () => {
  it('finds none between equal descriptions', () => {
    assert.equal(wireDifference(WIRE, structuredClone(WIRE)), undefined);
  });

  for (const [title, change, words] of DIFFERENCES) {
    it(`names what differs: ${title}`, () => {
      assert.match(wireDifference(WIRE, { ...WIRE, ...change }) ?? 'nothing', words);
    });
  }

  it('notices a change in any field', () => {
    for (const part of ['event', 'names', 'cpuCounters'] as const) {
      for (const { name } of WIRE[part]) {
        const theirs = { ...WIRE, [part]: changed(WIRE[part], name, { offset: 4000 }) };
        assert.ok(wireDifference(WIRE, theirs)?.includes(`${name} (`), `${part}.${name}`);
      }
    }
  });
});

describe('failureToRead', () => {
  const { EVENT_SNAPSHOT: _, ...flags } = WIRE.flags;
  const { SNAPSHOT_VM_FILE: __, ...points } = WIRE.points;
  const unnamed = WIRE.event.map((field) =>
    field.name === 'vm_pid' ? { ...field, name: 'reserved', signed: false } : field,
  );

  it('is none where the writer knew less', () => {
    assert.equal(failureToRead(WIRE, { ...WIRE, flags, points }), undefined);
    assert.equal(failureToRead(WIRE, { ...WIRE, event: unnamed }), undefined);
  });

  it('may leave the per-CPU counters out, but not have others', () => {
    const { cpuCounters, cpuCountersSize: _, ...records } = WIRE;
    assert.equal(failureToRead(WIRE, records), undefined);
    const renamed = changed(cpuCounters, 'dropped', { name: 'lost' });
    assert.match(failureToRead(WIRE, { ...WIRE, cpuCounters: renamed }) ?? '', /field 1 is lost/);
    assert.match(failureToRead(WIRE, { ...WIRE, cpuCountersSize: 128 }) ?? '', /is 128/);
  });

  it('is what the writer knew more, or else', () => {
    const more = { points: { ...WIRE.points, IOMMUFD_BIND: 62 } };
    assert.match(failureToRead(WIRE, { ...WIRE, ...more }) ?? '', /IOMMUFD_BIND/);
    assert.match(failureToRead({ ...WIRE, event: unnamed }, WIRE) ?? '', /vm_pid/);
    const version = WIRE.version + 1;
    assert.match(failureToRead(WIRE, { ...WIRE, version }) ?? '', /version/);
  });
});

describe('the numbers of the points', () => {
  it('are all below the limit, and each is used once', () => {
    assert.deepEqual(pointProblems(WIRE), []);
  });

  it('are refused where a record has no room for them', () => {
    const points = { ...WIRE.points, BEYOND: WIRE.pointLimit };
    assert.deepEqual(pointProblems({ ...WIRE, points }), [
      `point BEYOND is ${WIRE.pointLimit}, but must be below POINT_LIMIT (${WIRE.pointLimit})`,
    ]);
  });

  it('are refused where two points have the same', () => {
    const points = { ...WIRE.points, AGAIN: WIRE.points.KVM_PUT };
    assert.deepEqual(pointProblems({ ...WIRE, points }), ['points KVM_PUT and AGAIN are both 38']);
  });

  it('fit into the byte that a record has for them', () => {
    const point = WIRE.event.find(({ name }) => name === 'point');
    assert.equal(WIRE.pointLimit, 2 ** (8 * (point?.size ?? 0)));
  });
});
