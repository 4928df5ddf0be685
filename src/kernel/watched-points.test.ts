/** Programs of the running kernel tell of points that are watched, and of no others. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type PointName, pointName } from '../lifecycle/points.ts';
import { RingReader } from './ring.ts';
import { compileWriter, RingWriter, type WriterProgram } from './ring-writer.ts';

const RING = 1 << 14;
const skip = process.getuid?.() === 0 ? false : 'only root may load BPF programs';

describe('points that are watched', { skip }, () => {
  let compiled: ReturnType<typeof compileWriter>;
  before(() => {
    compiled = compileWriter();
  });
  after(() => compiled.remove());

  /** What is told when these are run, where a list of points is what is watched from then on. */
  function told(...steps: readonly (WriterProgram | readonly PointName[])[]): string[] {
    const writer = new RingWriter(compiled.object, RING);
    const reader = new RingReader(writer.fd, RING);
    const events: string[] = [];
    for (const step of steps) {
      if (typeof step === 'string') writer.write(step);
      else writer.watched.set(step);
    }
    reader.drain(100, ({ point, isEnd }) => {
      events.push(`${pointName(point)}:${isEnd ? 'end' : 'begin'}`);
    });
    const attempts = writer.lanes.counts().reduce((sum, lane) => sum + lane.attempts, 0);
    assert.equal(attempts, events.length, 'nothing else was tried');
    reader.close();
    writer.close();
    return events;
  }

  const both = ['kvm.get_safe:begin', 'kvm.get_safe:end'];

  it('are none at first', () => {
    assert.deepEqual(told('began', 'ended', 'one'), []);
  });

  it('are told with begin and end', () => {
    assert.deepEqual(told(['kvm.get_safe'], 'began', 'ended'), both);
  });

  it('are those and no others', () => {
    assert.deepEqual(told(['kvm.get'], 'began', 'ended', 'one'), []);
    const points = ['kvm.get_safe', 'kvm.put', 'module.unload'] as const;
    assert.deepEqual(told(points, 'began', 'ended', 'one'), [...both, 'kvm.put:begin']);
  });

  it('have no end of a call that began before', () => {
    assert.deepEqual(told('began', ['kvm.get_safe'], 'ended', 'began', 'ended'), both);
  });

  it('have the end of each call that was told', () => {
    assert.deepEqual(told(['kvm.get_safe'], 'began', [], 'ended', 'began', 'ended'), both);
  });
});
