import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ProbeObject } from '../kernel/probe-object.ts';
import { WIRE } from './wire.gen.ts';
import {
  describeWire,
  obstacleToReading,
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
    { lane: changed(WIRE.lane, 'dropped', { name: 'lost' }) },
    /lane field 1 is lost .* expected dropped/,
  ],
  ['a field less', { names: WIRE.names.slice(0, -1) }, /names field 5 is missing, expected driver/],
  [
    'a field more',
    { names: [...WIRE.names, { name: 'extra', offset: 304, size: 8, signed: false }] },
    /names field 6 is extra \(8 bytes at 304\), expected missing/,
  ],
  ['a longer event', { eventSize: 120 }, /^eventSize is 120 bytes, expected 112$/],
  ['a longer named event', { namedSize: 400 }, /^namedSize is 400 bytes, expected 304$/],
  ['a longer lane', { laneSize: 128 }, /^laneSize is 128 bytes, expected 64$/],
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
    for (const part of ['event', 'names', 'lane'] as const) {
      for (const { name } of WIRE[part]) {
        const theirs = { ...WIRE, [part]: changed(WIRE[part], name, { offset: 4000 }) };
        assert.ok(wireDifference(WIRE, theirs)?.includes(`${name} (`), `${part}.${name}`);
      }
    }
  });
});

describe('obstacleToReading', () => {
  const { EVENT_SEEN: _, ...flags } = WIRE.flags;
  const { SEEN_VM_FILE: __, ...points } = WIRE.points;
  const unnamed = WIRE.event.map((field) =>
    field.name === 'vm_pid' ? { ...field, name: 'reserved', signed: false } : field,
  );

  it('is none where the writer knew less', () => {
    assert.equal(obstacleToReading(WIRE, { ...WIRE, flags, points }), undefined);
    assert.equal(obstacleToReading(WIRE, { ...WIRE, event: unnamed }), undefined);
  });

  it('is what the writer knew more, or else', () => {
    const more = { points: { ...WIRE.points, IOMMUFD_BIND: 62 } };
    assert.match(obstacleToReading(WIRE, { ...WIRE, ...more }) ?? '', /IOMMUFD_BIND/);
    assert.match(obstacleToReading({ ...WIRE, event: unnamed }, WIRE) ?? '', /vm_pid/);
    const version = WIRE.version + 1;
    assert.match(obstacleToReading(WIRE, { ...WIRE, version }) ?? '', /version/);
  });
});

describe('describeWire', () => {
  it('reads out of the probe object what this agent expects', () => {
    const path = new URL('../../dist/bpf/vfioscope.bpf.o', import.meta.url).pathname;
    const object = ProbeObject.open(path);
    assert.deepEqual(describeWire(object.btf()), WIRE);
    object.close();
  });
});
