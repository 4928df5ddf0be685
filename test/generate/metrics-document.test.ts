import assert from 'node:assert/strict';
import { it } from 'node:test';
import { METRICS } from '../../src/telemetry/metrics/catalogue.ts';
import { metricsDocument } from './metrics-document.ts';

it('the document describes every label of every metric', () => {
  const document = metricsDocument();
  for (const { name, labels } of METRICS) {
    for (const label of labels)
      assert.ok(document.includes(`\n| \`${label}\` |`), `${name} ${label}`);
  }
});
