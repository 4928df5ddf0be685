import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { SpanStatusCode } from '@opentelemetry/api';
import type { ReadableSpan } from '@opentelemetry/sdk-trace';
import {
  BASH,
  BOOT,
  EBUSY,
  EEXIST,
  forgetSent,
  idsOf,
  nanoseconds,
  OFFSET,
  spanExporter,
  Traced,
  wholeLife,
} from './traced.ts';

beforeEach(forgetSent);

describe('the trace of a device', () => {
  it('has a span for each phase, sent when the phase ends, and one for the life at its end', () => {
    const telling = new Traced();
    wholeLife(telling);
    const ofDevice = telling.names().filter((name) => name.startsWith('vfio.device.'));
    const phases = ['bind', 'create', 'close', 'open', 'wait_for_users', 'release'];
    phases.push('remove', 'life');
    assert.deepEqual(
      ofDevice,
      phases.map((phase) => `vfio.device.${phase}`),
    );
    const life = telling.named('vfio.device.life');
    assert.equal(life.parentSpanContext, undefined);
    assert.equal(life.attributes['vfio.span.part'], 'life');
    const parts = telling.spans().filter((span) => span !== life && ofDevice.includes(span.name));
    for (const span of parts) {
      assert.equal(span.attributes['vfio.span.part'], 'phase');
      assert.equal(span.spanContext().traceId, life.spanContext().traceId);
      assert.ok(nanoseconds(span.startTime) >= nanoseconds(life.startTime), span.name);
      assert.ok(nanoseconds(span.endTime) <= nanoseconds(life.endTime), span.name);
    }
  });

  it('is a tree: a phase lies in the one that it is a part of, else in the life', () => {
    const telling = new Traced();
    wholeLife(telling);
    const parentOf = (name: string) => {
      const { parentSpanContext } = telling.named(`vfio.device.${name}`);
      return telling.spans().find((one) => one.spanContext().spanId === parentSpanContext?.spanId)
        ?.name;
    };
    for (const [child, parent] of [
      ['create', 'life'],
      ['bind', 'create'],
      ['open', 'life'],
      ['close', 'open'],
      ['remove', 'life'],
      ['wait_for_users', 'remove'],
    ] as const) {
      assert.equal(parentOf(child), `vfio.device.${parent}`);
    }
  });

  it('is linked to that of the VM that it was opened for, and the other way round', () => {
    const telling = new Traced();
    wholeLife(telling);
    const open = telling.named('vfio.device.open');
    const vm = telling.named('vfio.vm.life');
    const contexts = (span: ReadableSpan) =>
      span.links.map(({ context }) => `${context.traceId} ${context.spanId}`);
    const contextOf = (span: ReadableSpan) =>
      `${span.spanContext().traceId} ${span.spanContext().spanId}`;
    assert.deepEqual(contexts(open), [contextOf(vm)]);
    assert.deepEqual(contexts(vm), [contextOf(open)]);
    assert.notEqual(vm.spanContext().traceId, open.spanContext().traceId);
  });

  it('has ids that another agent gives it as well, and another boot does not', () => {
    const seen = [BOOT, BOOT, 'another'].map((boot) => {
      spanExporter.reset();
      const telling = new Traced(boot);
      wholeLife(telling);
      return idsOf(telling.spans());
    });
    assert.deepEqual(seen[0], seen[1]);
    assert.equal(seen[2].filter((one) => seen[0].includes(one)).length, 0);
    assert.equal(new Set(seen[0]).size, seen[0].length);
  });

  it('has the same id for an agent that comes late, by the inode of its directory', () => {
    const uuid = 'aaaabbbb-cccc-4ddd-8eee-ffff00001111';
    const names = { device: uuid, bus: 'mdev', type: 't', parent: 'p' };
    const early = new Traced();
    early.raw('mdev.create:begin', { names: { ...names, uuid } });
    early.raw('mdev.probe:begin', { dev: 1, inode: 4711, names });
    early.raw('mdev.probe:end', { dev: 1 });
    early.raw('mdev.create:end', {});
    const late = new Traced();
    late.raw('seen.snapshot:begin', {});
    late.raw('seen.device:begin', { inode: 4711, names });
    const next = new Traced();
    next.raw('seen.snapshot:begin', {});
    next.raw('seen.device:begin', { inode: 4712, names });
    const [first, second, third] = [early, late, next].map(({ world, ids }) => {
      const [device] = world.devices;
      return ids.traceIdOf(device);
    });
    assert.match(String(first), /^[0-9a-f]{32}$/);
    assert.equal(second, first);
    assert.notEqual(third, first);
  });

  it('is another for the next life of the same name', () => {
    const telling = new Traced();
    telling.tell((story) => {
      const parent = story.parent();
      const first = story.create(parent);
      story.remove(first);
      story.remove(story.create(parent, { uuid: first.uuid }));
    });
    const lives = telling.spans().filter(({ name }) => name === 'vfio.device.life');
    assert.equal(lives.length, 2);
    assert.equal(new Set(lives.map((life) => life.spanContext().traceId)).size, 2);
  });

  it('says what the device was and who had it open', () => {
    const telling = new Traced();
    const device = telling.tell((story) =>
      story.create(story.parent({ name: 'gpu0', driver: 'nv' })),
    );
    telling.tell((story) => {
      story.close(story.open(device, { as: BASH }));
      story.remove(device);
    });
    const { 'vfio.life': serial, ...life } = telling.named('vfio.device.life').attributes;
    assert.ok(Number(serial) > 0);
    const about = {
      ...{ 'vfio.device.name': device.uuid, 'vfio.device.bus': 'mdev' },
      ...{ 'vfio.device.type': 'gpu0-1', 'vfio.device.parent': 'gpu0' },
      'vfio.device.driver': 'nv',
    };
    const { 'vfio.device.iommu_group': group, ...rest } = life;
    assert.ok(Number(group) >= 0);
    assert.deepEqual(rest, {
      ...{ 'vfio.span.part': 'life', 'vfio.quality': 'observed' },
      ...{ 'vfio.device.state': 'released', 'vfio.device.opens': 1 },
      ...about,
    });
    assert.deepEqual(telling.named('vfio.device.open').attributes, {
      ...{ 'vfio.span.part': 'phase', 'vfio.life': serial, ...about },
      ...{ 'process.pid': 700, 'thread.id': 700, 'thread.name': 'bash', 'process.user.id': 0 },
      'vfio.file.descriptor': 20,
    });
  });

  it('has times that are exact to the ns', () => {
    const telling = new Traced();
    const names = { device: 'd', bus: 'mdev', type: 't', parent: 'p' };
    const [created, probed, bound, done] = [5e9 + 1, 5e9 + 302, 6e9 - 1, 6e9 + 3];
    telling.raw('mdev.create:begin', { time: created, names });
    telling.raw('mdev.probe:begin', { time: probed, dev: 1, names });
    telling.raw('mdev.probe:end', { time: bound, dev: 1 });
    telling.raw('mdev.create:end', { time: done });
    const exact = (at: number) => BigInt(OFFSET) + BigInt(at);
    const times = (name: string) => {
      const { startTime, endTime } = telling.named(name);
      return [nanoseconds(startTime), nanoseconds(endTime)];
    };
    assert.deepEqual(times('vfio.device.bind'), [exact(probed), exact(bound)]);
    assert.deepEqual(times('vfio.device.create'), [exact(created), exact(done)]);
    for (const { startTime, endTime } of telling.spans()) {
      for (const [, rest] of [startTime, endTime]) assert.ok(rest >= 0 && rest < 1e9, `${rest}`);
    }
  });

  it('waits at its end for what the rules say, and not longer', () => {
    const telling = new Traced();
    telling.tell((story) => story.remove(story.create(story.parent())));
    const sent = () => spanExporter.getFinishedSpans().some(({ name }) => name.endsWith('.life'));
    telling.traces.tick(telling.world.now + 2e9);
    assert.equal(sent(), false);
    telling.traces.tick(telling.world.now + 4e9);
    assert.equal(sent(), true);
  });

  it('waits longer for the end of a call, and is not sent twice', () => {
    const telling = new Traced();
    const vm = telling.tell((story) => story.createVm());
    const { key } = vm;
    telling.raw('kvm.vm.destroy:begin', { kvm: key });
    telling.traces.tick(telling.world.now + 10e9);
    telling.raw('kvm.vm.destroy:end', { time: telling.world.now + 12e9, kvm: key });
    telling.traces.tick(telling.world.now + 4e9);
    telling.raw('kvm.vm.destroy:end', { time: telling.world.now + 5e9, kvm: key });
    telling.traces.tick(telling.world.now + 10e9);
    assert.equal(telling.named('vfio.vm.destroy').attributes['vfio.end.seen'], undefined);
    telling.named('vfio.vm.life');
  });

  it('fails where a step failed, with the name of the error', () => {
    const telling = new Traced();
    telling.tell((story) => story.createFails(story.parent(), EEXIST));
    const { status, attributes } = telling.named('vfio.device.create');
    assert.deepEqual(status, { code: SpanStatusCode.ERROR, message: 'EEXIST, duplicate-uuid' });
    assert.equal(attributes['error.type'], 'EEXIST');
    telling.named('vfio.device.life');
  });

  it('has the removal that failed and the one that succeeded, though they overlapped', () => {
    const telling = new Traced();
    const { key, uuid } = telling.tell((story) => story.create(story.parent()));
    const fields = { dev: key, names: { device: uuid, bus: 'mdev' } };
    telling.raw('mdev.remove:begin', { ...fields, pid: 1, tid: 1 });
    telling.raw('mdev.remove:begin', { ...fields, pid: 2, tid: 2 });
    telling.raw('mdev.remove:end', { dev: key, pid: 2, tid: 2, ret: -EBUSY });
    telling.raw('mdev.remove:end', { dev: key, pid: 1, tid: 1 });
    const removals = telling.spans().filter(({ name }) => name === 'vfio.device.remove');
    assert.deepEqual(
      removals.map(({ status }) => status.message),
      ['EBUSY, remove-failed', undefined],
    );
  });

  it('does not end with the agent', () => {
    const telling = new Traced();
    telling.tell((story) => story.create(story.parent()));
    assert.equal(telling.names().includes('vfio.device.life'), false);
  });

  it('ends also what no event told the end of, and says so', () => {
    const telling = new Traced();
    const device = telling.tell((story) => story.create(story.parent()));
    telling.tell((story) => story.open(device));
    const names = { device: device.uuid, bus: 'mdev' };
    telling.raw('mdev.release:begin', { dev: device.key, names });
    assert.equal(telling.named('vfio.device.open').attributes['vfio.end.seen'], false);
  });
});
