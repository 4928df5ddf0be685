/** Every query of every dashboard, asked of databases that scrape hosts where all of it happens. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as later } from 'node:timers/promises';
import type { Panel } from '@grafana/grafana-foundation-sdk/dashboard';
import type { Dataquery } from '@grafana/grafana-foundation-sdk/prometheus';
import { TimeSeries } from '../test/time-series.ts';
import { recordingRules } from './alerts/files.ts';
import { chosen, panelsOf, Reader } from './asking.ts';
import { build } from './board.ts';
import { HOST_BOARD } from './boards/host.ts';
import { BOARDS } from './catalogue.ts';
import { Scene, STUCK } from './scene.ts';

const SCRAPES_MS = 500;
/** A minute of the recording rules in half a second. */
const SCALE = 1 / 120;
const BEAT_MS = 400;
/** Seconds. Databases need a few samples for a rate. */
const SHOWN = 10;

const scene = new Scene();
const engines = new Map<string, TimeSeries>();
const chosenHere = (expression: string) => chosen(expression, STUCK);

/** The labels that a panel shows. */
function labelsShown({ type, transformations = [] }: Panel, { legendFormat }: Dataquery): string[] {
  if (type === 'heatmap') return ['le'];
  const [, organize] = transformations;
  if (!organize) return [...`${legendFormat}`.matchAll(/\{\{(\w+)\}\}/g)].map(([, name]) => name);
  const { indexByName } = organize.options as { indexByName: Record<string, number> };
  return Object.keys(indexByName).filter((name) => !name.startsWith('Value'));
}

/** It shows labels alone. */
function hidesValues({ transformations = [] }: Panel): boolean {
  return transformations.some(({ options }) => options.excludeByName?.Value);
}

before(async () => {
  await scene.begin();
  const interval = `${SCRAPES_MS}ms`;
  const rules = { files: { 'recording.yml': recordingRules(SCALE) }, every: interval };
  const { prometheus, victoriaMetrics } = TimeSeries;
  engines.set('Prometheus', await prometheus(scene.targets, interval, { rules }));
  engines.set('VictoriaMetrics', await victoriaMetrics(scene.targets, interval, { rules }));
  // Counters have to be seen before they grow, or nobody can tell that they did.
  for (const engine of engines.values()) {
    while ((await engine.query('vfioscope_build_info')).length < scene.targets.length) {
      await later(SCRAPES_MS);
    }
  }
  for (let passed = 0; passed < SHOWN * 1000; passed += BEAT_MS) {
    scene.beat();
    await later(BEAT_MS);
  }
  await scene.leave();
  await later(4 * SCRAPES_MS);
});

after(async () => {
  for (const engine of engines.values()) await engine.stop();
  await scene.end();
});

for (const name of ['Prometheus', 'VictoriaMetrics']) {
  describe(`dashboards on ${name}`, { timeout: 120_000 }, () => {
    for (const board of BOARDS) {
      const dashboard = build(board);
      for (const panel of panelsOf(dashboard)) {
        it(`${board.name}: "${panel.title}" has something to show`, async () => {
          const found = new Set<string>();
          let shown: string[] = [];
          let isQuiet = true;
          for (const target of (panel.targets ?? []) as Dataquery[]) {
            const series = await new Reader(engines.get(name)!, STUCK, SHOWN).answer(target);
            assert.ok(series.length > 0, `nothing for ${chosenHere(target.expr)}`);
            if (panel.type === 'stat') assert.equal(series.length, 1, chosenHere(target.expr));
            for (const { labels, values } of series) {
              for (const label of Object.keys(labels)) found.add(label);
              isQuiet &&= values.every((value) => value === 0);
            }
            shown = labelsShown(panel, target);
          }
          const absent = shown.filter((label) => !found.has(label));
          assert.deepEqual(absent, [], 'labels that no series has');
          assert.ok(!isQuiet || hidesValues(panel), 'has nothing but 0');
        });
      }

      it(`${board.name}: violations are marked in graphs`, async () => {
        const [annotation] = dashboard.annotations?.list ?? [];
        const { expr } = annotation.target as Dataquery;
        const marks = await engines.get(name)!.query(chosenHere(expr));
        assert.ok(marks.length > 0, chosenHere(expr));
        assert.ok(marks.every(({ labels }) => labels.rule && labels.severity));
      });

      it(`${board.name}: variables have something to choose`, async () => {
        for (const { type, name: variable, query } of dashboard.templating?.list ?? []) {
          if (type !== 'query') continue;
          const parts = /^label_values\((.+), (\w+)\)$/.exec(`${query}`);
          assert.ok(parts, `${query}`);
          const values = await engines.get(name)!.values(parts[2], chosenHere(parts[1]));
          assert.ok(values.length > 0, variable);
        }
      });
    }

    it('host: counts a failure that was the first of its kind', async () => {
      const panels = panelsOf(build(HOST_BOARD));
      const failed = panels.find(({ title }) => title === 'Operations that failed')!;
      const [target] = failed.targets as Dataquery[];
      const series = await new Reader(engines.get(name)!, STUCK, SHOWN).answer(target);
      const first = series.find(({ labels }) => labels.errno === 'EACCES');
      assert.deepEqual(first?.values, [1]);
    });
  });
}
