import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { SeverityNumber, SpanStatusCode } from '@opentelemetry/api';
import {
  BASH,
  EEXIST,
  forgetSent,
  logExporter,
  nanoseconds,
  OFFSET,
  Traced,
} from '../../test/kit/traced.ts';
import { RULES } from '../catalogue.ts';

beforeEach(forgetSent);

describe('what is in progress', () => {
  it('is reported by a log record in the span that will be sent', () => {
    const runner = new Traced();
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    const open = runner.run((scenario) => scenario.open(device, { as: BASH }));
    runner.traces.tick(runner.world.now + 0.1e9);
    assert.equal(runner.records('vfio.phase.began').length, 0);
    runner.traces.tick(runner.world.now + 2e9);
    runner.traces.tick(runner.world.now + 3e9);
    const began = runner.records('vfio.phase.began');
    assert.deepEqual(
      began.map(({ attributes }) => attributes['vfio.phase']),
      ['vfio.device.lifecycle', 'vfio.device.open'],
    );
    assert.equal(began[1].attributes['thread.name'], 'bash');
    runner.run((scenario) => {
      scenario.close(open);
      scenario.remove(device);
    });
    const spans = [runner.named('vfio.device.lifecycle'), runner.named('vfio.device.open')];
    for (const [i, span] of spans.entries()) {
      assert.equal(began[i].spanContext?.spanId, span.spanContext().spanId);
      assert.equal(began[i].spanContext?.traceId, span.spanContext().traceId);
      assert.deepEqual(began[i].hrTime, span.startTime);
    }
  });
});

describe('a record', () => {
  it('has the time of the event, and the time at which the agent read of it', () => {
    const before = BigInt(Date.now());
    const runner = new Traced();
    runner.run((scenario) => {
      const device = scenario.create(scenario.parent());
      scenario.open(device);
      scenario.wait(10);
    });
    runner.traces.tick(runner.world.now);
    const after = BigInt(Date.now());
    const records = logExporter.getFinishedLogRecords();
    assert.ok(records.length > 2);
    for (const { hrTime, hrTimeObserved } of records) {
      const event = nanoseconds(hrTime) - BigInt(OFFSET);
      assert.ok(event > 0n && event <= BigInt(runner.world.now), `${event}`);
      const observed = nanoseconds(hrTimeObserved) / 1_000_000n;
      assert.ok(observed >= before && observed <= after, `${observed}`);
    }
  });

  it('has a number and a text that agree, which are those of the severity while it is not resolved', () => {
    const expected: Readonly<Record<string, readonly [SeverityNumber, string]>> = {
      info: [SeverityNumber.INFO, 'info'],
      warning: [SeverityNumber.WARN, 'warning'],
      error: [SeverityNumber.ERROR, 'error'],
      critical: [SeverityNumber.FATAL, 'critical'],
    };
    const met = new Set<string>();
    for (const rule of RULES) {
      logExporter.reset();
      const runner = new Traced();
      runner.run(rule.examples.fires[0].run);
      for (const { attributes, severityNumber, severityText } of runner.records('vfio.violation')) {
        const change = attributes['vfio.violation.change'];
        const severity =
          change === 'resolved' ? 'info' : `${attributes['vfio.violation.severity']}`;
        met.add(severity);
        assert.deepEqual([severityNumber, severityText], expected[severity], rule.id);
      }
    }
    assert.equal(met.size, 4);
  });
});

describe('a violation', () => {
  it('is a log record in the phase in which it was found, and fails that span and the root span', () => {
    const runner = new Traced();
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    const open = runner.run((scenario) => scenario.open(device, { vm: scenario.createVm() }));
    const removal = runner.run((scenario) => scenario.removeBegins(device, { as: BASH }));
    runner.run((scenario) => scenario.wait(11));
    runner.run((scenario) => {
      scenario.close(open);
      scenario.removeEnds(removal);
    });
    const failed = { code: SpanStatusCode.ERROR, message: 'remove-stall' };
    const object = runner.named('vfio.device.lifecycle');
    const waiting = runner.named('vfio.device.wait_for_users');
    assert.deepEqual([object.status, waiting.status], [failed, failed]);
    assert.equal(runner.named('vfio.device.create').status.code, SpanStatusCode.UNSET);
    const [raised, resolved, ...others] = runner.records('vfio.violation');
    assert.equal(others.length, 0);
    assert.equal(raised.spanContext?.spanId, waiting.spanContext().spanId);
    assert.equal(raised.spanContext?.traceId, object.spanContext().traceId);
    assert.equal(raised.severityNumber, SeverityNumber.WARN);
    assert.match(String(raised.body), /has been waiting for 10 s: it is still held open by qemu/);
    const [violation] = runner.violations();
    const { 'vfio.violation.evidence': evidence, ...attributes } = raised.attributes;
    assert.ok(Array.isArray(evidence) && evidence.length > 5);
    assert.deepEqual(attributes, {
      ...{ 'vfio.violation.id': violation.id, 'vfio.violation.rule': 'remove-stall' },
      ...{ 'vfio.violation.severity': 'warning', 'vfio.violation.change': 'raised' },
      ...{ 'vfio.quality': 'observed', 'vfio.device.name': device.uuid },
      'vfio.incarnation': violation.incarnation,
      ...{ 'vfio.device.mdev_type': 'mtty-1', 'vfio.device.parent': 'mtty' },
      ...{ 'vfio.vm.id': violation.vm?.id, 'process.user.id': 0 },
      ...{ 'process.pid': 700, 'thread.id': 700, 'thread.name': 'bash' },
    });
    assert.equal(nanoseconds(raised.hrTime), BigInt(OFFSET) + BigInt(violation.firstSeen));
    assert.equal(resolved.attributes['vfio.violation.change'], 'resolved');
    // It is good news; that it was a warning is in its attributes.
    assert.deepEqual([raised.severityText, resolved.severityText], ['warning', 'info']);
    assert.equal(resolved.severityNumber, SeverityNumber.INFO);
    assert.equal(nanoseconds(resolved.hrTime), BigInt(OFFSET) + BigInt(violation.resolvedAt));
    assert.equal(violation.trace, object.spanContext().traceId);
  });

  it('fails the creation that failed, not the device that has the UUID', () => {
    const runner = new Traced();
    runner.run((scenario) => {
      const parent = scenario.parent();
      const device = scenario.create(parent);
      scenario.createFails(parent, EEXIST, { uuid: device.uuid });
      scenario.remove(device);
    });
    const objects = runner.spans().filter(({ name }) => name === 'vfio.device.lifecycle');
    assert.deepEqual(
      objects
        .map(({ status, attributes }) => [status.code, attributes['vfio.device.state']])
        .sort(),
      [
        [SpanStatusCode.UNSET, 'released'],
        [SpanStatusCode.ERROR, 'failed'],
      ],
    );
  });

  it('of severity info fails no span, as with DPDK, which uses devices without a VM', () => {
    const runner = new Traced();
    runner.run((scenario) => {
      const device = scenario.create(scenario.parent());
      const open = scenario.open(device, { as: { pid: 800, comm: 'dpdk' } });
      scenario.wait(60);
      scenario.close(open);
      scenario.remove(device);
    });
    const found = runner.violations();
    assert.deepEqual(
      found.map(({ severity }) => severity),
      ['info'],
    );
    assert.equal(runner.records('vfio.violation')[0].severityNumber, SeverityNumber.INFO);
    for (const { name, status } of runner.spans()) {
      assert.equal(status.code, SpanStatusCode.UNSET, name);
    }
  });

  it('fails a span only from severity warning up, in each example of each rule', () => {
    for (const rule of RULES) {
      for (const { run } of rule.examples.fires) {
        forgetSent();
        const runner = new Traced();
        runner.run(run);
        runner.spans();
        const failing = new Set(
          runner
            .records('vfio.violation')
            .filter(({ severityNumber = 0 }) => severityNumber >= SeverityNumber.WARN)
            .map(({ attributes }) => attributes['vfio.violation.rule']),
        );
        for (const { status } of runner.spans()) {
          const named = (status.message ?? '')
            .split(', ')
            .filter((one) => !/^E[A-Z0-9]+$/.test(one));
          for (const one of named) assert.ok(one === '' || failing.has(one), `${rule.id}: ${one}`);
        }
      }
    }
  });

  it('has a record for each rule in each of its examples, with a trace wherever there is an object', () => {
    for (const rule of RULES) {
      for (const { run } of rule.examples.fires) {
        logExporter.reset();
        const runner = new Traced();
        runner.run(run);
        const own = runner
          .records('vfio.violation')
          .filter(({ attributes }) => attributes['vfio.violation.rule'] === rule.id);
        assert.ok(own.length > 0, rule.id);
        const about = runner.violations().find((one) => one.rule === rule.id);
        if (about?.trace) assert.equal(own[0].spanContext?.traceId, about.trace, rule.id);
      }
    }
  });
});
