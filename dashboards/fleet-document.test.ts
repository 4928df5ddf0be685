/** The settings that docs/fleet.md shows. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import type { Dataquery } from '@grafana/grafana-foundation-sdk/prometheus';
import { parse } from 'yaml';
import { Served } from '../src/http/served.ts';
import { GROUPS } from '../src/telemetry/metrics/catalogue.ts';
import { Daemon } from '../test/daemon.ts';
import { TimeSeries } from '../test/time-series.ts';
import { alertRules, recordingRules } from './alerts/files.ts';
import { build } from './board.ts';
import { FLEET } from './boards/fleet.ts';

interface Settings {
  readonly scrape_configs: readonly {
    readonly metrics_path?: string;
    readonly params?: { readonly 'match[]': readonly string[] };
    readonly metric_relabel_configs?: readonly { readonly regex: string }[];
  }[];
}

/** A minute of the recording rules in half a second. */
const SCALE = 1 / 120;
const EVERY = '500ms';

const text = readFileSync(new URL('../docs/fleet.md', import.meta.url), 'utf8');
const blocks = [...text.matchAll(/```yaml\n(# prometheus\.yml.*?)```/gs)].map(([, block]) => block);
const jobs = blocks.flatMap((block) => (parse(block) as Settings).scrape_configs);

describe('the settings that docs/fleet.md shows', () => {
  it('are taken by Prometheus', () => {
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

  it('lead what is recorded in a shard to the Prometheus above, as it is', {
    timeout: 60_000,
  }, async () => {
    const served = new Served();
    served.tell((story) => story.create(story.parent()));
    const address = (await served.server.listen({ host: '127.0.0.1', port: 0 })).slice(7);
    const rules = { files: { 'recording.yml': recordingRules(SCALE) }, every: EVERY };
    const target = { address, labels: { instance: 'kvm1:10055' } };
    const shard = await TimeSeries.prometheus([target], EVERY, { rules });
    const federation = jobs.find(({ params }) => params);
    const above = await Daemon.start('prometheus', (home) => ({
      'config.file': home.file('config.yml', {
        scrape_configs: [
          {
            ...federation,
            ...{ scrape_interval: EVERY, scrape_timeout: EVERY },
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
      const answer = await (await fetch(`${above.url}/api/v1/query?${query}`)).json();
      found = (answer as { data: { result: typeof found } }).data.result;
    }
    await above.stop();
    await shard.stop();
    await served.server.close();
    const [{ metric, value }] = found;
    assert.equal(value[1], '1');
    assert.deepEqual(metric, {
      ...{ __name__: 'state:vfioscope_devices:sum', state: 'bound' },
      ...{ instance: 'kvm1:10055', job: 'vfioscope' },
    });
  });

  it('federate everything that the Fleet dashboard reads', () => {
    const selectors = jobs.find(({ params }) => params)?.params?.['match[]'] ?? [];
    const names = selectors.map((selector) => new RegExp(`^${/"(.+)"/.exec(selector)?.[1]}$`));
    const { panels = [], annotations, templating } = build(FLEET);
    const asked = [
      ...panels.flatMap((panel) => ('targets' in panel ? (panel.targets as Dataquery[]) : [])),
      ...(annotations?.list ?? []).map(({ target }) => target as Dataquery),
    ].map(({ expr }) => expr);
    const chosen = (templating?.list ?? []).map(({ query }) => `${query}`);
    const read = [...asked, ...chosen].flatMap(
      (one) => one.match(/[\w:]*\bvfioscope_[\w:]+/g) ?? [],
    );
    assert.ok(read.length > 20);
    for (const name of read)
      assert.ok(
        names.some((known) => known.test(name)),
        name,
      );
  });

  it('throw away the series of single devices and VMs, and no others', () => {
    const [regex] = jobs.flatMap(({ metric_relabel_configs: configs = [] }) => configs);
    const dropped = GROUPS.flatMap(({ perLife, metrics }) =>
      metrics
        .filter(({ name }) => new RegExp(`^(${regex.regex})$`).test(name))
        .map(({ name }) => ({ name, perLife })),
    );
    assert.ok(dropped.length >= 10);
    assert.deepEqual(
      dropped.filter(({ perLife }) => !perLife),
      [],
    );
    // What names the device of an alert, and who holds it, stays.
    const names = dropped.map(({ name }) => name);
    for (const kept of ['vfioscope_violation_info', 'vfioscope_device_holder_info']) {
      assert.ok(!names.includes(kept), kept);
    }
  });
});
