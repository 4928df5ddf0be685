import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { targetsOf } from './otlp-export.ts';

const URL = 'http://collector.example:4318';

function sent(settings: Readonly<Record<string, string>>): readonly string[] {
  return Object.entries(targetsOf(settings))
    .filter(([, target]) => target)
    .map(([signal]) => signal);
}

describe('what is sent', () => {
  it('is nothing where no endpoint is set and nothing is asked for', () => {
    assert.deepEqual(sent({}), []);
    assert.deepEqual(sent({ OTEL_METRIC_EXPORT_INTERVAL: '1000' }), []);
  });

  it('is, for an endpoint of all signals, not the metrics: Prometheus may scrape them', () => {
    assert.deepEqual(sent({ OTEL_EXPORTER_OTLP_ENDPOINT: URL }), ['traces', 'logs']);
  });

  it('includes the metrics when they are asked for, by their exporter or by their endpoint', () => {
    const all = ['traces', 'logs', 'metrics'];
    const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: URL };
    assert.deepEqual(sent({ ...endpoint, OTEL_METRICS_EXPORTER: 'otlp' }), all);
    assert.deepEqual(sent({ ...endpoint, OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: URL }), all);
    assert.deepEqual(sent({ OTEL_METRICS_EXPORTER: 'otlp' }), ['metrics']);
    assert.deepEqual(sent({ OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: URL }), ['metrics']);
  });

  it('does not include what is switched off', () => {
    const asked = { OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: URL };
    assert.deepEqual(sent({ ...asked, OTEL_METRICS_EXPORTER: 'none' }), []);
    assert.deepEqual(sent({ ...asked, OTEL_SDK_DISABLED: 'true' }), []);
  });

  it('goes to the endpoint and over the protocol of the signal, else to those of all', () => {
    const { metrics } = targetsOf({
      ...{ OTEL_EXPORTER_OTLP_ENDPOINT: URL, OTEL_METRICS_EXPORTER: 'otlp' },
      OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: 'grpc',
    });
    assert.deepEqual(metrics, { endpoint: URL, protocol: 'grpc' });
  });
});
