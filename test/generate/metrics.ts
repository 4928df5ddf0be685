/**
 * Writes docs/metrics.md from the metrics; with --check, only checks whether the committed file is
 * current (exit code 1 if not).
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { metricsDocument } from './metrics-document.ts';

const target = new URL('../../docs/metrics.md', import.meta.url);
if (!process.argv.includes('--check')) {
  writeFileSync(target, metricsDocument());
} else if (readFileSync(target, 'utf8') !== metricsDocument()) {
  console.error('docs/metrics.md does not match src/telemetry/metrics: run `npm run generate`');
  process.exitCode = 1;
}
