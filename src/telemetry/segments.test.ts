/** Spans of lifecycles that last for hours and days. */
import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { SpanStatusCode } from '@opentelemetry/api';
import type { ReadableSpan } from '@opentelemetry/sdk-trace';
import fc from 'fast-check';
import { BASH, forgetSent, nanoseconds, spanExporter, Traced } from '../../test/kit/traced.ts';
import { SECOND } from '../units.ts';
import { Segments } from './segments.ts';

const HOUR = 3600 * SECOND;
const DAY = 24 * HOUR;
/** As many as fit into a signed 32-bit integer of seconds: longer than any host runs. */
const YEARS = 2 ** 31;

beforeEach(forgetSent);

/** Lets hours pass, and everything that waits for time. */
function hours(runner: Traced, count: number): void {
  for (let i = 0; i < count; i++) {
    runner.run((scenario) => {
      scenario.pass(3599);
      scenario.wait(1);
    });
    runner.traces.tick(runner.world.now);
  }
}

/** The spans of one name that have been sent, in the order of time. */
function sent(name: string): ReadableSpan[] {
  return spanExporter
    .getFinishedSpans()
    .filter((span) => span.name === name)
    .sort((a, b) => (nanoseconds(a.startTime) < nanoseconds(b.startTime) ? -1 : 1));
}

const idOf = (span: ReadableSpan) => `${span.spanContext().traceId} ${span.spanContext().spanId}`;
const segmentOf = ({ attributes }: ReadableSpan) => [
  attributes['vfio.segment.number'],
  attributes['vfio.segment.last'],
];
const length = ({ startTime, endTime }: ReadableSpan) =>
  Number(nanoseconds(endTime) - nanoseconds(startTime));

/** That these are one span in pieces: each begins where the last ended, and is linked to it; the last is marked. */
function assertOneInPieces(pieces: readonly ReadableSpan[]): void {
  for (const [i, piece] of pieces.entries()) {
    assert.deepEqual(segmentOf(piece), [i + 1, i === pieces.length - 1], piece.name);
    if (i === 0) continue;
    const before = pieces[i - 1];
    assert.equal(nanoseconds(piece.startTime), nanoseconds(before.endTime), piece.name);
    assert.equal(piece.spanContext().traceId, before.spanContext().traceId);
    const linked = piece.links.map(({ context }) => `${context.traceId} ${context.spanId}`);
    assert.ok(linked.includes(idOf(before)), piece.name);
  }
}

describe('the spans of a device that exists for ten days', () => {
  /** Created, opened for five days by a VM, closed, opened again for an hour, removed. */
  function tenDays(runner: Traced): void {
    const vm = runner.run((scenario) => scenario.createVm());
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    hours(runner, 24);
    const open = runner.run((scenario) => scenario.open(device, { vm }));
    hours(runner, 5 * 24);
    runner.run((scenario) => scenario.close(open));
    hours(runner, 24);
    const short = runner.run((scenario) => scenario.open(device, { as: BASH }));
    runner.run((scenario) => scenario.close(short));
    hours(runner, 3 * 24);
    runner.run((scenario) => {
      scenario.remove(device);
      scenario.closeVm(vm);
    });
  }

  it('are sent every 12 hours, and cover each time once', () => {
    const runner = new Traced();
    tenDays(runner);
    const before = sent('vfio.device.lifecycle');
    assert.ok(before.length >= 19, `${before.length}`);
    assert.ok(
      before.every((span) => segmentOf(span)[1] === false),
      'none is the last',
    );
    runner.spans();
    const lifecycle = sent('vfio.device.lifecycle');
    assertOneInPieces(lifecycle);
    assert.ok(lifecycle.length >= 20 && lifecycle.length <= 22, `${lifecycle.length}`);
    for (const span of lifecycle.slice(1, -1)) assert.equal(length(span), 12 * HOUR);
    assert.ok(length(lifecycle[0]) <= 12 * HOUR);
    const total = lifecycle.reduce((sum, span) => sum + length(span), 0);
    assert.ok(Math.abs(total - 10 * DAY) < 5 * SECOND, `${total}`);
    assert.equal(lifecycle.at(-1)?.attributes['vfio.device.state'], 'released');
    assert.equal(lifecycle.at(-2)?.attributes['vfio.device.state'], 'bound');
  });

  it('include an open of five days in pieces, and a short one as a whole', () => {
    const runner = new Traced();
    tenDays(runner);
    runner.spans();
    const opens = sent('vfio.device.open');
    const [long, short] = [opens.slice(0, -1), opens.slice(-1)];
    assertOneInPieces(long);
    assertOneInPieces(short);
    assert.ok(long.length >= 10 && long.length <= 12, `${long.length}`);
    assert.ok(long.every(({ attributes }) => attributes['vfio.file.descriptor'] === 20));
    const total = long.reduce((sum, span) => sum + length(span), 0);
    assert.ok(Math.abs(total - 5 * DAY) < 5 * SECOND, `${total}`);
  });

  it('are one trace, in which every parent and every link is a span that has been sent', () => {
    const runner = new Traced();
    tenDays(runner);
    const spans = runner.spans();
    const ids = new Set(spans.map(idOf));
    assert.equal(ids.size, spans.length, 'no id twice');
    for (const span of spans) {
      const { parentSpanContext: parent } = span;
      const isRoot = span.name.endsWith('.lifecycle');
      assert.equal(parent === undefined, isRoot, span.name);
      if (parent) assert.ok(ids.has(`${parent.traceId} ${parent.spanId}`), span.name);
      for (const { context } of span.links) {
        assert.ok(ids.has(`${context.traceId} ${context.spanId}`), span.name);
      }
    }
    const ofDevice = spans.filter(({ name }) => name.startsWith('vfio.device.'));
    assert.equal(new Set(ofDevice.map((span) => span.spanContext().traceId)).size, 1);
  });

  it('have a parent that is there at their time', () => {
    const runner = new Traced();
    tenDays(runner);
    const spans = runner.spans();
    const byId = new Map(spans.map((span) => [span.spanContext().spanId, span]));
    for (const { name, startTime, endTime, parentSpanContext } of spans) {
      const parent = byId.get(parentSpanContext?.spanId ?? '');
      if (!parent) continue;
      assert.ok(nanoseconds(startTime) >= nanoseconds(parent.startTime), name);
      assert.ok(nanoseconds(endTime) <= nanoseconds(parent.endTime), name);
    }
  });
});

describe('cuts', () => {
  it('are made once time has passed, also when no tick came for days', () => {
    const runner = new Traced();
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    runner.run((scenario) => scenario.pass(3 * 24 * 3600));
    runner.run((scenario) => scenario.remove(device));
    runner.spans();
    const lifecycle = sent('vfio.device.lifecycle');
    assertOneInPieces(lifecycle);
    assert.ok(lifecycle.length >= 6);
    const [remove, ...others] = sent('vfio.device.remove');
    assert.equal(others.length, 0);
    assert.equal(remove.parentSpanContext?.spanId, lifecycle.at(-1)?.spanContext().spanId);
  });

  it('leave a lifecycle of less than an hour whole, wherever it begins', () => {
    for (let minute = 0; minute < 24 * 60; minute += 20) {
      forgetSent();
      const runner = new Traced();
      runner.run((scenario) => scenario.pass(60 * minute));
      const device = runner.run((scenario) => scenario.create(scenario.parent()));
      const open = runner.run((scenario) => scenario.open(device));
      for (let i = 0; i < 58; i++) {
        runner.run((scenario) => {
          scenario.pass(59);
          scenario.wait(1);
        });
        runner.traces.tick(runner.world.now);
      }
      runner.run((scenario) => {
        scenario.close(open);
        scenario.remove(device);
      });
      for (const span of runner.spans()) assert.deepEqual(segmentOf(span), [1, true], span.name);
      runner.named('vfio.device.lifecycle');
      runner.named('vfio.device.open');
    }
  });

  it('keep the error of a violation that continues, and not of one that is over', () => {
    const runner = new Traced();
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    const opening = runner.run((scenario) => scenario.openBegins(device));
    hours(runner, 30);
    runner.run((scenario) => scenario.openEnds(opening));
    hours(runner, 48);
    for (const name of ['vfio.device.lifecycle', 'vfio.device.open']) {
      const status = sent(name).map(({ status: { code } }) => code);
      const after = status.indexOf(SpanStatusCode.UNSET);
      assert.ok(after >= 3, `${name}: the stall fails each segment that it lasts for`);
      assert.ok(status.length >= after + 3, name);
      assert.ok(
        status.slice(after).every((code) => code === SpanStatusCode.UNSET),
        name,
      );
    }
  });

  it('do not happen before the setting says so, nor later', () => {
    const runner = new Traced(undefined, 48 * HOUR);
    runner.run((scenario) => scenario.create(scenario.parent()));
    hours(runner, 10 * 24);
    const lifecycle = sent('vfio.device.lifecycle');
    assert.ok(lifecycle.length >= 4 && lifecycle.length <= 5, `${lifecycle.length}`);
  });
});

describe('segments', () => {
  const traceId = fc
    .array(fc.integer({ min: 0, max: 15 }), { minLength: 32, maxLength: 32 })
    .map((digits) => digits.map((digit) => digit.toString(16)).join(''));
  const seconds = fc.integer({ min: 0, max: YEARS });
  const maxAge = fc.integer({ min: 600, max: 30 * 24 * 3600 });

  it('cover every time once, without a gap, whatever the age of the host', () => {
    fc.assert(
      fc.property(traceId, maxAge, seconds, (id, age, at) => {
        const segments = new Segments(age * SECOND);
        const ns = at * SECOND;
        const segment = segments.at(id, ns);
        const [begin, end] = [segments.beginOf(id, segment), segments.beginOf(id, segment + 1)];
        assert.ok(begin <= ns && ns < end);
        assert.equal(end - begin, age * SECOND);
        assert.equal(segments.at(id, begin), segment);
        assert.equal(segments.at(id, end), segment + 1);
      }),
    );
  });

  it('are cut when the lifecycle is old enough, and are the same for each agent from then on', () => {
    fc.assert(
      fc.property(traceId, maxAge, seconds, seconds, (id, age, early, later) => {
        const segments = new Segments(age * SECOND);
        const began = Math.min(early, later) * SECOND;
        const at = Math.max(early, later) * SECOND;
        const segment = segments.of(id, began, at);
        assert.ok(segments.at(id, began) <= segment && segment <= segments.at(id, at));
        assert.ok(at < segments.dueAt(id, began, segment));
        if (at - began < Math.min(HOUR, (age * SECOND) / 2)) {
          assert.equal(segment, segments.at(id, began));
        } else {
          assert.equal(segment, segments.at(id, at));
        }
      }),
    );
  });
});
