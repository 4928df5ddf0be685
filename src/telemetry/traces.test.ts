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
  wholeLifecycle,
} from '../../test/kit/traced.ts';

beforeEach(forgetSent);

describe('the trace of a device', () => {
  it('has a span for each phase, sent when the phase ends, and a root span, sent at the end', () => {
    const runner = new Traced();
    wholeLifecycle(runner);
    const ofDevice = runner.names().filter((name) => name.startsWith('vfio.device.'));
    const phases = ['bind', 'create', 'close', 'open', 'wait_for_users', 'release'];
    phases.push('remove', 'lifecycle');
    assert.deepEqual(
      ofDevice,
      phases.map((phase) => `vfio.device.${phase}`),
    );
    const object = runner.named('vfio.device.lifecycle');
    assert.equal(object.parentSpanContext, undefined);
    assert.equal(object.attributes['vfio.span.part'], 'lifecycle');
    const parts = runner.spans().filter((span) => span !== object && ofDevice.includes(span.name));
    for (const span of parts) {
      assert.equal(span.attributes['vfio.span.part'], 'phase');
      assert.equal(span.spanContext().traceId, object.spanContext().traceId);
      assert.ok(nanoseconds(span.startTime) >= nanoseconds(object.startTime), span.name);
      assert.ok(nanoseconds(span.endTime) <= nanoseconds(object.endTime), span.name);
    }
  });

  it('is a tree: the parent of a span is the enclosing phase, else the root span', () => {
    const runner = new Traced();
    wholeLifecycle(runner);
    const parentOf = (name: string) => {
      const { parentSpanContext } = runner.named(`vfio.device.${name}`);
      return runner.spans().find((one) => one.spanContext().spanId === parentSpanContext?.spanId)
        ?.name;
    };
    for (const [child, parent] of [
      ['create', 'lifecycle'],
      ['bind', 'create'],
      ['open', 'lifecycle'],
      ['close', 'open'],
      ['remove', 'lifecycle'],
      ['wait_for_users', 'remove'],
    ] as const) {
      assert.equal(parentOf(child), `vfio.device.${parent}`);
    }
  });

  it('is linked to the trace of the VM that it was opened for, and vice versa', () => {
    const runner = new Traced();
    wholeLifecycle(runner);
    const open = runner.named('vfio.device.open');
    const vm = runner.named('vfio.vm.lifecycle');
    const contexts = (span: ReadableSpan) =>
      span.links.map(({ context }) => `${context.traceId} ${context.spanId}`);
    const contextOf = (span: ReadableSpan) =>
      `${span.spanContext().traceId} ${span.spanContext().spanId}`;
    assert.deepEqual(contexts(open), [contextOf(vm)]);
    assert.deepEqual(contexts(vm), [contextOf(open)]);
    assert.notEqual(vm.spanContext().traceId, open.spanContext().traceId);
  });

  it('has the same ids from another agent, and other ids in another boot', () => {
    const seen = [BOOT, BOOT, 'another'].map((boot) => {
      spanExporter.reset();
      const runner = new Traced(boot);
      wholeLifecycle(runner);
      return idsOf(runner.spans());
    });
    assert.deepEqual(seen[0], seen[1]);
    assert.equal(seen[2].filter((one) => seen[0].includes(one)).length, 0);
    assert.equal(new Set(seen[0]).size, seen[0].length);
  });

  it('has the same id from an agent that starts later, by the inode of its directory', () => {
    const uuid = 'aaaabbbb-cccc-4ddd-8eee-ffff00001111';
    const names = { device: uuid, bus: 'mdev', type: 't', parent: 'p' };
    const early = new Traced();
    early.raw('mdev.create:begin', { names: { ...names, uuid } });
    early.raw('mdev.probe:begin', { dev: 1, inode: 4711, names });
    early.raw('mdev.probe:end', { dev: 1 });
    early.raw('mdev.create:end', {});
    const late = new Traced();
    late.raw('snapshot.run:begin', {});
    late.raw('snapshot.device:begin', { inode: 4711, names });
    const next = new Traced();
    next.raw('snapshot.run:begin', {});
    next.raw('snapshot.device:begin', { inode: 4712, names });
    const [first, second, third] = [early, late, next].map(({ world, ids }) => {
      const [device] = world.devices;
      return ids.traceIdOf(device);
    });
    assert.match(String(first), /^[0-9a-f]{32}$/);
    assert.equal(second, first);
    assert.notEqual(third, first);
  });

  it('is another for the next device of the same name', () => {
    const runner = new Traced();
    runner.run((scenario) => {
      const parent = scenario.parent();
      const first = scenario.create(parent);
      scenario.remove(first);
      scenario.remove(scenario.create(parent, { uuid: first.uuid }));
    });
    const objects = runner.spans().filter(({ name }) => name === 'vfio.device.lifecycle');
    assert.equal(objects.length, 2);
    assert.equal(new Set(objects.map((object) => object.spanContext().traceId)).size, 2);
  });

  it('has the attributes of the device and of the process that opened it', () => {
    const runner = new Traced();
    const device = runner.run((scenario) =>
      scenario.create(scenario.parent({ name: 'gpu0', driver: 'nv' })),
    );
    runner.run((scenario) => {
      scenario.close(scenario.open(device, { as: BASH }));
      scenario.remove(device);
    });
    const { 'vfio.incarnation': serial, ...object } =
      runner.named('vfio.device.lifecycle').attributes;
    assert.ok(Number(serial) > 0);
    const about = {
      ...{ 'vfio.device.name': device.uuid, 'vfio.device.bus': 'mdev' },
      ...{ 'vfio.device.mdev_type': 'gpu0-1', 'vfio.device.parent': 'gpu0' },
      'vfio.device.driver': 'nv',
    };
    const { 'vfio.device.iommu_group': group, ...rest } = object;
    assert.ok(Number(group) >= 0);
    assert.deepEqual(rest, {
      ...{ 'vfio.span.part': 'lifecycle', 'vfio.quality': 'observed' },
      ...{ 'vfio.segment.number': 1, 'vfio.segment.last': true },
      ...{ 'vfio.device.state': 'released', 'vfio.device.opens': 1 },
      ...about,
    });
    assert.deepEqual(runner.named('vfio.device.open').attributes, {
      ...{ 'vfio.span.part': 'phase', 'vfio.incarnation': serial, ...about },
      ...{ 'vfio.segment.number': 1, 'vfio.segment.last': true },
      ...{ 'process.pid': 700, 'thread.id': 700, 'thread.name': 'bash', 'process.user.id': 0 },
      'vfio.file.descriptor': 20,
    });
  });

  it('has times that are exact to the ns', () => {
    const runner = new Traced();
    const names = { device: 'd', bus: 'mdev', type: 't', parent: 'p' };
    const [created, probed, bound, done] = [5e9 + 1, 5e9 + 302, 6e9 - 1, 6e9 + 3];
    runner.raw('mdev.create:begin', { time: created, names });
    runner.raw('mdev.probe:begin', { time: probed, dev: 1, names });
    runner.raw('mdev.probe:end', { time: bound, dev: 1 });
    runner.raw('mdev.create:end', { time: done });
    const exact = (at: number) => BigInt(OFFSET) + BigInt(at);
    const times = (name: string) => {
      const { startTime, endTime } = runner.named(name);
      return [nanoseconds(startTime), nanoseconds(endTime)];
    };
    assert.deepEqual(times('vfio.device.bind'), [exact(probed), exact(bound)]);
    assert.deepEqual(times('vfio.device.create'), [exact(created), exact(done)]);
    for (const { startTime, endTime } of runner.spans()) {
      for (const [, rest] of [startTime, endTime]) assert.ok(rest >= 0 && rest < 1e9, `${rest}`);
    }
  });

  it('has a root span that waits for the rules, and not longer', () => {
    const runner = new Traced();
    runner.run((scenario) => scenario.remove(scenario.create(scenario.parent())));
    const sent = () =>
      spanExporter.getFinishedSpans().some(({ name }) => name.endsWith('.lifecycle'));
    runner.traces.tick(runner.world.now + 2e9);
    assert.equal(sent(), false);
    runner.traces.tick(runner.world.now + 4e9);
    assert.equal(sent(), true);
  });

  it('has a root span that waits longer for the end of a call, and is sent once', () => {
    const runner = new Traced();
    const vm = runner.run((scenario) => scenario.createVm());
    const { key } = vm;
    runner.raw('kvm.vm.destroy:begin', { kvm: key });
    runner.traces.tick(runner.world.now + 10e9);
    runner.raw('kvm.vm.destroy:end', { time: runner.world.now + 12e9, kvm: key });
    runner.traces.tick(runner.world.now + 4e9);
    runner.raw('kvm.vm.destroy:end', { time: runner.world.now + 5e9, kvm: key });
    runner.traces.tick(runner.world.now + 10e9);
    assert.equal(runner.named('vfio.vm.destroy').attributes['vfio.end.observed'], undefined);
    runner.named('vfio.vm.lifecycle');
  });

  it('has an error status where a call failed, with the name of the error', () => {
    const runner = new Traced();
    runner.run((scenario) => scenario.createFails(scenario.parent(), EEXIST));
    // The rule duplicate-uuid is of severity info, and adds nothing.
    for (const name of ['vfio.device.create', 'vfio.device.lifecycle']) {
      const { status, attributes } = runner.named(name);
      assert.deepEqual(status, { code: SpanStatusCode.ERROR, message: 'EEXIST' });
      assert.equal(attributes['error.type'], 'EEXIST');
    }
  });

  it('has the removal that failed and the one that succeeded, although they overlapped', () => {
    const runner = new Traced();
    const { key, uuid } = runner.run((scenario) => scenario.create(scenario.parent()));
    const fields = { dev: key, names: { device: uuid, bus: 'mdev' } };
    runner.raw('mdev.remove:begin', { ...fields, pid: 1, tid: 1 });
    runner.raw('mdev.remove:begin', { ...fields, pid: 2, tid: 2 });
    runner.raw('mdev.remove:end', { dev: key, pid: 2, tid: 2, ret: -EBUSY });
    runner.raw('mdev.remove:end', { dev: key, pid: 1, tid: 1 });
    const removals = runner.spans().filter(({ name }) => name === 'vfio.device.remove');
    assert.deepEqual(
      removals.map(({ status }) => status.message),
      ['EBUSY, remove-failed', undefined],
    );
  });

  it('is not ended when the agent ends', () => {
    const runner = new Traced();
    runner.run((scenario) => scenario.create(scenario.parent()));
    assert.equal(runner.names().includes('vfio.device.lifecycle'), false);
  });

  it('ends phases whose end was not observed, and marks them', () => {
    const runner = new Traced();
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    runner.run((scenario) => scenario.open(device));
    const names = { device: device.uuid, bus: 'mdev' };
    runner.raw('mdev.release:begin', { dev: device.key, names });
    assert.equal(runner.named('vfio.device.open').attributes['vfio.end.observed'], false);
  });
});
