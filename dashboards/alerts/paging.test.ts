/** Stories told to the agent's server; what the webhook of a real Alertmanager gets of them. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Served, UUID } from '../../src/http/served.ts';
import { Monitoring } from '../../test/monitoring.ts';
import { ALERTS } from './catalogue.ts';
import { RECORDINGS } from './recording.ts';

/** A minute of the rules in 1.2 s, all of Prometheus's own doing. */
const SCALE = 0.02;

describe('with a real Prometheus and a real Alertmanager', { timeout: 120_000 }, () => {
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

  it('a removal that stalls is told with its device, and cleared when that is released', async () => {
    let end = () => {};
    served.tell((story) => {
      const device = story.create(story.parent({ name: 'gpu0', driver: 'nv' }), { uuid: UUID });
      const open = story.open(device, { vm: story.createVm() });
      const removal = story.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
      story.wait(11);
      end = () => {
        story.close(open);
        story.removeEnds(removal);
      };
    });
    const { labels, annotations } = await monitoring.notice('firing', 'VfioscopeRemovalStalled');
    const { vm, ...others } = labels;
    assert.match(vm, /^vm\d+$/);
    assert.deepEqual(others, {
      ...{ alertname: 'VfioscopeRemovalStalled', severity: 'warning', rule: 'remove-stall' },
      ...{ device: UUID, parent: 'gpu0', instance: target, job: 'vfioscope' },
    });
    assert.equal(annotations.summary, `The removal of ${UUID} on ${target} waits`);
    assert.match(
      annotations.description,
      /held open by qemu \(pid 600\)\. All about it: .*remove-stall/,
    );
    assert.equal(annotations.runbook_url, 'docs/runbooks/VfioscopeRemovalStalled.md');

    const told = monitoring.notices.length;
    served.tell(end);
    const cleared = await monitoring.notice('resolved', 'VfioscopeRemovalStalled', told);
    assert.deepEqual(cleared.labels, labels);
    assert.deepEqual(await monitoring.query('ALERTS{alertname="VfioscopeRemovalStalled"}'), []);
  });

  it('a device torn down under its user is told at once, to whoever is woken', async () => {
    served.tell((story) => {
      const device = story.create(story.parent({ name: 'gpu1', driver: 'nv' }));
      story.open(device, { vm: story.createVm() });
      story.removeEnds(story.removeBegins(device));
    });
    const { labels } = await monitoring.notice('firing', 'VfioscopeMemoryAtRisk');
    assert.deepEqual([labels.severity, labels.instance], ['critical', target]);
  });

  it('events that are lost are told by their reason', async () => {
    served.lost.ring_full += 7;
    const { labels } = await monitoring.notice('firing', 'VfioscopeEventsLost');
    assert.equal(labels.reason, 'ring_full');
  });

  it('every expression can be evaluated, and every sum of a host has a value', async () => {
    served.tell((story) => {
      const parent = story.parent({ name: 'gpu2', driver: 'nv' });
      const device = story.create(parent);
      story.createFails(parent, 28);
      story.open(device, { vm: story.createVm() });
      story.removeBegins(device);
      story.wait(11);
    });
    for (const { expr } of ALERTS) await monitoring.query(expr);
    for (const { record } of RECORDINGS) {
      await monitoring.until(`there is ${record}`, async () => {
        return (await monitoring.query(record)).length > 0;
      });
    }
  });

  it('the agent answers what runbooks ask it', async () => {
    const commands = ALERTS.flatMap(({ runbook }) => runbook.confirm).map(({ command }) => command);
    const asked = commands.flatMap(
      (command) => command.match(/http:\/\/127\.0\.0\.1:10055[^ ']*/) ?? [],
    );
    assert.ok(asked.length > 15);
    for (const url of asked) {
      const { status } = await fetch(url.replace('127.0.0.1:10055', target));
      assert.equal(status, 200, url);
    }
  });

  it('an agent that is gone is told', async () => {
    await served.server.close();
    const { labels } = await monitoring.notice('firing', 'VfioscopeAgentDown');
    assert.equal(labels.instance, target);
  });
});
