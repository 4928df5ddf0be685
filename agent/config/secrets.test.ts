import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { otelFaults } from './otel.ts';
import { redactor, shownEndpoint } from './secrets.ts';

describe('the address of a collector', () => {
  for (const [endpoint, shown] of [
    ['http://127.0.0.1:4318', 'http://127.0.0.1:4318'],
    ['https://collector.example/v1/traces', 'https://collector.example/v1/traces'],
    ['collector:4317', 'collector:4317'],
    ['http://user:pass@word@collector:4318', 'http://collector:4318 (…)'],
    ['https://collector/?api-key=secret', 'https://collector (…)'],
    ['https://collector/receiver/secret/v1/traces', 'https://collector (…)'],
    ['https://secret@collector/v1/logs#secret', 'https://collector/v1/logs (…)'],
    ['http://u:secret@', '(not shown: it may contain a secret)'],
  ] as const) {
    it(`is shown without secrets: ${endpoint}`, () => assert.equal(shownEndpoint(endpoint), shown));
  }

  it('is not quoted when it cannot be used', () => {
    for (const value of ['htp://u:secret@host', 'http://u:secret@', 'secret@host']) {
      const [{ message }] = otelFaults({ OTEL_EXPORTER_OTLP_ENDPOINT: value });
      assert.doesNotMatch(message, /secret/, value);
    }
  });
});

describe('texts of others', () => {
  const redact = redactor({
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://me:pa%20ss@w0rd@collector:4318/?api-key=k3y-1',
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'https://collector/t0ken/v1/traces',
    OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20b3arer,x=1',
    OTEL_SERVICE_NAME: 'collector',
  });

  it('lose the secrets of the settings, encoded or not', () => {
    for (const text of [
      'getaddrinfo ENOTFOUND w0rd@collector',
      'request to http://me:pa%20ss%40w0rd@collector:4318/ failed',
      'cannot POST /t0ken/v1/traces',
      'bad header: Bearer b3arer',
      '401 for api-key=k3y-1',
    ]) {
      assert.doesNotMatch(redact(text), /w0rd|pa.{1,3}ss|t0ken|b3arer|k3y/, redact(text));
    }
  });

  it('are the same without them', () => {
    const text = 'connect ECONNREFUSED collector:4318, 1 attempt';
    assert.equal(redact(text), text);
  });
});
