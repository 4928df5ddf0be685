/** Defects of dashboards that Grafana accepts without an error. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Dashboard, Panel } from '@grafana/grafana-foundation-sdk/dashboard';
import type { Dataquery } from '@grafana/grafana-foundation-sdk/prometheus';
import { METRICS } from '../src/telemetry/metrics/catalogue.ts';
import { RECORDINGS } from './alerts/recording.ts';
import { build, rowsAndPanels } from './board.ts';
import { BOARDS } from './catalogue.ts';
import { panelsOf } from './panel-queries.ts';

const DASHBOARDS = BOARDS.map(build);

/** The labels that a scrape adds. */
const TARGET_LABELS = ['cluster', 'instance'];
const SUFFIXES: Readonly<Record<string, readonly string[]>> = {
  histogram: ['_bucket', '_sum', '_count'],
  summary: ['_sum', '_count'],
};
/** The labels of each series, by its name. */
const SERIES = new Map([
  ...METRICS.flatMap(({ name, type, labels }) =>
    (SUFFIXES[type] ?? ['']).map(
      (suffix) =>
        [
          `${name}${suffix}`,
          [...labels, ...TARGET_LABELS, ...(suffix === '_bucket' ? ['le'] : [])],
        ] as const,
    ),
  ),
  // Series that Prometheus itself writes.
  ['up', TARGET_LABELS],
  ['ALERTS', ['alertname', 'alertstate', 'severity', ...TARGET_LABELS]],
  // The level in the name of a recorded series names its labels.
  ...RECORDINGS.map(
    ({ record }) => [record, [...record.split(':')[0].split('_'), ...TARGET_LABELS]] as const,
  ),
]);

function expressionsOf(dashboard: Dashboard): string[] {
  const targets = panelsOf(dashboard).flatMap(({ targets = [] }) => targets as Dataquery[]);
  const annotations = (dashboard.annotations?.list ?? []).map(
    ({ target }) => (target as Dataquery).expr,
  );
  const queries = (dashboard.templating?.list ?? []).flatMap(({ type, query }) =>
    type === 'query' ? [`${query}`] : [],
  );
  return [...targets.map(({ expr }) => expr), ...annotations, ...queries];
}

function isIn({ x, y }: { x: number; y: number }, panel: Panel): boolean {
  const { x: left, y: top, w, h } = panel.gridPos!;
  return x >= left && x < left + w && y >= top && y < top + h;
}

describe('the dashboards', () => {
  it('have unique addresses and titles', () => {
    for (const key of ['uid', 'title'] as const) {
      const values = DASHBOARDS.map((dashboard) => dashboard[key]);
      assert.equal(new Set(values).size, DASHBOARDS.length, `${values}`);
    }
  });

  for (const dashboard of DASHBOARDS) {
    const { title, uid } = dashboard;
    const panels = rowsAndPanels(dashboard);
    const host = dashboard.templating?.list?.find(({ name }) => name === 'host');
    const isOfHosts = uid === 'vfioscope-fleet';
    describe(`${title}`, () => {
      it(`opens with ${isOfHosts ? 'all hosts' : 'one host'}`, () => {
        assert.equal(host?.multi ?? false, isOfHosts);
        assert.equal(host?.includeAll ?? false, isOfHosts);
        assert.deepEqual(host?.current?.value, isOfHosts ? ['$__all'] : undefined);
      });

      it('has a description, unit and thresholds for each panel', () => {
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

      it('selects existing series and labels', () => {
        for (const expression of expressionsOf(dashboard)) {
          const selectors = [...expression.matchAll(/([\w:]+)(?:\{([^}]*)\})?/g)].filter(
            // The label nodejs_version begins like a metric of Node.js.
            ([, name]) =>
              /^((\w+:)?(vfioscope|process|nodejs)_(?!version$)|up$|ALERTS$)/.test(name),
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

      it('queries only the selected hosts, in the selected data source', () => {
        for (const { datasource, targets = [], title } of panelsOf(dashboard)) {
          for (const source of [datasource, ...targets.map((one) => (one as Dataquery).datasource)])
            assert.deepEqual(source, { type: 'prometheus', uid: '${datasource}' }, title);
          for (const { expr } of targets as Dataquery[]) {
            const names = expr.match(
              /\b((vfioscope|process|nodejs)_(?!version\b)\w+|up\b|ALERTS\b)/g,
            )!.length;
            const selected = `cluster=~"$cluster", instance${isOfHosts ? '=~' : '='}"$host"`;
            assert.equal(expr.split(selected).length - 1, names, expr);
          }
        }
      });

      it('uses each of its variables', () => {
        for (const { name } of dashboard.templating?.list ?? []) {
          assert.match(JSON.stringify(dashboard), new RegExp(`\\$\\{?${name}\\b`), name);
        }
      });

      it('links to existing dashboards other than itself', () => {
        const paths = [...JSON.stringify(dashboard).matchAll(/"\/d\/([\w-]+)/g)];
        for (const [, target] of paths) {
          assert.ok(
            DASHBOARDS.some(({ uid }) => uid === target),
            target,
          );
          assert.notEqual(target, uid);
        }
      });

      it('has panels that do not overlap', () => {
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

  it('ask for what each device and VM has only in rows that are closed at first, on Host', () => {
    const host = DASHBOARDS.find(({ uid }) => uid === 'vfioscope-host')!;
    const queriesOf = (panels: readonly object[]) =>
      panels.flatMap((panel) =>
        'targets' in panel ? (panel.targets as Dataquery[]).map(({ expr }) => expr) : [],
      );
    // Of holders there are as many as violations.
    const isPerObject = (expr: string) => /vfioscope_(vm|device)_(?!holder)\w+\{/.test(expr);
    assert.deepEqual(queriesOf(host.panels ?? []).filter(isPerObject), []);
    assert.ok(queriesOf(rowsAndPanels(host)).filter(isPerObject).length > 5);
  });

  it('link from a device to its trace', () => {
    const links = DASHBOARDS.flatMap(({ links = [] }) => links);
    const { url } = links.find(({ title }) => title === 'Trace')!;
    // Grafana replaces the variables before the browser parses the address.
    const replaced = url!.replaceAll(/\$\{(\w+)\}/g, (_, name) => `a-${name}`);
    const panes = JSON.parse(new URLSearchParams(replaced.split('?')[1]).get('panes')!);
    const { datasource, queries, range } = panes.trace;
    assert.deepEqual(range, { from: 'a-__from', to: 'a-__to' });
    assert.equal(datasource, queries[0].datasource.uid);
    assert.equal(queries[0].query, '{ span.vfio.device.name = "a-device" }');
  });
});
