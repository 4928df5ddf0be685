import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { SpanStatusCode, trace } from '@opentelemetry/api';
import {
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import { RULES } from '../rules/catalogue.ts';
import { Telling } from '../rules/telling.ts';
import { LifeTraces } from './traces.ts';

/** ns from boot to 1970: like any today, beyond what a double counts in single ns. */
const OFFSET = Number(1_763_000_000_123_456_768n);
const BASH = { pid: 700, comm: 'bash' };
const EEXIST = 17;

const exporter = new InMemorySpanExporter();
const spanProcessors = [new SimpleSpanProcessor({ exporter })];
trace.setGlobalTracerProvider(new TracerProvider({ spanProcessors }));

class Traced extends Telling {
  readonly traces = new LifeTraces(() => OFFSET);

  constructor() {
    super({ rules: RULES });
    this.sink = this.traces.take;
    this.engine.onViolation = (violation, change) => {
      if (change === 'raised') this.traces.violated(violation);
    };
  }

  /** The ended spans, once something unrelated has happened. */
  spans(): ReadableSpan[] {
    this.raw('module.load:begin', { names: { device: 'other' } });
    return exporter.getFinishedSpans();
  }

  names(): string[] {
    return this.spans().map(({ name }) => name);
  }

  named(name: string): ReadableSpan {
    const [span, ...others] = this.spans().filter((one) => one.name === name);
    assert.ok(span && others.length === 0, `one span ${name} among ${this.names()}`);
    return span;
  }
}

function nanoseconds([seconds, rest]: readonly [number, number]): bigint {
  return BigInt(seconds) * 1_000_000_000n + BigInt(rest);
}

beforeEach(() => exporter.reset());

describe('the trace of a device', () => {
  it('has one span for the life and one inside it for each thing that took time', () => {
    const telling = new Traced();
    telling.tell((story) => {
      const vm = story.createVm();
      const device = story.create(story.parent());
      story.close(story.open(device, { vm }));
      story.remove(device);
    });
    const phases = ['bind', 'create', 'open', 'wait_for_users', 'remove', 'life'];
    assert.deepEqual(
      telling.names(),
      phases.map((phase) => `vfio.device.${phase}`),
    );
    const life = telling.named('vfio.device.life');
    const { traceId, spanId } = life.spanContext();
    assert.equal(life.parentSpanContext, undefined);
    for (const span of telling.spans()) {
      if (span === life) continue;
      assert.equal(span.spanContext().traceId, traceId);
      assert.equal(span.parentSpanContext?.spanId, spanId);
      assert.ok(nanoseconds(span.startTime) >= nanoseconds(life.startTime), span.name);
      assert.ok(nanoseconds(span.endTime) <= nanoseconds(life.endTime), span.name);
    }
  });

  it('gives each life a trace of its own', () => {
    const telling = new Traced();
    telling.tell((story) => {
      const parent = story.parent();
      const { uuid } = story.create(parent);
      const first = story.create(parent);
      story.remove(first);
      story.remove(story.create(parent, { uuid: first.uuid }));
      assert.ok(uuid);
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
    assert.deepEqual(telling.named('vfio.device.life').attributes, {
      'vfio.device.id': device.uuid,
      'vfio.device.type': 'gpu0-1',
      'vfio.parent.name': 'gpu0',
      'vfio.driver.name': 'nv',
    });
    assert.deepEqual(telling.named('vfio.device.open').attributes, {
      'process.pid': 700,
      'process.executable.name': 'bash',
      'vfio.device.fd': 20,
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

  it('ends when the device is released only after its removal returned', () => {
    const telling = new Traced();
    const { key, uuid } = telling.tell((story) => story.create(story.parent()));
    const fields = { dev: key, names: { device: uuid, bus: 'mdev' } };
    telling.raw('mdev.remove:begin', fields);
    telling.raw('mdev.remove:end', { dev: key });
    assert.equal(telling.names().includes('vfio.device.life'), false);
    telling.raw('mdev.release:begin', fields);
    telling.raw('mdev.release:end', { dev: key });
    assert.equal(telling.names().includes('vfio.device.life'), true);
  });

  it('ends with its parent', () => {
    const telling = new Traced();
    telling.tell((story) => {
      const parent = story.parent();
      const device = story.create(parent);
      const unregistering = story.parentUnregisterBegins(parent);
      story.childRemoved(unregistering, device);
      story.parentUnregisterEnds(unregistering);
    });
    assert.equal(telling.names().at(-1), 'vfio.device.life');
  });

  it('fails where a step failed, with the name of the error', () => {
    const telling = new Traced();
    telling.tell((story) => story.createFails(story.parent(), EEXIST));
    const { status } = telling.named('vfio.device.create');
    assert.deepEqual(status, { code: SpanStatusCode.ERROR, message: 'EEXIST' });
    telling.named('vfio.device.life');
  });

  it('is handed over, as far as it is known, when the agent stops', () => {
    const telling = new Traced();
    telling.tell((story) => story.create(story.parent()));
    const { now } = telling.world;
    telling.traces.endAll(now);
    const { endTime } = telling.named('vfio.device.life');
    assert.equal(nanoseconds(endTime), BigInt(OFFSET) + BigInt(now));
  });
});

describe('a violation', () => {
  it('is an event in the life of its device, and fails it', () => {
    const telling = new Traced();
    const device = telling.tell((story) => story.create(story.parent()));
    const open = telling.tell((story) => story.open(device, { vm: story.createVm() }));
    const removal = telling.tell((story) => story.removeBegins(device, { as: BASH }));
    telling.tell((story) => story.wait(11));
    telling.tell((story) => {
      story.close(open);
      story.removeEnds(removal);
    });
    const { status, events } = telling.named('vfio.device.life');
    assert.deepEqual(status, { code: SpanStatusCode.ERROR, message: 'remove-stall' });
    const [event, ...others] = events;
    assert.equal(others.length, 0);
    assert.equal(event.name, 'vfio.violation');
    const { 'vfio.says': says, ...attributes } = event.attributes ?? {};
    const [violation] = telling.violations();
    assert.deepEqual(attributes, {
      ...{ 'vfio.violation.id': violation.id, 'vfio.rule': 'remove-stall' },
      'vfio.severity': 'warning',
    });
    assert.match(String(says), /has been waiting for 10 s: it is still held open by qemu/);
    assert.equal(nanoseconds(event.time), BigInt(OFFSET) + BigInt(violation.firstSeen));
  });

  it('fails the creation that was refused, not the device that holds the UUID', () => {
    const telling = new Traced();
    telling.tell((story) => {
      const parent = story.parent();
      const device = story.create(parent);
      story.createFails(parent, EEXIST, { uuid: device.uuid });
      story.remove(device);
    });
    const lives = telling.spans().filter(({ name }) => name === 'vfio.device.life');
    assert.deepEqual(
      lives.map(({ status, events }) => [status.code, events.length]),
      [
        [SpanStatusCode.ERROR, 1],
        [SpanStatusCode.UNSET, 0],
      ],
    );
  });
});
