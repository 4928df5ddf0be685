/** The files generated from the alerts: rules for Prometheus, their tests, and the pages about them. */
import { stringify } from 'yaml';
import { RULES } from '../../src/catalogue.ts';
import { shownOutputs } from '../../test/e2e/runbooks/outputs.ts';
import { mixinPage } from '../mixin/page.ts';
import { rendered, scoped } from '../mixin/rendered.ts';
import { DEFAULT_SETTINGS, type MixinSettings } from '../mixin/settings.ts';
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
  const outputs = shownOutputs();
  return new Map([
    ['dashboards/alerts.yml', alertRules()],
    ['dashboards/recording.yml', recordingRules()],
    ['dashboards/alerts.test.yml', alertTests()],
    ['docs/alerts.md', alertsPage(GROUPS, RECORDINGS)],
    ['docs/mixin.md', mixinPage()],
    ...ALERTS.map((alert) => {
      const page = runbookPage(alert, RULES, outputs[alert.name]);
      return [`${RUNBOOKS}/${alert.name}.md`, page] as const;
    }),
  ]);
}

export interface Rendering {
  readonly settings?: MixinSettings;
  /** Factor of each time, for tests that cannot wait for minutes. */
  readonly scale?: number;
}

/** The file of alert rules. */
export function alertRules({ settings = DEFAULT_SETTINGS, scale = 1 }: Rendering = {}): string {
  const groups = GROUPS.map(({ title, alerts }) => ({
    name: `vfioscope: ${title.toLowerCase()}`,
    rules: alerts.map((alert) => rule(alert, settings, scale)),
  }));
  return yaml({ groups });
}

function rule(alert: Alert, settings: MixinSettings, scale: number) {
  const { name, severity, expr, summary, description, keepFiring } = alert;
  return {
    alert: name,
    expr: scaled(rendered(expr, settings), scale),
    ...(alert.for > 0 ? { for: duration(alert.for * scale) } : {}),
    ...(keepFiring && settings.keep_firing
      ? { keep_firing_for: duration(keepFiring * scale) }
      : {}),
    labels: { severity },
    annotations: {
      summary: withClusterLabel(summary, settings),
      description: withClusterLabel(description, settings),
      runbook_url: runbookUrl(alert, settings),
    },
  };
}

/** Shortens the ranges and offsets of an expression as well, which are of minutes to days. */
function scaled(expr: string, scale: number): string {
  if (scale === 1) return expr;
  return expr.replace(/(\[|offset )(\d+)([mhd])/g, (_all, before: string, count, unit: string) => {
    const seconds = { m: 60, h: 3600, d: 86_400 }[unit] ?? 1;
    return before + duration(Number(count) * seconds * scale);
  });
}

function withClusterLabel(template: string, { cluster_label: label }: MixinSettings): string {
  return template
    .replaceAll('$labels.cluster', `$labels.${label}`)
    .replaceAll('{cluster=%', `{${label}=%`);
}

/** A template, because it names a host. It leads to the head of the page, which says what not to do. */
function runbookUrl({ name, about }: Alert, settings: MixinSettings): string {
  const address = (setting: string, instance: string) =>
    setting.replaceAll('{alert}', name).replaceAll('{instance}', instance);
  const { runbook_url: url, runbook_url_without_agent: withoutAgent } = settings;
  if (about === undefined) return address(url, '{{ $labels.instance }}');
  if (!url.includes('{instance}')) return address(url, '');
  const answering = JSON.stringify(scoped('topk(1, up == 1)', settings));
  const served = address(url, '{{ . | first | label "instance" }}');
  return `{{ with query ${answering} }}${served}{{ else }}${address(withoutAgent, '')}{{ end }}`;
}

/** The file of recording rules. */
export function recordingRules({ settings = DEFAULT_SETTINGS, scale = 1 }: Rendering = {}): string {
  const rules = RECORDINGS.map(({ record, expr }) => ({ record, expr: rendered(expr, settings) }));
  const interval = duration(RECORDING_INTERVAL * scale);
  return yaml({ groups: [{ name: 'vfioscope: sums for each host', interval, rules }] });
}

/** The input of `promtool test rules`: for each alert cases in which it fires and cases in which it does not. */
function alertTests(): string {
  return yaml({
    rule_files: ['alerts.yml', 'recording.yml'],
    evaluation_interval: '1m',
    tests: ALERTS.flatMap((alert) =>
      [alert.fires, alert.doesNotFire, ...(alert.also ?? [])].map((one) => test(alert, one)),
    ),
  });
}

function test(alert: Alert, { title, series, at, labels, others = [], text }: TestCase & Firing) {
  const targets = series.some((one) => one.startsWith('up')) ? [] : ['up 1x2000'];
  const expected = [...others, ...(labels ? [expectedLabels(alert, labels)] : [])];
  return {
    name: `${alert.name} ${labels ? 'fires' : 'does not fire'}: ${title}`,
    interval: '1m',
    input_series: [...targets, ...series].map(asScraped),
    promql_expr_test: [
      {
        // The query takes all alerts, so that the test fails if another alert fires as well.
        expr: 'ALERTS{alertstate="firing"}',
        eval_time: `${at}m`,
        exp_samples: expected.map((one) => ({
          labels: `ALERTS{${pairs({ alertstate: 'firing', ...one }).join(',')}}`,
          value: 1,
        })),
      },
    ],
    ...(text ? { alert_rule_test: [textTest(alert, at, labels ?? {}, text)] } : {}),
  };
}

/** What the alert says. `promtool` compares all annotations. */
function textTest(
  alert: Alert,
  at: number,
  labels: NonNullable<Firing['labels']>,
  text: NonNullable<TestCase['text']>,
) {
  const { alertname, ...others } = expectedLabels(alert, labels);
  return {
    ...{ eval_time: `${at}m`, alertname },
    exp_alerts: [{ exp_labels: others, exp_annotations: text }],
  };
}

/** The labels with which an alert fires, if it does. */
interface Firing {
  readonly labels?: Readonly<Record<string, string>>;
}

const TARGET = { job: 'vfioscope', instance: 'host1:10055' };

/** Adds the labels that a scrape of the target adds, where the series has none of its own. */
function asScraped(series: string): { series: string; values: string } {
  const [, name = '', labels = '', values = ''] = /^(\w+)(?:\{(.*)\})? (.+)$/.exec(series) ?? [];
  const target = Object.entries(TARGET).filter(([label]) => !labels.includes(`${label}=`));
  const all = [labels, ...pairs(Object.fromEntries(target))].filter(Boolean);
  return { series: `${name}{${all.join(',')}}`, values };
}

function expectedLabels({ name, severity, about }: Alert, labels: NonNullable<Firing['labels']>) {
  const target = about === 'fleet' ? {} : TARGET;
  return { alertname: name, severity, ...target, ...labels };
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
