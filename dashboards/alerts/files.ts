/** The files that are made of the table: rules for Prometheus, their tests, and what is to be read. */
import { stringify } from 'yaml';
import { RULES } from '../../src/rules/catalogue.ts';
import type { Alert, Case } from './alert.ts';
import { ALERTS, GROUPS } from './catalogue.ts';
import { alertsPage } from './page.ts';
import { RECORDED_EVERY, RECORDINGS } from './recording.ts';
import { runbookPage } from './runbook.ts';

const NOTE = 'Generated from dashboards/alerts by `npm run generate`. Do not edit.';

/** Where runbooks are, as seen from the root of the repository. */
export const RUNBOOKS = 'docs/runbooks';

/** All files, by path from the root of the repository. */
export function alertFiles(): Map<string, string> {
  return new Map([
    ['dashboards/alerts.yml', alertRules()],
    ['dashboards/recording.yml', recordingRules()],
    ['dashboards/alerts.test.yml', alertTests()],
    ['docs/alerts.md', alertsPage(GROUPS, RECORDINGS)],
    ...ALERTS.map((alert) => [`${RUNBOOKS}/${alert.name}.md`, runbookPage(alert, RULES)] as const),
  ]);
}

/**
 * The file of alert rules.
 * @param scale by which each `for` is multiplied, for tests that cannot wait for minutes
 */
export function alertRules(scale = 1): string {
  const groups = GROUPS.map(({ title, alerts }) => ({
    name: `vfioscope: ${title.toLowerCase()}`,
    rules: alerts.map((alert) => rule(alert, scale)),
  }));
  return yaml({ groups });
}

function rule(alert: Alert, scale: number) {
  const { name, expr, severity, summary, description } = alert;
  return {
    alert: name,
    expr,
    ...(alert.for > 0 ? { for: duration(alert.for * scale) } : {}),
    labels: { severity },
    annotations: { summary, description, runbook_url: `${RUNBOOKS}/${name}.md` },
  };
}

/** @param scale by which the time between evaluations is multiplied, as above */
export function recordingRules(scale = 1): string {
  const rules = RECORDINGS.map(({ record, expr }) => ({ record, expr }));
  const interval = duration(RECORDED_EVERY * scale);
  return yaml({ groups: [{ name: 'vfioscope: sums of each host', interval, rules }] });
}

/** For `promtool test rules`: a case that fires and one that stays quiet, for each alert. */
function alertTests(): string {
  return yaml({
    rule_files: ['alerts.yml', 'recording.yml'],
    evaluation_interval: '1m',
    tests: ALERTS.flatMap((alert) => [
      test(alert, alert.fires, [firing(alert)]),
      test(alert, alert.quiet, []),
    ]),
  });
}

function test({ name }: Alert, { title, series, at }: Case, expected: readonly string[]) {
  const targets = series.some((one) => one.startsWith('up')) ? [] : ['up 1x120'];
  return {
    name: `${name} ${expected.length > 0 ? 'fires' : 'stays quiet'}: ${title}`,
    interval: '1m',
    input_series: [...targets, ...series].map(ofTarget),
    promql_expr_test: [
      {
        // Whatever fires: no other alert may speak of it.
        expr: 'ALERTS{alertstate="firing"}',
        eval_time: `${at}m`,
        exp_samples: expected.map((labels) => ({ labels, value: 1 })),
      },
    ],
  };
}

const TARGET = { job: 'vfioscope', instance: 'host1:10055' };

/** As Prometheus would have it of a target. */
function ofTarget(series: string): { series: string; values: string } {
  const [, name = '', labels = '', values = ''] = /^(\w+)(?:\{(.*)\})? (.+)$/.exec(series) ?? [];
  const target = labels.includes('job=') ? { instance: TARGET.instance } : TARGET;
  return { series: `${name}{${[labels, ...pairs(target)].filter(Boolean).join(',')}}`, values };
}

function firing({ name, severity, expr, fires }: Alert): string {
  // What is summed up over hosts, or is not there, has none of its labels.
  const { instance, job } = TARGET;
  const target = expr.startsWith('absent(')
    ? {}
    : expr.includes('without (instance')
      ? { job }
      : { instance, job };
  const labels = { alertname: name, alertstate: 'firing', severity, ...target, ...fires.labels };
  return `ALERTS{${pairs(labels).join(',')}}`;
}

function pairs(labels: Readonly<Record<string, string>>): string[] {
  return Object.entries(labels).map(([name, value]) => `${name}="${value}"`);
}

/** @param seconds not less than a millisecond */
function duration(seconds: number): string {
  const milliseconds = Math.max(1, Math.round(seconds * 1000));
  if (milliseconds % 60_000 === 0) return `${milliseconds / 60_000}m`;
  return milliseconds % 1000 === 0 ? `${milliseconds / 1000}s` : `${milliseconds}ms`;
}

function yaml(value: object): string {
  return `# ${NOTE}\n${stringify(value, { lineWidth: 0 })}`;
}
