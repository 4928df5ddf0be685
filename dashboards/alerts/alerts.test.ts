/** The generated rules for Prometheus, and whether each violation of a rule raises exactly one alert. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parse, stringify } from 'yaml';
import { RULES } from '../../src/catalogue.ts';
import type { Rule } from '../../src/engine/rule.ts';
import { METRICS } from '../../src/telemetry/metrics/catalogue.ts';
import { idleSeries } from '../../test/kit/idle-host.ts';
import { Measured } from '../../test/kit/measured.ts';
import { lacks } from '../../test/kit/needs.ts';
import { DEFAULT_SETTINGS } from '../mixin/settings.ts';
import { ALERTS } from './catalogue.ts';
import { alertFiles, alertRules } from './files.ts';
import { RECORDINGS } from './recording.ts';
import { withoutUp } from './without-up.ts';

const UP = 'up{job="vfioscope",instance="host1:10055"}';
const skip = lacks('promtool', 'vmalert');

const files = alertFiles();
let directory: string;

/** @returns the output of a command that failed, or '' */
function run(command: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
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
  it('are well-formed', { skip }, () => {
    assert.equal(run('promtool', 'check', 'rules', 'alerts.yml', 'recording.yml'), '');
  });

  it('are accepted by vmalert as well, without the one field that Debian’s does not know', {
    skip,
  }, () => {
    const settings = { ...DEFAULT_SETTINGS, keep_firing: false };
    writeFileSync(join(directory, 'vmalert.yml'), alertRules({ settings }));
    const files = ['-rule=vmalert.yml', '-rule=recording.yml'];
    assert.equal(run('vmalert', '-dryRun', '-external.url=http://localhost', ...files), '');
  });

  it('fire in the case that each alert is for, and not in a similar one', { skip }, () => {
    assert.equal(run('promtool', 'test', 'rules', 'alerts.test.yml'), '');
  });

  it('do not fire for an idle host, all of whose series are there', { skip }, async () => {
    const series = (await idleSeries()).map((line) => {
      const [, name, labels = '', value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
      const all = [labels, 'job="vfioscope"', 'instance="host1:10055"'].filter(Boolean).join(',');
      return { series: `${name}{${all}}`, values: `${value}x60` };
    });
    assert.ok(series.length > 200);
    const { tests: _, ...rest } = parse(files.get('dashboards/alerts.test.yml') ?? '');
    const test = {
      ...{
        name: 'idle',
        interval: '1m',
        input_series: [...series, { series: UP, values: '1x60' }],
      },
      promql_expr_test: [
        { expr: 'ALERTS{alertstate="firing"}', eval_time: '50m', exp_samples: [] },
      ],
    };
    writeFileSync(join(directory, 'idle.yml'), stringify({ ...rest, tests: [test] }));
    assert.equal(run('promtool', 'test', 'rules', 'idle.yml'), '');
  });

  it('fail these tests when an alert fires in the wrong case, or does not fire in the right one', {
    skip,
  }, () => {
    const { tests, ...rest } = parse(files.get('dashboards/alerts.test.yml') ?? '');
    for (const test of tests.slice(0, 2)) {
      const [expectation] = test.promql_expr_test;
      const wrong =
        expectation.exp_samples.length > 0 ? [] : tests[0].promql_expr_test[0].exp_samples;
      const inverted = { ...test, promql_expr_test: [{ ...expectation, exp_samples: wrong }] };
      writeFileSync(join(directory, 'inverted.yml'), stringify({ ...rest, tests: [inverted] }));
      assert.match(run('promtool', 'test', 'rules', 'inverted.yml'), /FAILED/, test.name);
    }
  });

  it('work with the Prometheus and Alertmanager configuration in docs/alerts.md', { skip }, () => {
    const [prometheus, alertmanager] = [
      ...(files.get('docs/alerts.md') ?? '').matchAll(/```yaml\n(.*?)```/gs),
    ].map(([, text]) => text);
    writeFileSync(join(directory, 'prometheus.yml'), prometheus);
    assert.equal(run('promtool', 'check', 'config', 'prometheus.yml'), '');
    writeFileSync(join(directory, 'alertmanager.yml'), alertmanager);
    assert.equal(run('amtool', 'check-config', 'alertmanager.yml'), '');
  });

  it('select existing metrics', () => {
    const known = new Set(
      METRICS.flatMap(({ name, type }) =>
        type === 'gauge' || type === 'counter'
          ? [name]
          : ['_bucket', '_sum', '_count'].map((part) => name + part),
      ),
    );
    const selected = [...ALERTS, ...RECORDINGS].flatMap(
      ({ expr }) => expr.match(/(?<!:)\bvfioscope_\w+/g) ?? [],
    );
    assert.deepEqual(
      selected.filter((name) => !known.has(name)),
      [],
    );
  });

  it('are tested with series that have the labels of the agent’s metrics', () => {
    const labels = new Map(METRICS.map(({ name, labels }) => [name, labels]));
    for (const { name, fires, doesNotFire, also = [] } of ALERTS) {
      for (const series of [fires, doesNotFire, ...also].flatMap((one) => one.series)) {
        const [metric] = series.split(/[{ ]/, 1);
        if (metric === 'up') continue;
        const named = [...series.matchAll(/(\w+)="/g)]
          .map(([, label]) => label)
          .filter((label) => !['cluster', 'job', 'instance'].includes(label));
        assert.deepEqual(
          named.sort(),
          [...(labels.get(metric) ?? [])].sort(),
          `${name}: ${series}`,
        );
      }
    }
  });

  it('say what becomes of them without the series `up`', () => {
    const found = Object.fromEntries(
      ALERTS.flatMap((alert) => {
        const effect = withoutUp(alert, RECORDINGS);
        return effect ? [[alert.name, effect]] : [];
      }),
    );
    assert.deepEqual(found, {
      VfioscopeHostLost: 'unconditional',
      VfioscopeAgentDown: 'lost',
      VfioscopeAgentsAbsent: 'always',
      VfioscopeFleetDown: 'lost',
      // By a recorded sum.
      VfioscopeTargetsGone: 'lost',
      VfioscopeFleetViolation: 'lost',
    });
    const [, section = ''] =
      /## Without the series(.*?)\n## /s.exec(files.get('docs/alerts.md') ?? '') ?? [];
    for (const name of Object.keys(found)) assert.ok(section.includes(`| ${name} |`), name);
  });

  it('have a rationale, and a runbook with commands that use the agent and commands that do not', () => {
    for (const { name, rationale, runbook } of ALERTS) {
      assert.ok(rationale.length > 50, name);
      const { firstDo, firstDont, fix, why, falsePositives } = runbook;
      for (const part of [firstDo, firstDont, fix, why, falsePositives]) {
        assert.match(part, /\.$/, `${name}: ${part}`);
      }
      const commands = runbook.confirm.map(({ command }) => command);
      const usesAgent = (command: string) => /^(sudo vfioscope|curl|promtool)/.test(command);
      assert.ok(commands.some(usesAgent), name);
      assert.ok(
        commands.some((command) => !usesAgent(command)),
        name,
      );
    }
  });
});

/** The violations that the examples of a rule raise: severity, and whether they are ongoing. */
function violationsOf(rule: Rule): { severity: string; ongoing: boolean }[] {
  return rule.examples.fires.flatMap(({ run }) => {
    const measured = new Measured();
    measured.run(run);
    return measured.engine.list().filter((one) => one.rule === rule.id);
  });
}

describe('every rule of the agent', () => {
  for (const rule of RULES) {
    it(`${rule.id}: each violation raises one alert`, () => {
      for (const { severity, ongoing } of violationsOf(rule)) {
        const about = ALERTS.filter(
          ({ expr, runbook }) =>
            runbook.rules?.includes(rule.id) && selects(expr, rule.id, severity, ongoing),
        );
        assert.equal(about.length, 1, `${severity}, ${ongoing ? 'ongoing' : 'one-shot'}`);
      }
    });
  }
});

/** Whether the expression selects the series of such a violation. */
function selects(expr: string, rule: string, severity: string, ongoing: boolean): boolean {
  if (expr.startsWith('vfioscope_state_unverified')) return rule === 'observer-gap';
  // All critical violations have series of their own.
  if (severity === 'critical') {
    const [, no, rules = ''] =
      /\(vfioscope_critical_violation_timestamp_seconds\{rule(!?)=?~"(.*?)"\}\) > 0/.exec(expr) ??
      [];
    return no !== undefined && rules.split('|').includes(rule) !== (no === '!');
  }
  // Violations of severity info raise an alert by their counter, also those that are ongoing.
  const ofOthers = ongoing
    ? 'vfioscope_violation_info'
    : 'vfioscope_last_violation_timestamp_seconds';
  const metric = severity === 'info' ? 'vfioscope_violations_total' : ofOthers;
  return [...expr.matchAll(new RegExp(`${metric}\\{(.*?)\\}`, 'g'))].some(([, matchers]) => {
    const [, rules] = /rule=~"(.*?)"/.exec(matchers) ?? [];
    const [, severities = ''] = /severity=~?"(.*?)"/.exec(matchers) ?? [];
    return (
      severities.split('|').includes(severity) &&
      (rules === undefined || rules.split('|').includes(rule))
    );
  });
}
