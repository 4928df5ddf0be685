/** Which notifications the webhook of a real Alertmanager receives about the scenarios that an agent observes. */
import assert from 'node:assert/strict';
import { needing } from '../../test/kit/needs.ts';
import { Served, UUID } from '../../test/kit/served.ts';
import { Monitoring } from '../../test/monitoring.ts';
import { SUITE_MS } from '../../test/until.ts';
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
        kernel: [6, 12],
        pidsWithKvmFiles: () => undefined,
        availableInstances: () => new Map([['mtty-1', 3]]),
      },
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
    const { vm, ...others } = labels;
    assert.match(vm, /^vm\d+$/);
    assert.deepEqual(others, {
      ...{ alertname: 'VfioscopeRemovalStalled', severity: 'warning', rule: 'remove-stall' },
      ...{ device: UUID, parent: 'gpu0', instance: target, job: 'vfioscope' },
    });
    assert.equal(
      annotations.summary,
      `The removal of ${UUID} on ${target} is waiting for its users`,
    );
    assert.match(
      annotations.description,
      /held open by qemu \(pid 600\)\. Evidence: GET .*rule=remove-stall/,
    );
    assert.equal(annotations.runbook_url, 'docs/runbooks/VfioscopeRemovalStalled.md');

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
  });

  it('notify of lost events with their reason', async () => {
    served.lost.ring_full += 7;
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
    for (const { expr } of ALERTS) await monitoring.query(expr);
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
});
