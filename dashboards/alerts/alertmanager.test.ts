/** Which notifications the webhook of a real Alertmanager receives about the scenarios that an agent observes. */
import assert from 'node:assert/strict';
import { LINUX_6_12 } from '../../src/scenario/kernels.ts';
import { needing } from '../../test/kit/needs.ts';
import { Served, UUID } from '../../test/kit/served.ts';
import { Monitoring } from '../../test/monitoring.ts';
import { SUITE_MS } from '../../test/until.ts';
import { rendered } from '../mixin/rendered.ts';
import { DEFAULT_SETTINGS } from '../mixin/settings.ts';
import { ALERTS } from './catalogue.ts';
import { RECORDINGS } from './recording.ts';

const { after, before, describe, it } = needing('prometheus', 'prometheus-alertmanager');

/** A `for` of one minute takes 1.2 s. */
const SCALE = 0.02;

describe('with a real Prometheus and a real Alertmanager', { timeout: SUITE_MS }, () => {
  let served: Served;
  let monitoring: Monitoring;
  let target: string;

  before(async () => {
    served = new Served({
      host: {
        traits: LINUX_6_12,
        pidsWithKvmFiles: () => undefined,
        availableInstances: () => new Map([['mtty-1', 3]]),
      },
      // Alerts compare with the time of Prometheus.
      source: { sinceEpoch: () => Date.now() / 1000 },
    });
    target = (await served.server.listen({ host: '127.0.0.1', port: 0 })).slice(7);
    monitoring = await Monitoring.start(target, SCALE);
  });
  after(async () => {
    await monitoring?.close();
    await served?.server.close();
  });

  it('notify of a stalled removal with its device, and of its end when the device is released', async () => {
    let end = () => {};
    served.run((scenario) => {
      const device = scenario.create(scenario.parent({ name: 'gpu0', driver: 'nv' }), {
        uuid: UUID,
      });
      const open = scenario.open(device, { vm: scenario.createVm() });
      const removal = scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
      scenario.wait(11);
      end = () => {
        scenario.close(open);
        scenario.removeEnds(removal);
      };
    });
    const { labels, annotations } = await monitoring.notice('firing', 'VfioscopeRemovalStalled');
    assert.deepEqual(labels, {
      ...{ alertname: 'VfioscopeRemovalStalled', severity: 'warning', rule: 'remove-stall' },
      ...{ device: UUID, parent: 'gpu0', instance: target, job: 'vfioscope' },
    });
    assert.equal(annotations.summary, `The removal of ${UUID} on ${target} does not return`);
    assert.match(
      annotations.description,
      /held open by qemu \(pid 600\)\. VM: qemu \(pid 600\)\. Evidence: GET .*rule=remove-stall/,
    );
    assert.equal(annotations.runbook_url, `http://${target}/docs/runbooks/VfioscopeRemovalStalled`);

    const alreadySent = monitoring.notices.length;
    served.run(end);
    const cleared = await monitoring.notice('resolved', 'VfioscopeRemovalStalled', alreadySent);
    assert.deepEqual(cleared.labels, labels);
    assert.deepEqual(await monitoring.query('ALERTS{alertname="VfioscopeRemovalStalled"}'), []);
  });

  it('page immediately when a device is torn down while a process has it open', async () => {
    served.run((scenario) => {
      const device = scenario.create(scenario.parent({ name: 'gpu1', driver: 'nv' }));
      scenario.open(device, { vm: scenario.createVm() });
      scenario.removeEnds(scenario.removeBegins(device));
    });
    const { labels } = await monitoring.notice('firing', 'VfioscopeMemoryAtRisk');
    assert.deepEqual([labels.severity, labels.instance], ['critical', target]);
    assert.deepEqual([labels.parent, labels.vm_comm, labels.holder_comm], ['gpu1', 'qemu', 'qemu']);
    assert.match(labels.device, /^[0-9a-f-]{36}$/);
  });

  it('notify of lost events with their reason', async () => {
    served.lost.ring_full += 7;
    served.metrics.loss('ring_full');
    const { labels } = await monitoring.notice('firing', 'VfioscopeEventsLost');
    assert.equal(labels.reason, 'ring_full');
  });

  it('evaluate every expression, and record a value for every sum', async () => {
    served.run((scenario) => {
      const parent = scenario.parent({ name: 'gpu2', driver: 'nv' });
      const device = scenario.create(parent);
      scenario.createFails(parent, 28);
      scenario.open(device, { vm: scenario.createVm() });
      scenario.removeBegins(device);
      scenario.wait(11);
    });
    for (const { expr } of ALERTS) await monitoring.query(rendered(expr, DEFAULT_SETTINGS));
    for (const { record } of RECORDINGS) {
      await monitoring.until(`${record} has a value`, async () => {
        return (await monitoring.query(record)).length > 0;
      });
    }
  });

  it('can run every API request of the runbooks against the agent', async () => {
    const commands = ALERTS.flatMap(({ runbook }) => runbook.confirm).map(({ command }) => command);
    const requested = commands.flatMap(
      (command) => command.match(/http:\/\/127\.0\.0\.1:10055[^ ']*/) ?? [],
    );
    assert.ok(requested.length > 15);
    for (const url of requested) {
      const { status } = await fetch(url.replace('127.0.0.1:10055', target));
      assert.equal(status, 200, url);
    }
  });

  it('notify of an agent that cannot be scraped', async () => {
    await served.server.close();
    const { labels } = await monitoring.notice('firing', 'VfioscopeAgentDown');
    assert.equal(labels.instance, target);
  });

  it('do not notify of warnings about a device that somebody is paged for, and of all others', async () => {
    const host = { instance: 'other:10055', cluster: 'east', job: 'vfioscope' };
    const alert = (alertname: string, severity: string, more: object = {}) => ({
      labels: { alertname, severity, ...host, ...more },
    });
    const device = { device: UUID, parent: 'gpu0' };
    const alerts = [
      alert('VfioscopeMemoryAtRisk', 'critical', { rule: 'removed-while-open', ...device }),
      alert('VfioscopeMemoryAtRisk', 'critical', { rule: 'kvm-ref-underflow' }),
      alert('VfioscopeDeviceLeaked', 'warning', { rule: 'release-wait-stall', ...device }),
      alert('VfioscopeRemovalStalled', 'warning', { rule: 'remove-stall', device: 'another' }),
      alert('VfioscopeOpenRefused', 'warning', { rule: 'open-failed' }),
      alert('VfioscopeDeviceRefused', 'warning', { rule: 'create-failed' }),
      alert('VfioscopeFleetViolation', 'critical', { rule: 'create-failed' }),
      ...ALERTS.filter(
        ({ name, runbook }) => !runbook.rules && name !== 'VfioscopeFleetViolation',
      ).map(({ name, severity }) => alert(name, severity)),
    ];
    const { ok } = await fetch(`${monitoring.alertmanager}/api/v2/alerts`, {
      ...{ method: 'POST', headers: { 'content-type': 'application/json' } },
      body: JSON.stringify(alerts),
    });
    assert.ok(ok);
    const inhibited = async () => {
      const answer = await fetch(`${monitoring.alertmanager}/api/v2/alerts?filter=cluster="east"`);
      const all = (await answer.json()) as {
        labels: Record<string, string>;
        status: { inhibitedBy: string[] };
      }[];
      assert.equal(all.length, alerts.length);
      return all
        .filter(({ status }) => status.inhibitedBy.length > 0)
        .map(({ labels }) => labels.alertname)
        .sort();
    };
    await monitoring.until(
      'Alertmanager has inhibited',
      async () => (await inhibited()).length > 1,
    );
    assert.deepEqual(await inhibited(), ['VfioscopeDeviceLeaked', 'VfioscopeDeviceRefused']);
  });
});
