/** Each join, run by promtool on sample series of both sides. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { AGENT, WATCHING } from '../../src/telemetry/metrics/agent.ts';
import { METRICS } from '../../src/telemetry/metrics/catalogue.ts';
import { lacks } from '../../test/kit/needs.ts';
import { JOINS } from './catalogue.ts';
import { type Join, own } from './join.ts';

const skip = lacks('promtool');

describe('the joins in docs/joins.md', () => {
  let directory = '';
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'vfioscope-joins-'));
  });
  after(() => rmSync(directory, { recursive: true }));

  /** @returns the output of promtool if the query does not yield that, or '' */
  const failure = ({ expr, series, yields }: Pick<Join, 'expr' | 'series' | 'yields'>): string => {
    const test = {
      interval: '1m',
      input_series: series.map((text) => {
        const [, name, values] = /^(.*\}) (.+)$/.exec(text) ?? [];
        return { series: name, values };
      }),
      promql_expr_test: [{ expr, eval_time: '10m', exp_samples: yields }],
    };
    // JSON is YAML, too.
    const text = JSON.stringify({ rule_files: [], evaluation_interval: '1m', tests: [test] });
    writeFileSync(join(directory, 'join.yml'), text);
    const { status, stdout, stderr, error } = spawnSync('promtool', ['test', 'rules', 'join.yml'], {
      cwd: directory,
      encoding: 'utf8',
    });
    if (error) throw error;
    return status === 0 ? '' : stdout + stderr;
  };

  for (const one of JOINS) {
    it(`answer: ${one.question}`, { skip }, () => {
      assert.equal(failure(one), '');
      assert.match(failure({ ...one, yields: [] }), /FAILED/, 'the test would notice');
    });
  }

  it('yield nothing where vfioscope does not know the VM', { skip }, () => {
    const [libvirt] = JOINS;
    const unnamed = libvirt.series.map((text) => text.replace(/vm_name="[^"]*"/, 'vm_name=""'));
    assert.equal(failure({ ...libvirt, series: unnamed, yields: [] }), '');
  });

  it('use series that vfioscope has', () => {
    const known = new Set(METRICS.map(({ name }) => name));
    const used = JOINS.flatMap(({ expr }) => expr.match(/\bvfioscope_\w+/g) ?? []);
    assert.deepEqual(
      used.filter((name) => !known.has(name)),
      [],
    );
    assert.throws(() => own('vfioscope_vm_info', { domain: 'x' }), /has no label domain/);
    assert.throws(() => own('vfioscope_nothing', {}), /there is no metric/);
  });

  it('may rely on the label of the host, which no series of vfioscope has', () => {
    const having = METRICS.filter(({ labels }) => labels.includes('node'));
    assert.deepEqual(having, []);
    assert.ok([...AGENT.metrics, ...WATCHING.metrics].some(({ name }) => /build_info/.test(name)));
  });
});
