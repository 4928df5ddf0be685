/** The files generated from the alerts: rules for Prometheus, their tests, and the pages about them. */
import { stringify } from 'yaml';
import { RULES } from '../../src/catalogue.ts';
import type { Alert, TestCase } from './alert.ts';
import { ALERTS, GROUPS } from './catalogue.ts';
import { alertsPage } from './page.ts';
import { RECORDING_INTERVAL, RECORDINGS } from './recording.ts';
import { runbookPage } from './runbook.ts';

const NOTE = 'Generated from dashboards/alerts by `npm run generate`. Do not edit.';

/** The directory of the runbooks, relative to the root of the repository. */
export const RUNBOOKS = 'docs/runbooks';

/** The content of each file, by its path relative to the root of the repository. */
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
 * @param scale factor of each `for`, for tests that cannot wait for minutes
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

/** The file of recording rules. @param scale factor of the evaluation interval, as for alertRules() */
export function recordingRules(scale = 1): string {
  const rules = RECORDINGS.map(({ record, expr }) => ({ record, expr }));
  const interval = duration(RECORDING_INTERVAL * scale);
  return yaml({ groups: [{ name: 'vfioscope: sums for each host', interval, rules }] });
}

/** The input of `promtool test rules`: for each alert a case that fires and one that does not. */
function alertTests(): string {
  return yaml({
    rule_files: ['alerts.yml', 'recording.yml'],
    evaluation_interval: '1m',
    tests: ALERTS.flatMap((alert) => [
      test(alert, alert.fires, [expectedSample(alert)]),
      test(alert, alert.doesNotFire, []),
    ]),
  });
}

function test({ name }: Alert, { title, series, at }: TestCase, expected: readonly string[]) {
  const targets = series.some((one) => one.startsWith('up')) ? [] : ['up 1x120'];
  return {
    name: `${name} ${expected.length > 0 ? 'fires' : 'does not fire'}: ${title}`,
    interval: '1m',
    input_series: [...targets, ...series].map(asScraped),
    promql_expr_test: [
      {
        // The query takes all alerts, so that the test fails if another alert fires as well.
        expr: 'ALERTS{alertstate="firing"}',
        eval_time: `${at}m`,
        exp_samples: expected.map((labels) => ({ labels, value: 1 })),
      },
    ],
  };
}

const TARGET = { job: 'vfioscope', instance: 'host1:10055' };

/** Adds the labels that a scrape of the target adds. */
function asScraped(series: string): { series: string; values: string } {
  const [, name = '', labels = '', values = ''] = /^(\w+)(?:\{(.*)\})? (.+)$/.exec(series) ?? [];
  const target = labels.includes('job=') ? { instance: TARGET.instance } : TARGET;
  return { series: `${name}{${[labels, ...pairs(target)].filter(Boolean).join(',')}}`, values };
}

function expectedSample({ name, severity, expr, fires }: Alert): string {
  // Sums over hosts and absent() have no label of a single host.
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

/** A duration in PromQL's notation. @param seconds rounded to milliseconds, at least one */
function duration(seconds: number): string {
  const milliseconds = Math.max(1, Math.round(seconds * 1000));
  if (milliseconds % 60_000 === 0) return `${milliseconds / 60_000}m`;
  return milliseconds % 1000 === 0 ? `${milliseconds / 1000}s` : `${milliseconds}ms`;
}

function yaml(value: object): string {
  return `# ${NOTE}\n${stringify(value, { lineWidth: 0 })}`;
}
