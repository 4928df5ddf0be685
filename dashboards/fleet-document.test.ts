/** Whether the configuration in docs/fleet.md works. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import type { Dataquery } from '@grafana/grafana-foundation-sdk/prometheus';
import { parse } from 'yaml';
import { GROUPS } from '../src/telemetry/metrics/catalogue.ts';
import { SimulatedHost } from '../test/bench/fleet/host.ts';
import { Daemon } from '../test/daemon.ts';
import { lacks } from '../test/kit/needs.ts';
import { Served } from '../test/kit/served.ts';
import { TimeSeries } from '../test/time-series.ts';
import { SUITE_MS } from '../test/until.ts';
import { alertRules, recordingRules } from './alerts/files.ts';
import { build } from './board.ts';
import { FLEET } from './boards/fleet.ts';

const skip = lacks('prometheus', 'promtool');
const skipPair = lacks('prometheus', 'prometheus-alertmanager');

interface PrometheusConfig {
  readonly global?: object;
  readonly alerting?: { readonly alert_relabel_configs?: readonly object[] };
  readonly scrape_configs: readonly {
    readonly metrics_path?: string;
    readonly params?: { readonly 'match[]': readonly string[] };
    readonly metric_relabel_configs?: readonly { readonly regex: string }[];
  }[];
}

/** Alerts read them to name a device, its holders and VMs. */
const NAMING_SERIES = [
  ...['vfioscope_violation_info', 'vfioscope_device_holder_info'],
  ...['vfioscope_vm_info', 'vfioscope_vm_state'],
];

/** The recording rules are evaluated every half second instead of every minute. */
const SCALE = 1 / 120;
const INTERVAL = '500ms';

const text = readFileSync(new URL('../docs/fleet.md', import.meta.url), 'utf8');
const blocks = [...text.matchAll(/```yaml\n(# prometheus\.yml.*?)```/gs)].map(([, block]) => block);
const configs = blocks.map((block) => parse(block) as PrometheusConfig);
const jobs = configs.flatMap(({ scrape_configs }) => scrape_configs);

/** The names that the Prometheus above the shards asks for. */
const FEDERATED = (jobs.find(({ params }) => params)?.params?.['match[]'] ?? []).map(
  (selector) => new RegExp(`^(${/"([^"]+)"/.exec(selector)?.[1]})$`),
);

/** The name of each series of the host whose size the page states. */
async function exportedNames(): Promise<string[]> {
  const host = new SimulatedHost(128, 1);
  for (let second = 0; second < 240; second++) host.beat();
  const url = await host.served.server.listen({ host: '127.0.0.1', port: 0 });
  const metrics = await (await fetch(`${url}/metrics`)).text();
  await host.served.server.close();
  return metrics.match(/^[a-z]\w*/gm) ?? [];
}

describe('the configuration in docs/fleet.md', () => {
  it('is accepted by Prometheus', { skip }, () => {
    assert.ok(blocks.length >= 3);
    const directory = mkdtempSync(join(tmpdir(), 'vfioscope-fleet-'));
    writeFileSync(join(directory, 'alerts.yml'), alertRules());
    writeFileSync(join(directory, 'recording.yml'), recordingRules());
    for (const block of blocks) {
      const file = join(directory, 'prometheus.yml');
      writeFileSync(file, block);
      const { status, stdout, stderr } = spawnSync('promtool', ['check', 'config', file], {
        encoding: 'utf8',
      });
      assert.equal(status, 0, stdout + stderr);
    }
    const [rules] = /(?<=```yaml\n# rules above.*\n)groups:[^`]*/.exec(text) ?? [];
    writeFileSync(join(directory, 'above.yml'), `${rules}`);
    const { status, stdout } = spawnSync(
      'promtool',
      ['check', 'rules', join(directory, 'above.yml')],
      {
        encoding: 'utf8',
      },
    );
    assert.equal(status, 0, stdout);
    rmSync(directory, { recursive: true });
  });

  it('federates recorded series of a shard unchanged to the global Prometheus', {
    timeout: SUITE_MS,
    skip,
  }, async () => {
    const served = new Served();
    served.run((scenario) => scenario.create(scenario.parent()));
    const address = (await served.server.listen({ host: '127.0.0.1', port: 0 })).slice(7);
    const rules = { files: { 'recording.yml': recordingRules({ scale: SCALE }) }, every: INTERVAL };
    const target = { address, labels: { instance: 'kvm1:10055' } };
    const shard = await TimeSeries.prometheus([target], INTERVAL, { rules });
    const federation = jobs.find(({ params }) => params);
    const globalPrometheus = await Daemon.start('prometheus', (home) => ({
      'config.file': home.file('config.yml', {
        scrape_configs: [
          {
            ...federation,
            ...{ scrape_interval: INTERVAL, scrape_timeout: INTERVAL },
            static_configs: [{ targets: [shard.daemons[0].address] }],
          },
        ],
      }),
      'storage.tsdb.path': `${home.directory}/data`,
      'web.listen-address': home.address,
    }));
    const query = new URLSearchParams({ query: 'state:vfioscope_devices:sum' });
    let found: { metric: Record<string, string>; value: [number, string] }[] = [];
    while (found.length === 0) {
      await setTimeout(100);
      const answer = await (await fetch(`${globalPrometheus.url}/api/v1/query?${query}`)).json();
      found = (answer as { data: { result: typeof found } }).data.result;
    }
    await globalPrometheus.stop();
    await shard.stop();
    await served.server.close();
    const [{ metric, value }] = found;
    assert.equal(value[1], '1');
    assert.deepEqual(metric, {
      ...{ __name__: 'state:vfioscope_devices:sum', state: 'bound' },
      ...{ instance: 'kvm1:10055', job: 'vfioscope' },
    });
  });

  it('makes one alert of those of a pair', { timeout: SUITE_MS, skip: skipPair }, async () => {
    const pair = configs.find(({ alerting }) => alerting);
    assert.ok(pair?.global);
    // programs: prometheus-alertmanager
    const alertmanager = await Daemon.start('prometheus-alertmanager', (home) => ({
      'config.file': home.file('config.yml', {
        route: { receiver: 'a' },
        receivers: [{ name: 'a' }],
      }),
      ...{ 'storage.path': `${home.directory}/data`, 'web.listen-address': home.address },
      'cluster.listen-address': '',
    }));
    const rules = { groups: [{ name: 'a', rules: [{ alert: 'Always', expr: 'vector(1)' }] }] };
    // programs: prometheus
    const start = (replica: string) =>
      Daemon.start('prometheus', (home) => ({
        'config.file': home.file('config.yml', {
          global: {
            ...{ evaluation_interval: INTERVAL },
            external_labels: { cluster: 'east', replica },
          },
          rule_files: [home.file('rules.yml', rules)],
          alerting: {
            ...pair.alerting,
            alertmanagers: [{ static_configs: [{ targets: [alertmanager.address] }] }],
          },
        }),
        // The first alert is sent before it has found the Alertmanager.
        'rules.alert.resend-delay': '1s',
        'storage.tsdb.path': `${home.directory}/data`,
        'web.listen-address': home.address,
      }));
    const both = await Promise.all(['a', 'b'].map(start));
    const own = async ({ url }: Daemon) => (await fetch(`${url}/metrics`)).text();
    // Each of them has sent its alert.
    for (const one of both) {
      while (!/^prometheus_notifications_sent_total\{.*\} [1-9]/m.test(await own(one)))
        await setTimeout(100);
    }
    const answer = await fetch(`${alertmanager.url}/api/v2/alerts`);
    const alerts = (await answer.json()) as { labels: object }[];
    for (const one of [...both, alertmanager]) await one.stop();
    assert.deepEqual(
      alerts.map(({ labels }) => labels),
      [{ alertname: 'Always', cluster: 'east' }],
    );
  });

  it('says how many series a host has, within two in a hundred', async () => {
    const counted = (await exportedNames()).length;
    const [, size = ''] = /## The size of a host\n(.*?)\n## /s.exec(text) ?? [];
    const figures = [...size.matchAll(/^\|[^|]*\| \**([\d,]+)\** \|/gm)].map(([, figure]) =>
      Number(figure.replace(',', '')),
    );
    const total = figures.pop() ?? 0;
    assert.equal(
      figures.reduce((sum, one) => sum + one, 0),
      total,
    );
    assert.ok(Math.abs(counted - total) < 0.02 * total, `${counted} series`);
  });

  it('says how many series of a host are federated as they are', async () => {
    const [, number, violations] =
      /(\d+) series as they are, of which `vfioscope_violations_open` has (\d+)/.exec(text) ?? [];
    const federated = (await exportedNames()).filter((name) =>
      FEDERATED.some((known) => known.test(name)),
    );
    const ofViolations = federated.filter((name) => name === 'vfioscope_violations_open');
    assert.deepEqual([federated.length, ofViolations.length], [Number(number), Number(violations)]);
  });

  it('federates every series that the Fleet dashboard reads', () => {
    const { panels = [], annotations, templating } = build(FLEET);
    const expressions = [
      ...panels.flatMap((panel) => ('targets' in panel ? (panel.targets as Dataquery[]) : [])),
      ...(annotations?.list ?? []).map(({ target }) => target as Dataquery),
    ].map(({ expr }) => expr);
    const variables = (templating?.list ?? []).map(({ query }) => `${query}`);
    const read = [...expressions, ...variables].flatMap(
      (one) => one.match(/[\w:]*\bvfioscope_[\w:]+/g) ?? [],
    );
    assert.ok(read.length > 20);
    for (const name of read)
      assert.ok(
        FEDERATED.some((known) => known.test(name)),
        name,
      );
  });

  it('drops the series of single devices and VMs, and no others', () => {
    const [regex] = jobs.flatMap(({ metric_relabel_configs: configs = [] }) => configs);
    const dropped = GROUPS.flatMap(({ perObject, metrics }) =>
      metrics
        .filter(({ name }) => new RegExp(`^(${regex.regex})$`).test(name))
        .map(({ name }) => ({ name, perObject })),
    );
    assert.ok(dropped.length >= 10);
    assert.deepEqual(
      dropped.filter(({ perObject }) => !perObject),
      [],
    );
    const names = dropped.map(({ name }) => name);
    for (const kept of NAMING_SERIES) {
      assert.ok(!names.includes(kept), kept);
    }
  });
});
