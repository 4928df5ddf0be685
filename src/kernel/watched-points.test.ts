/** Programs of the running kernel emit records of points that are watched, and of no others. */
import assert from 'node:assert/strict';
import { needing } from '../../test/kit/needs.ts';
import { compileWriter, RingWriter, type WriterProgram } from '../../test/kit/ring-writer.ts';
import { pointName } from '../events/points.ts';
import { POINT, POINT_LIMIT } from '../events/wire.gen.ts';
import { RingReader } from './ring.ts';

const { after, before, describe, it } = needing('root', 'libbpf', 'clang');

const RING = 1 << 14;
const { KVM_GET, KVM_GET_SAFE, KVM_PUT, MODULE_UNLOAD } = POINT;

describe('points that are watched', () => {
  let compiled: ReturnType<typeof compileWriter>;
  before(() => {
    compiled = compileWriter();
  });
  after(() => compiled.remove());

  /** The records that these programs emit; a list of numbers is what is watched from then on. */
  function emitted(...steps: readonly (WriterProgram | readonly number[])[]): string[] {
    const writer = new RingWriter(compiled.object, RING);
    const reader = new RingReader(writer.fd, RING);
    const events: string[] = [];
    for (const step of steps) {
      if (typeof step === 'string') writer.write(step);
      else writer.watched.set(step);
    }
    reader.drain(100, ({ point, isEnd }) => {
      events.push(`${pointName(point) ?? point}:${isEnd ? 'end' : 'begin'}`);
    });
    const attempts = writer.cpuCounters
      .counts()
      .reduce((sum, counters) => sum + counters.attempts, 0);
    assert.equal(attempts, events.length, 'nothing else was tried');
    reader.close();
    writer.close();
    return events;
  }

  const both = ['kvm.get_safe:begin', 'kvm.get_safe:end'];

  it('are none at first', () => {
    assert.deepEqual(emitted('began', 'ended', 'one'), []);
  });

  it('are emitted with begin and end', () => {
    assert.deepEqual(emitted([KVM_GET_SAFE], 'began', 'ended'), both);
  });

  it('are those and no others', () => {
    assert.deepEqual(emitted([KVM_GET], 'began', 'ended', 'one'), []);
    const points = [KVM_GET_SAFE, KVM_PUT, MODULE_UNLOAD];
    assert.deepEqual(emitted(points, 'began', 'ended', 'one'), [...both, 'kvm.put:begin']);
  });

  it('have no end of a call that began before', () => {
    assert.deepEqual(emitted('began', [KVM_GET_SAFE], 'ended', 'began', 'ended'), both);
  });

  it('have the end of each call whose begin was emitted', () => {
    assert.deepEqual(emitted([KVM_GET_SAFE], 'began', [], 'ended', 'began', 'ended'), both);
  });

  it('may have any number that a record has room for', () => {
    const highest = POINT_LIMIT - 1;
    assert.deepEqual(emitted([highest], 'highest', 'one'), [`${highest}:begin`]);
    assert.deepEqual(emitted([highest - 64, highest - 32], 'highest'), []);
  });

  it('are refused beyond that', () => {
    assert.throws(() => emitted([POINT_LIMIT]), /point 256 cannot be watched: .* below 256/);
  });
});
