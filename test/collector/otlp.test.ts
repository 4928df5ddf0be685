// SPDX-License-Identifier: Apache-2.0
/** The spans and records that a real OpenTelemetry Collector receives for a real kernel's recording. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { RESOURCE_ATTRIBUTES } from '../../agent/runtime/resource.ts';
import { VERSION } from '../../agent/version.ts';
import { SCHEMA_URL } from '../../src/telemetry/schema-url.ts';
import { attribute, Collector, type ReceivedSpan } from './collector.ts';
import { exportUnder, playTo } from './replayed.ts';

const KERNEL = '6.12';
const TRUTH = JSON.parse(
  readFileSync(new URL(`../recordings/${KERNEL}.json`, import.meta.url), 'utf8'),
) as {
  readonly objects: readonly { uuid: string; parent: string; end: string; opens: number }[];
  readonly vms: number;
  readonly violations: readonly { rule: string; severity: string; device: string }[];
};
/** The recording is played at once, so all of it has to fit into the queues. */
const LARGE_QUEUES = { OTEL_BSP_MAX_QUEUE_SIZE: '20000', OTEL_BLRP_MAX_QUEUE_SIZE: '20000' };

const isLifecycle = ({ name }: ReceivedSpan) => name.endsWith('.lifecycle');
const of = (span: ReceivedSpan, name: string) => attribute(span.attributes, name);

describe('the OpenTelemetry Collector', { timeout: 900_000 }, () => {
  let collector: Collector;
  /** What arrived over each protocol, to compare. */
  const brought = new Map<string, string[]>();

  before(async () => {
    collector = await Collector.start();
  });
  after(() => collector.stop());

  for (const protocol of ['http/protobuf', 'grpc'] as const) {
    describe(`over ${protocol}`, () => {
      before(async () => {
        collector.clear();
        const { otlp } = await exportUnder({
          ...LARGE_QUEUES,
          OTEL_EXPORTER_OTLP_ENDPOINT: protocol === 'grpc' ? collector.grpc : collector.http,
          OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
          OTEL_EXPORTER_OTLP_COMPRESSION: 'gzip',
          OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=lab',
        });
        assert.ok(otlp);
        await playTo(otlp, KERNEL);
        // The agent's shutdown waits only for a short time, so the test waits before it.
        await collector.until('all lifecycles have arrived', () => {
          const arrived = collector.spans.filter(isLifecycle).length;
          return arrived === TRUTH.objects.length + TRUTH.vms;
        });
        await otlp.stop();
        const sent = (signal: 'traces' | 'logs') => otlp.counts.of(signal, 'sent');
        assert.equal(otlp.counts.dropped('traces') + otlp.counts.dropped('logs'), 0);
        await collector.until(
          'all that was sent has arrived',
          () =>
            collector.spans.length === sent('traces') && collector.records.length === sent('logs'),
        );
        brought.set(
          protocol,
          collector.spans
            .map(({ traceId, spanId, name, startTimeUnixNano: start }) =>
              [traceId, spanId, name, start].join(' '),
            )
            .sort(),
        );
      });

      it('receives one trace for each lifecycle of a device and of a VM', () => {
        const objects = collector.spans.filter(isLifecycle);
        const devices = objects.filter(({ name }) => name === 'vfio.device.lifecycle');
        assert.deepEqual(
          devices
            .map((span) =>
              [
                ...[of(span, 'vfio.device.name'), of(span, 'vfio.device.parent')],
                ...[of(span, 'vfio.device.state'), of(span, 'vfio.device.opens')],
              ].join(' '),
            )
            .sort(),
          TRUTH.objects
            .map(({ uuid, parent, end, opens }) => [uuid, parent, end, opens].join(' '))
            .sort(),
        );
        assert.equal(objects.length - devices.length, TRUTH.vms);
        assert.equal(new Set(objects.map(({ traceId }) => traceId)).size, objects.length);
      });

      it('can build the tree of each: every parent and every link exists', () => {
        const ids = new Set(collector.spans.map(({ traceId, spanId }) => `${traceId} ${spanId}`));
        assert.equal(ids.size, collector.spans.length);
        for (const span of collector.spans) {
          const { name, traceId, parentSpanId, links = [] } = span;
          assert.equal(Boolean(parentSpanId), !isLifecycle(span), name);
          if (parentSpanId) assert.ok(ids.has(`${traceId} ${parentSpanId}`), name);
          for (const link of links) assert.ok(ids.has(`${link.traceId} ${link.spanId}`), name);
        }
        const linked = collector.spans.filter(({ links }) => links?.length);
        assert.ok(linked.some(({ name }) => name === 'vfio.device.open'));
        assert.ok(linked.some(({ name }) => name === 'vfio.vm.lifecycle'));
      });

      it('receives each violation as a record of its lifecycle, whose status is an error from warning up', () => {
        const raised = collector.records.filter(
          ({ eventName, attributes }) =>
            eventName === 'vfio.violation' &&
            attribute(attributes, 'vfio.violation.change') === 'raised',
        );
        assert.deepEqual(
          raised
            .map(({ attributes }) =>
              [
                attribute(attributes, 'vfio.violation.rule'),
                attribute(attributes, 'vfio.device.name'),
              ].join(' '),
            )
            .sort(),
          TRUTH.violations.map(({ rule, device }) => `${rule} ${device}`).sort(),
        );
        for (const { traceId, spanId, attributes, body } of raised) {
          const rule = String(attribute(attributes, 'vfio.violation.rule'));
          const [object, span] = [isLifecycle, (one: ReceivedSpan) => one.spanId === spanId].map(
            (which) => collector.spans.find((one) => one.traceId === traceId && which(one)),
          );
          const isFailure = attribute(attributes, 'vfio.violation.severity') !== 'info';
          for (const one of [object, span]) {
            if (!isFailure) {
              assert.ok(one && !one.status?.message?.includes(rule), rule);
              continue;
            }
            assert.equal(one?.status?.code, 2, rule);
            assert.ok(one.status.message?.includes(rule), rule);
          }
          assert.ok(body?.stringValue);
        }
      });

      it('receives ongoing violations as spans that arrive later', () => {
        const began = collector.records.filter(({ eventName }) => eventName === 'vfio.phase.began');
        assert.ok(began.length > 0);
        for (const { spanId, attributes } of began) {
          const span = collector.spans.find((one) => one.spanId === spanId);
          assert.equal(span?.name, attribute(attributes, 'vfio.phase'));
        }
      });

      it('receives the resource of the agent', () => {
        const { resource } = collector;
        assert.equal(attribute(resource, 'service.name'), 'vfioscope');
        assert.equal(attribute(resource, 'deployment.environment.name'), 'lab');
        for (const name of Object.keys(RESOURCE_ATTRIBUTES)) {
          // A machine without an id has none to send.
          if (name !== 'host.id') assert.ok(attribute(resource, name), name);
        }
      });

      it('receives the version of the semantic conventions with each resource and scope', () => {
        assert.deepEqual(
          [...collector.schemas].sort(),
          ['logs', 'traces'].flatMap((signal) => [
            `${signal} resource ${SCHEMA_URL}`,
            `${signal} vfioscope ${VERSION} ${SCHEMA_URL}`,
          ]),
        );
      });
    });
  }

  it('receives the same from a replay of the same recording, over both protocols', () => {
    const [first, second] = [...brought.values()];
    assert.ok(first.length > 100);
    assert.deepEqual(second, first);
  });
});
