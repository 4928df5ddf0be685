// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RECORDINGS } from '../../../dashboards/alerts/recording.ts';
import { Fleet } from './fleet.ts';
import { bytesOfSeries, type Head } from './head.ts';
import { LIFETIME, SimulatedHost, VIOLATION_INTERVAL } from './host.ts';
import { fleetQueries, raw } from './queries.ts';

const DEVICES = 20;

describe('a simulated fleet', { timeout: 300_000 }, () => {
  it('answers a scrape of each of its agents', async () => {
    const fleet = await Fleet.start(2, DEVICES);
    try {
      const seen = new Set<string>();
      for (const { address, labels } of fleet.targets) {
        const response = await fetch(`http://${address}/metrics`);
        assert.equal(response.status, 200);
        const devices = [
          ...(await response.text()).matchAll(/^vfioscope_device_info\{device="(.+?)"/gm),
        ];
        assert.equal(devices.length, DEVICES);
        for (const [, device] of devices) seen.add(device);
        seen.add(`${labels?.instance}`);
      }
      // No device and no host appears twice.
      assert.equal(seen.size, 2 * (DEVICES + 1));
    } finally {
      fleet.stop();
    }
  });

  it('creates and removes devices, and raises and resolves violations', async () => {
    const host = new SimulatedHost(DEVICES, 1);
    const { served } = host;
    const first = new Set(served.world.devices.names());
    for (let second = 0; second < LIFETIME; second++) host.beat();
    const left = [...served.world.devices.names()].filter((name) => first.has(name));
    // After one mean lifetime about a third of the initial devices is left.
    assert.ok(left.length > 0 && left.length < DEVICES * 0.8, `${left.length}`);
    assert.equal(served.world.devices.size, DEVICES);
    const { 'rule="remove-stall",severity="warning"': stalls } = await served.series(
      'vfioscope_violations_total',
    );
    assert.ok(stalls > 0 && stalls < (3 * LIFETIME) / VIOLATION_INTERVAL, `${stalls}`);
    assert.equal(served.world.isUnverified, false);
  });

  it('dates what happens by the clock of its databases when its time is compressed', async () => {
    const host = new SimulatedHost(DEVICES, 1, 15);
    const began = Date.now() / 1000;
    for (let second = 0; second < 150; second++) host.beat();
    const at = Object.values(
      await host.served.series('vfioscope_device_created_timestamp_seconds'),
    );
    assert.ok(at.length >= DEVICES);
    // All were created when the host was, or in the ten seconds into which these beats were compressed.
    for (const one of at) assert.ok(one > began - 60 && one < began + 11, `${one - began}`);
  });
});

describe('the memory of series', () => {
  const head = { live: 1000, resident: 0, blocks: 0 };
  const before: Head = { ...head, past: 900, heap: 10e6 };
  const after: Head = { ...head, past: 100, heap: 8e6, blocks: 1 };

  it('is that which a block has freed for those of the past, and the rest for the live ones', () => {
    assert.deepEqual(bytesOfSeries({ before, after }, 2e6), { live: 5750, past: 2500 });
  });

  it('is not known when a block has freed nothing', () => {
    assert.equal(bytesOfSeries({ before: after, after: before }, 2e6), undefined);
  });
});

describe('the queries that are compared', () => {
  const queries = fleetQueries(3600, 15);

  it('are those of the dashboard, of which some are recorded', () => {
    const recorded = queries.filter(({ expr }) => raw(expr) !== expr);
    assert.ok(recorded.length > 5 && recorded.length < queries.length);
    assert.deepEqual(
      queries.filter(({ expr }) => expr.includes('$')),
      [],
    );
  });

  it('read no recorded series in their variant without recording rules', () => {
    for (const { expr } of queries) {
      for (const { record } of RECORDINGS) assert.ok(!raw(expr).includes(record), raw(expr));
    }
  });

  it('compute the recorded expressions themselves in that variant', () => {
    assert.equal(
      raw('sum(state:vfioscope_devices:sum{a="1"})'),
      'sum((sum without (parent, mdev_type) (vfioscope_devices{a="1"})))',
    );
    assert.equal(
      raw('increase(instance:vfioscope_events_lost_total:sum{a="1"}[1h])'),
      'sum without (reason) (increase(vfioscope_events_lost_total{a="1"}[1h]))',
    );
    assert.equal(
      raw('max_over_time(rule_severity:vfioscope_violations:increase2m{a="1"}[1m])'),
      'increase(vfioscope_violations_total{a="1"}[2m]) > 0',
    );
  });
});
