import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parse, stringify } from 'yaml';
import { RULES } from '../../src/rules/catalogue.ts';
import type { Rule } from '../../src/rules/rule.ts';
import { Measured } from '../../src/telemetry/measured.ts';
import { METRICS } from '../../src/telemetry/metrics/catalogue.ts';
import { ALERTS } from './catalogue.ts';
import { alertFiles } from './files.ts';
import { RECORDINGS } from './recording.ts';

const files = alertFiles();
let directory: string;

/** @returns what it said, when it failed */
function run(command: string, ...words: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, words, {
    cwd: directory,
    encoding: 'utf8',
  });
  if (error) throw error;
  return status === 0 ? '' : stdout + stderr;
}

before(() => {
  directory = mkdtempSync(join(tmpdir(), 'vfioscope-alerts-'));
  for (const [path, text] of files) {
    if (path.startsWith('dashboards/')) writeFileSync(join(directory, path.slice(11)), text);
  }
});
after(() => rmSync(directory, { recursive: true }));

describe('the rules for Prometheus', () => {
  it('are well formed', () => {
    assert.equal(run('promtool', 'check', 'rules', 'alerts.yml', 'recording.yml'), '');
  });

  it('are taken by vmalert, too', () => {
    const files = ['-rule=alerts.yml', '-rule=recording.yml'];
    assert.equal(run('vmalert', '-dryRun', '-external.url=http://localhost', ...files), '');
  });

  it('fire when they have to, and in nothing that looks alike', () => {
    assert.equal(run('promtool', 'test', 'rules', 'alerts.test.yml'), '');
  });

  it('would fail these tests if an alert fired when it must not, or not when it must', () => {
    const { tests, ...rest } = parse(files.get('dashboards/alerts.test.yml') ?? '');
    for (const test of tests.slice(0, 2)) {
      const [asked] = test.promql_expr_test;
      const wrong = asked.exp_samples.length > 0 ? [] : tests[0].promql_expr_test[0].exp_samples;
      const spoilt = { ...test, promql_expr_test: [{ ...asked, exp_samples: wrong }] };
      writeFileSync(join(directory, 'spoilt.yml'), stringify({ ...rest, tests: [spoilt] }));
      assert.match(run('promtool', 'test', 'rules', 'spoilt.yml'), /FAILED/, test.name);
    }
  });

  it('go with the settings that docs/alerts.md shows', () => {
    const [prometheus, alertmanager] = [
      ...(files.get('docs/alerts.md') ?? '').matchAll(/```yaml\n(.*?)```/gs),
    ].map(([, text]) => text);
    writeFileSync(join(directory, 'prometheus.yml'), prometheus);
    assert.equal(run('promtool', 'check', 'config', 'prometheus.yml'), '');
    writeFileSync(join(directory, 'alertmanager.yml'), alertmanager);
    assert.equal(run('amtool', 'check-config', 'alertmanager.yml'), '');
  });

  it('ask for metrics that there are', () => {
    const known = new Set(
      METRICS.flatMap(({ name, type }) =>
        type === 'gauge' || type === 'counter'
          ? [name]
          : ['_bucket', '_sum', '_count'].map((part) => name + part),
      ),
    );
    const asked = [...ALERTS, ...RECORDINGS].flatMap(
      ({ expr }) => expr.match(/\bvfioscope_\w+/g) ?? [],
    );
    assert.deepEqual(
      asked.filter((name) => !known.has(name)),
      [],
    );
  });

  it('are tested with series as the agent has them', () => {
    const labels = new Map(METRICS.map(({ name, labels }) => [name, labels]));
    for (const { name, fires, quiet } of ALERTS) {
      for (const series of [...fires.series, ...quiet.series]) {
        const [metric] = series.replace('_count', '').split(/[{ ]/, 1);
        if (metric === 'up') continue;
        const named = [...series.matchAll(/(\w+)="/g)].map(([, label]) => label);
        assert.deepEqual(
          named.sort(),
          [...(labels.get(metric) ?? [])].sort(),
          `${name}: ${series}`,
        );
      }
    }
  });

  it('have a reason, and a runbook with a look by the agent and one without it', () => {
    for (const { name, because, runbook } of ALERTS) {
      assert.ok(because.length > 50, name);
      assert.ok(runbook.fix && runbook.falseWhen, name);
      const commands = runbook.confirm.map(({ command }) => command);
      const byAgent = (command: string) => /^(sudo vfioscope|curl|promtool)/.test(command);
      assert.ok(commands.some(byAgent), name);
      assert.ok(
        commands.some((command) => !byAgent(command)),
        name,
      );
    }
  });
});

/** What a rule finds in its examples: severity, and whether it lasts. */
function findingsOf(rule: Rule): { severity: string; lasting: boolean }[] {
  return rule.examples.fires.flatMap(({ tell }) => {
    const told = new Measured();
    told.tell(tell);
    return told.engine.list().filter((one) => one.rule === rule.id);
  });
}

describe('every rule of the agent', () => {
  for (const rule of RULES) {
    it(`${rule.id}: what it finds leads to one alert`, () => {
      for (const { severity, lasting } of findingsOf(rule)) {
        const about = ALERTS.filter(
          ({ expr, runbook }) =>
            runbook.rules?.includes(rule.id) && asksFor(expr, rule.id, severity, lasting),
        );
        assert.equal(about.length, 1, `${severity}, ${lasting ? 'lasting' : 'an act'}`);
      }
    });
  }
});

/** Whether one of its selectors takes the series that tell of such a finding. */
function asksFor(expr: string, rule: string, severity: string, lasting: boolean): boolean {
  if (expr.startsWith('vfioscope_state_tainted')) return rule === 'observer-gap';
  // Notices are counted, whether they last or not.
  const isNamed = lasting && severity !== 'info';
  const metric = isNamed ? 'vfioscope_violation_info' : 'vfioscope_violations_total';
  return [...expr.matchAll(new RegExp(`${metric}\\{(.*?)\\}`, 'g'))].some(([, matchers]) => {
    const [, rules] = /rule=~"(.*?)"/.exec(matchers) ?? [];
    const [, severities = ''] = /severity=~?"(.*?)"/.exec(matchers) ?? [];
    return (
      severities.split('|').includes(severity) &&
      (rules === undefined || rules.split('|').includes(rule))
    );
  });
}
