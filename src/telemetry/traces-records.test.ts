import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { SeverityNumber, SpanStatusCode } from '@opentelemetry/api';
import { RULES } from '../rules/catalogue.ts';
import { lifeSpanId } from './life-ids.ts';
import { BASH, EEXIST, forgetSent, logExporter, nanoseconds, OFFSET, Traced } from './traced.ts';

beforeEach(forgetSent);

describe('what lasts', () => {
  it('is told by a log record in the span that will be its own', () => {
    const telling = new Traced();
    const device = telling.tell((story) => story.create(story.parent()));
    const open = telling.tell((story) => story.open(device, { as: BASH }));
    telling.traces.tick(telling.world.now + 0.1e9);
    assert.equal(telling.records('vfio.phase.began').length, 0);
    telling.traces.tick(telling.world.now + 2e9);
    telling.traces.tick(telling.world.now + 3e9);
    const began = telling.records('vfio.phase.began');
    assert.deepEqual(
      began.map(({ attributes }) => attributes['vfio.phase']),
      ['vfio.device.life', 'vfio.device.open'],
    );
    assert.equal(began[1].attributes['thread.name'], 'bash');
    telling.tell((story) => {
      story.close(open);
      story.remove(device);
    });
    const spans = [telling.named('vfio.device.life'), telling.named('vfio.device.open')];
    for (const [i, span] of spans.entries()) {
      assert.equal(began[i].spanContext?.spanId, span.spanContext().spanId);
      assert.equal(began[i].spanContext?.traceId, span.spanContext().traceId);
      assert.deepEqual(began[i].hrTime, span.startTime);
    }
  });
});

describe('a violation', () => {
  it('is a log record in the phase in which it was found, and fails that and the life', () => {
    const telling = new Traced();
    const device = telling.tell((story) => story.create(story.parent()));
    const open = telling.tell((story) => story.open(device, { vm: story.createVm() }));
    const removal = telling.tell((story) => story.removeBegins(device, { as: BASH }));
    telling.tell((story) => story.wait(11));
    telling.tell((story) => {
      story.close(open);
      story.removeEnds(removal);
    });
    const failed = { code: SpanStatusCode.ERROR, message: 'remove-stall' };
    const life = telling.named('vfio.device.life');
    const waiting = telling.named('vfio.device.wait_for_users');
    assert.deepEqual([life.status, waiting.status], [failed, failed]);
    assert.equal(telling.named('vfio.device.create').status.code, SpanStatusCode.UNSET);
    const [raised, resolved, ...others] = telling.records('vfio.violation');
    assert.equal(others.length, 0);
    assert.equal(raised.spanContext?.spanId, waiting.spanContext().spanId);
    assert.equal(raised.spanContext?.traceId, life.spanContext().traceId);
    assert.equal(raised.severityNumber, SeverityNumber.WARN);
    assert.match(String(raised.body), /has been waiting for 10 s: it is still held open by qemu/);
    const [violation] = telling.violations();
    const { 'vfio.violation.evidence': evidence, ...attributes } = raised.attributes;
    assert.ok(Array.isArray(evidence) && evidence.length > 5);
    assert.deepEqual(attributes, {
      ...{ 'vfio.violation.id': violation.id, 'vfio.violation.rule': 'remove-stall' },
      ...{ 'vfio.violation.severity': 'warning', 'vfio.violation.change': 'raised' },
      ...{ 'vfio.quality': 'observed', 'vfio.device.name': device.uuid },
      ...{ 'vfio.device.type': 'mtty-1', 'vfio.device.parent': 'mtty' },
      ...{ 'vfio.vm.id': violation.vm?.id, 'process.user.id': 0 },
      ...{ 'process.pid': 700, 'thread.id': 700, 'thread.name': 'bash' },
    });
    assert.equal(nanoseconds(raised.hrTime), BigInt(OFFSET) + BigInt(violation.firstSeen));
    assert.equal(resolved.attributes['vfio.violation.change'], 'resolved');
    assert.equal(violation.trace, life.spanContext().traceId);
    assert.equal(lifeSpanId(String(violation.trace)), life.spanContext().spanId);
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
      lives.map(({ status, attributes }) => [status.code, attributes['vfio.device.state']]).sort(),
      [
        [SpanStatusCode.UNSET, 'released'],
        [SpanStatusCode.ERROR, 'failed'],
      ],
    );
  });

  it('has a record for each rule in each of its examples, with a trace wherever there is a life', () => {
    for (const rule of RULES) {
      for (const { tell } of rule.examples.fires) {
        logExporter.reset();
        const telling = new Traced();
        telling.tell(tell);
        const own = telling
          .records('vfio.violation')
          .filter(({ attributes }) => attributes['vfio.violation.rule'] === rule.id);
        assert.ok(own.length > 0, rule.id);
        const about = telling.violations().find((one) => one.rule === rule.id);
        if (about?.trace) assert.equal(own[0].spanContext?.traceId, about.trace, rule.id);
      }
    }
  });
});
