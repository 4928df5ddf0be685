/** Runs every query of every dashboard on real databases that scrape the simulated hosts. */
import assert from 'node:assert/strict';
import type { Panel } from '@grafana/grafana-foundation-sdk/dashboard';
import type { Dataquery } from '@grafana/grafana-foundation-sdk/prometheus';
import { needing } from '../test/kit/needs.ts';
import { type Series, scrapeSeconds, TimeSeries } from '../test/time-series.ts';
import { SUITE_MS, until } from '../test/until.ts';
import { alertRules, recordingRules } from './alerts/files.ts';
import { build } from './board.ts';
import { FLEET } from './boards/fleet.ts';
import { HOST_BOARD } from './boards/host.ts';
import { BOARDS } from './catalogue.ts';
import { SEVERITIES } from './colours.ts';
import { DEFAULT_SETTINGS } from './mixin/settings.ts';
import { interpolated, PanelReader, panelsOf, type Selection } from './panel-queries.ts';
import { SimulatedHosts, selectionOf } from './simulated-hosts.ts';

const { after, before, describe, it } = needing('prometheus', 'victoria-metrics', 'vmalert');

/** The recording rules are evaluated every half second instead of every minute. */
const SCALE = 1 / 120;
const STEP_MS = 400;
/** A rate needs a few samples. */
const ENOUGH_SCRAPES = 11;

const hosts = new SimulatedHosts();
const databases = new Map<string, TimeSeries>();

let stepTimer: NodeJS.Timeout | undefined;
/** Seconds between scrapes. */
let scrapeInterval = 1;

async function untilEach(what: string, holds: (database: TimeSeries) => Promise<boolean>) {
  for (const [name, database] of databases) await until(`${what} (${name})`, () => holds(database));
}

/** Waits until each host was scraped at least this often. */
function untilScraped(times: number): Promise<void> {
  return untilEach(`all hosts were scraped ${times} times`, async (database) => {
    const counts = await database.query('count_over_time(vfioscope_build_info[1h])');
    const enough = counts.filter(({ values: [count] }) => count >= times);
    return enough.length === hosts.targets.length;
  });
}

/** The labels that a panel shows for a query. */
function labelsShown({ type, transformations = [] }: Panel, { legendFormat }: Dataquery): string[] {
  if (type === 'heatmap') return ['le'];
  const [, organize] = transformations;
  if (!organize) return [...`${legendFormat}`.matchAll(/\{\{(\w+)\}\}/g)].map(([, name]) => name);
  const { indexByName } = organize.options as { indexByName: Record<string, number> };
  return Object.keys(indexByName).filter((name) => !name.startsWith('Value'));
}

/** Whether a panel shows labels only. */
function hidesValues({ transformations = [] }: Panel): boolean {
  return transformations.some(({ options }) => options.excludeByName?.Value);
}

/** What a list shows for a series, and the value behind it, as Grafana takes them from the text of the series. */
function optionOf({ labels, values }: Series, regex: string) {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${value}"`);
  const [, pattern, flags] = /^\/(.*)\/(\w*)$/.exec(regex)!;
  const matches = [...`{${pairs.join(',')}} ${values[0]} 0`.matchAll(new RegExp(pattern, flags))];
  const group = (name: string) => `${matches.find(({ groups }) => groups?.[name])?.groups?.[name]}`;
  return { text: group('text'), value: group('value') };
}

/** @returns what a panel should show and does not show */
async function missingIn(
  panel: Panel,
  database: TimeSeries,
  selection: Selection,
): Promise<string[]> {
  const found = new Set<string>();
  const missing: string[] = [];
  let shown: string[] = [];
  let isAllZero = true;
  for (const target of (panel.targets ?? []) as Dataquery[]) {
    const series = await new PanelReader(database, selection, scrapeInterval).run(target);
    if (series.length === 0) missing.push(`series for ${interpolated(target.expr, selection)}`);
    if (panel.type === 'stat' && series.length > 1) {
      missing.push(`a single value of ${interpolated(target.expr, selection)}`);
    }
    for (const { labels, values } of series) {
      for (const label of Object.keys(labels)) found.add(label);
      isAllZero &&= values.every((value) => value === 0);
    }
    shown = labelsShown(panel, target);
  }
  const absent = shown.filter((label) => !found.has(label));
  missing.push(...absent.map((label) => `the label ${label}`));
  if (isAllZero && !hidesValues(panel)) missing.push('a value other than 0');
  return missing;
}

before(async () => {
  await hosts.start();
  scrapeInterval = await scrapeSeconds(hosts.targets);
  const interval = `${scrapeInterval}s`;
  const files = {
    'recording.yml': recordingRules({ scale: SCALE }),
    // vmalert before 1.91 refuses `keep_firing_for`.
    'alerts.yml': alertRules({
      scale: SCALE,
      settings: { ...DEFAULT_SETTINGS, keep_firing: false },
    }),
  };
  const rules = { files, every: interval };
  const { prometheus, victoriaMetrics } = TimeSeries;
  databases.set('Prometheus', await prometheus(hosts.targets, interval, { rules }));
  databases.set('VictoriaMetrics', await victoriaMetrics(hosts.targets, interval, { rules }));
  // A counter has to be scraped before it increases, or its increase is not visible.
  await untilScraped(1);
  // The simulation continues until the last test, because graphs show the latest seconds.
  stepTimer = setInterval(() => hosts.advance(), STEP_MS);
  await untilScraped(ENOUGH_SCRAPES);
  await hosts.takeDown();
  await untilEach('a host cannot be scraped', async (database) => {
    const [failed] = await database.query(`count_over_time((up == 0)[1h:${scrapeInterval}s])`);
    return failed?.values[0] >= 4;
  });
});

after(async () => {
  clearInterval(stepTimer);
  for (const database of databases.values()) await database.stop();
  await hosts.stop();
});

for (const name of ['Prometheus', 'VictoriaMetrics']) {
  describe(`dashboards on ${name}`, { timeout: SUITE_MS }, () => {
    for (const board of BOARDS) {
      const dashboard = build(board);
      const selection = selectionOf(board.name);
      for (const panel of panelsOf(dashboard)) {
        it(`${board.name}: the panel "${panel.title}" has data`, async () => {
          let missing: string[] = [];
          // A scrape or an evaluation that is late on a busy machine leaves a short gap.
          const isComplete = async () => {
            missing = await missingIn(panel, databases.get(name)!, selection);
            return missing.length === 0;
          };
          await until('nothing is missing', isComplete, { more: () => `; missing: ${missing}` });
        });
      }

      it(`${board.name}: graphs are annotated with violations`, async () => {
        const [annotation] = dashboard.annotations?.list ?? [];
        const { expr } = annotation.target as Dataquery;
        const annotations = await databases.get(name)!.query(interpolated(expr, selection));
        assert.ok(annotations.length > 0, interpolated(expr, selection));
        assert.ok(annotations.every(({ labels }) => labels.rule && labels.severity));
        // The text names labels that the series have: some are empty where a violation has no such object.
        const named = [...board.annotations.text.matchAll(/\{\{(\w+)\}\}/g)];
        assert.ok(named.length > 0);
        for (const [, label] of named) {
          assert.ok(
            annotations.some(({ labels }) => labels[label]),
            label,
          );
        }
      });

      it(`${board.name}: each variable has values`, async () => {
        for (const { type, name: variable, query, regex } of dashboard.templating?.list ?? []) {
          if (type !== 'query') continue;
          const result = /^query_result\((.+)\)$/.exec(`${query}`);
          if (result) {
            const series = await databases.get(name)!.query(interpolated(result[1], selection));
            const { text, value } = optionOf(series[0], `${regex}`);
            assert.match(text, /^(guest7 |leaky )?(qemu-system-x86|vmm-leaky) \d+ \S+$/);
            assert.ok(text.endsWith(` ${value}`), `${text}, ${value}`);
            continue;
          }
          const parts = /^label_values\((.+), (\w+)\)$/.exec(`${query}`);
          assert.ok(parts, `${query}`);
          const values = await databases
            .get(name)!
            .values(parts[2], interpolated(parts[1], selection));
          assert.ok(values.length > 0, variable);
        }
      });
    }

    /** What a query of the Fleet dashboard returns. @param change of its expression */
    const fleet = async (title: string, change = (expr: string) => expr) => {
      const targets = panelsOf(build(FLEET)).find((one) => one.title === title)?.targets ?? [];
      const expressions = (targets as Dataquery[]).map(({ expr }) => change(expr));
      return Promise.all(
        expressions.map((expr) =>
          databases.get(name)!.query(interpolated(expr, selectionOf('fleet'))),
        ),
      );
    };

    it('fleet: a host that went down is unreachable, whatever the time range', async () => {
      const [[unreachable]] = await fleet('Unreachable hosts', (expr) => {
        assert.doesNotMatch(expr, /__range/);
        return expr;
      });
      assert.deepEqual(unreachable.values, [1]);
    });

    it('fleet: there is no number of blind spots without recording rules, nor of hosts without targets', async () => {
      const missing = (expr: string) => expr.replaceAll(/instance:(?=vfioscope)/g, 'missing:');
      assert.deepEqual(await fleet('Blind spots', missing), [[]]);
      const others = (expr: string) => expr.replaceAll(/\bup\{/g, 'missing{');
      assert.deepEqual(await fleet('Unreachable hosts', others), [[]]);
    });

    it('fleet: violations have the code of their severity, and how long ago they were raised', async () => {
      const [severities, ages] = await fleet('Violations raised');
      const codes = Object.keys(SEVERITIES);
      assert.ok(severities.some(({ labels }) => labels.severity === 'critical'));
      for (const { labels, values } of severities) {
        assert.equal(codes[values[0] - 1], labels.severity);
      }
      for (const { values } of ages) assert.ok(values[0] < 3600, `${values}`);
    });

    it('host: counts the first failure with its error number', async () => {
      const panels = panelsOf(build(HOST_BOARD));
      const failed = panels.find(({ title }) => title === 'Failed operations')!;
      const [target] = failed.targets as Dataquery[];
      const series = await new PanelReader(
        databases.get(name)!,
        selectionOf('host'),
        scrapeInterval,
      ).run(target);
      const first = series.find(({ labels }) => labels.errno === 'EACCES');
      assert.deepEqual(first?.values, [1]);
    });
  });
}
