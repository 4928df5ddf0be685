/** What Grafana would show without complaint, and a reader would miss. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Dashboard, Panel } from '@grafana/grafana-foundation-sdk/dashboard';
import type { Dataquery } from '@grafana/grafana-foundation-sdk/prometheus';
import { METRICS } from '../src/telemetry/metrics/catalogue.ts';
import { RECORDINGS } from './alerts/recording.ts';
import { build } from './board.ts';
import { BOARDS } from './catalogue.ts';

const DASHBOARDS = BOARDS.map(build);

/** What scraping adds. */
const OF_TARGETS = ['cluster', 'instance'];
const SUFFIXES: Readonly<Record<string, readonly string[]>> = {
  histogram: ['_bucket', '_sum', '_count'],
  summary: ['_sum', '_count'],
};
/** Labels by the name of the series. */
const SERIES = new Map([
  ...METRICS.flatMap(({ name, type, labels }) =>
    (SUFFIXES[type] ?? ['']).map(
      (suffix) =>
        [
          `${name}${suffix}`,
          [...labels, ...OF_TARGETS, ...(suffix === '_bucket' ? ['le'] : [])],
        ] as const,
    ),
  ),
  // The level names the labels that are left.
  ...RECORDINGS.map(
    ({ record }) => [record, [...record.split(':')[0].split('_'), ...OF_TARGETS]] as const,
  ),
]);

function panelsOf({ panels = [] }: Dashboard): Panel[] {
  return panels.filter((panel): panel is Panel => panel.type !== 'row');
}

function expressionsOf(dashboard: Dashboard): string[] {
  const targets = panelsOf(dashboard).flatMap(({ targets = [] }) => targets as Dataquery[]);
  const marks = (dashboard.annotations?.list ?? []).map(({ target }) => (target as Dataquery).expr);
  const queries = (dashboard.templating?.list ?? []).flatMap(({ type, query }) =>
    type === 'query' ? [`${query}`] : [],
  );
  return [...targets.map(({ expr }) => expr), ...marks, ...queries];
}

function isIn({ x, y }: { x: number; y: number }, panel: Panel): boolean {
  const { x: left, y: top, w, h } = panel.gridPos!;
  return x >= left && x < left + w && y >= top && y < top + h;
}

describe('the dashboards', () => {
  it('have addresses and titles of their own', () => {
    for (const key of ['uid', 'title'] as const) {
      const values = DASHBOARDS.map((dashboard) => dashboard[key]);
      assert.equal(new Set(values).size, DASHBOARDS.length, `${values}`);
    }
  });

  for (const dashboard of DASHBOARDS) {
    const { title, uid, panels = [] } = dashboard;
    describe(`${title}`, () => {
      it('explains each panel, and gives it a unit and thresholds', () => {
        assert.ok(dashboard.description);
        for (const { title, description, fieldConfig, type } of panelsOf(dashboard)) {
          const { unit, thresholds } = fieldConfig!.defaults;
          assert.ok(title && description && type && unit, title);
          assert.match(description, /\.$/, title);
          assert.ok(thresholds!.steps.length > 0, title);
        }
        for (const { name, label, description } of dashboard.templating?.list ?? []) {
          assert.ok(label && description, name);
        }
      });

      it('asks for series and labels that there are', () => {
        for (const expression of expressionsOf(dashboard)) {
          const selectors = [...expression.matchAll(/([\w:]+)(?:\{([^}]*)\})?/g)].filter(
            ([, name]) => /^(\w+:)?(vfioscope|process|nodejs)_/.test(name),
          );
          assert.ok(selectors.length > 0, expression);
          for (const [, name, matchers = ''] of selectors) {
            const labels = SERIES.get(name);
            assert.ok(labels, `${name} in ${expression}`);
            const unknown = [...matchers.matchAll(/(\w+)(?==|!)/g)].filter(
              ([label]) => !labels.includes(label),
            );
            assert.deepEqual(unknown, [], expression);
          }
        }
      });

      it('looks only at the hosts that were chosen, in the data source that was', () => {
        for (const { datasource, targets = [], title } of panelsOf(dashboard)) {
          for (const source of [datasource, ...targets.map((one) => (one as Dataquery).datasource)])
            assert.deepEqual(source, { type: 'prometheus', uid: '${datasource}' }, title);
          for (const { expr } of targets as Dataquery[]) {
            const names = expr.match(/\b(vfioscope|process|nodejs)_\w+/g)!.length;
            assert.equal(expr.split('cluster=~"$cluster", instance=~"$host"').length - 1, names);
          }
        }
      });

      it('uses each of its variables', () => {
        for (const { name } of dashboard.templating?.list ?? []) {
          assert.match(JSON.stringify(dashboard), new RegExp(`\\$\\{?${name}\\b`), name);
        }
      });

      it('leads to dashboards that there are', () => {
        const paths = [...JSON.stringify(dashboard).matchAll(/"\/d\/([\w-]+)/g)];
        for (const [, target] of paths) {
          assert.ok(
            DASHBOARDS.some(({ uid }) => uid === target),
            target,
          );
          assert.notEqual(target, uid);
        }
      });

      it('lays panels side by side, not one over the other', () => {
        const ids = panels.map(({ id }) => id);
        assert.equal(new Set(ids).size, panels.length);
        for (const panel of panels as Panel[]) {
          const { x, w, y } = panel.gridPos!;
          assert.ok(x + w <= 24, panel.title);
          const over = (panels as Panel[]).filter((other) => isIn({ x, y }, other));
          assert.deepEqual(over, [panel]);
        }
      });
    });
  }

  it('lead from a device to its trace', () => {
    const links = DASHBOARDS.flatMap(({ links = [] }) => links);
    const { url } = links.find(({ title }) => title === 'Trace')!;
    // As Grafana does, before the browser reads it.
    const filled = url!.replaceAll(/\$\{(\w+)\}/g, (_, name) => `a-${name}`);
    const panes = JSON.parse(new URLSearchParams(filled.split('?')[1]).get('panes')!);
    const { datasource, queries, range } = panes.trace;
    assert.deepEqual(range, { from: 'a-__from', to: 'a-__to' });
    assert.equal(datasource, queries[0].datasource.uid);
    assert.equal(queries[0].query, '{ span.vfio.device.name = "a-device" }');
  });
});
