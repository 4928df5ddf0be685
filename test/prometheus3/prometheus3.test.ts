// SPDX-License-Identifier: Apache-2.0
/** What is tested with Debian's Prometheus of this release, with the Prometheus 3 of a later one. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { SUITE_MS } from '../until.ts';
import { type Prometheus3, prometheus3 } from './programs.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

describe('Prometheus 3', { timeout: SUITE_MS }, () => {
  let programs: Prometheus3;
  before(async () => {
    programs = await prometheus3();
  });

  it('is what is tested here', () => {
    const { prometheus } = programs;
    // programs: none (./programs.ts has unpacked it)
    const version = execFileSync(prometheus, ['--version'], { encoding: 'utf8' });
    assert.match(version, /version 3\./);
  });

  it('accepts the rules, and they pass their tests', () => {
    for (const args of [
      ['check', 'rules', 'alerts.yml', 'recording.yml'],
      ['test', 'rules', 'alerts.test.yml'],
    ]) {
      // programs: none (./programs.ts has unpacked it)
      execFileSync(programs.promtool, args, { cwd: `${ROOT}/dashboards`, stdio: 'pipe' });
    }
  });

  for (const file of [
    'src/http/prometheus.test.ts',
    'dashboards/alerts/alertmanager.test.ts',
    'dashboards/dashboards.prometheus.test.ts',
  ]) {
    it(`passes ${file}`, () => {
      const { status, stdout } = spawnSync(process.execPath, ['--test', file], {
        cwd: ROOT,
        encoding: 'utf8',
        // Without NODE_TEST_CONTEXT, it reports to this test instead of to its runner.
        env: {
          ...process.env,
          NODE_TEST_CONTEXT: undefined,
          VFIOSCOPE_PROMETHEUS: programs.prometheus,
        },
      });
      assert.equal(status, 0, stdout);
      assert.match(stdout, /^ℹ pass [1-9]/m);
      assert.match(stdout, /^ℹ skipped 0$/m);
    });
  }
});
