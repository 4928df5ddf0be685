// SPDX-License-Identifier: Apache-2.0
/** From a removal that stalls in the kernel to the notice of its alert, by a real Prometheus and Alertmanager. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Panel } from '@grafana/grafana-foundation-sdk/dashboard';
import { build } from '../../dashboards/board.ts';
import { BOARDS } from '../../dashboards/catalogue.ts';
import { PanelReader, panelsOf } from '../../dashboards/panel-queries.ts';
import { Monitoring } from '../monitoring.ts';
import { SUITE_MS, VM_MS } from '../until.ts';
import { LabSession } from './lab-session.ts';
import { STEPS } from './steps.ts';
import { KERNEL } from './traits.ts';

/** A minute of the rules in 0.6 s. */
const SCALE = 0.01;

/** The alerts that the steps of the end-to-end scenario lead to, without those of severity info. */
const SCENARIO_ALERTS = [
  'VfioscopeDeviceLeaked',
  'VfioscopeOpenRefused',
  'VfioscopeRemovalMishandled',
  'VfioscopeUuidConflict',
];

/** Alerts about states that the same steps pass through: the slower the machine, the longer they last. */
const PASSING_ALERTS = ['VfioscopeRemovalStalled', 'VfioscopeZombieVms'];

/** It shows what Prometheus knows of scrapes that failed. */
const UNREACHABLE = 'fleet: Unreachable hosts';

/** Panels that these steps leave empty; dashboards/simulated-hosts.ts fills all of them. */
const EMPTY_HERE: Readonly<Record<string, string>> = {
  [UNREACHABLE]: 'the only host answers',
  'fleet: Hosts with probe points that failed': 'all is watched',
  'fleet: Hosts that lose events': 'nothing is lost',
  'agent: Events lost': 'nothing is lost',
  'agent: Probe points that are not attached': 'all is watched',
  'agent: Inactive rules': 'all is watched',
  'agent: Calls missed by probes': 'nothing is missed',
  'agent: Suppressed violations': 'all lifecycles were observed completely',
  'agent: Objects without series': 'there are few',
};

const PANELS = BOARDS.flatMap((board) =>
  panelsOf(build(board)).map((panel) => ({ name: `${board.name}: ${panel.title}`, panel })),
);
/** A rate needs two of them. */
const SCRAPES = 4;

describe(`alerts about a real ${KERNEL} kernel`, { timeout: SUITE_MS }, () => {
  let session: LabSession;
  let monitoring: Monitoring;
  let target: string;

  /** The names without that of an agent that was too slow for a scrape, where Prometheus knows of one. */
  const beside = async (names: readonly string[]) => {
    const isSlow = await monitoring.hasMissedScrapes();
    return names.filter((name) => !isSlow || name !== 'VfioscopeAgentDown').sort();
  };
  const firing = async () => {
    const found = await monitoring.query('ALERTS{alertstate="firing"}');
    return beside(found.map(({ labels }) => `${labels.alertname} ${labels.rule ?? ''}`.trim()));
  };

  /** Waits until these fire and no others: a scrape that failed clears them for a moment. */
  const onlyFiring = async (...expected: readonly string[]) => {
    let found: readonly string[] = [];
    const isSo = async () => {
      found = await firing();
      return `${found}` === `${expected}`;
    };
    await monitoring
      .until(`[${expected}] and no other alert fires`, isSo)
      .catch(({ message }: Error) => assert.fail(`${message}; firing: [${found}]`));
  };

  const filled = new Set<Panel>();
  /** Notes which panels have something to show, with this device and a zombie VM, or else the VM of the device, in view. */
  const readDashboards = async (device: string) => {
    let vm = '';
    await monitoring.until('a VM is known', async () => {
      const [zombie] = await monitoring.query('vfioscope_vm_state{state="zombie"}');
      const [assigned] = await monitoring.query(`vfioscope_device_vm_info{device="${device}"}`);
      vm = (zombie ?? assigned)?.labels.vm ?? '';
      return vm !== '';
    });
    const selection = { host: target, device, vm };
    const reader = new PanelReader(monitoring.prometheus, selection, monitoring.scrapeSeconds);
    const enough = (await monitoring.scrapes()) + SCRAPES;
    await monitoring.until('graphs have enough to show', async () => {
      const isEnough = (await monitoring.scrapes()) >= enough;
      for (const { panel } of PANELS) {
        if (!filled.has(panel) && (await reader.hasData(panel))) filled.add(panel);
      }
      return isEnough;
    });
  };

  before(async () => {
    session = await LabSession.open({
      kernel: KERNEL,
      timeoutMs: VM_MS,
      logFormat: 'json',
      onAgentOutput: () => {},
    });
    target = session.url.slice('http://'.length);
    monitoring = await Monitoring.start(target, SCALE);
  });
  after(async () => {
    await monitoring?.close();
    await session?.close();
  });

  it('does not fire for a device that is created, used and removed', async () => {
    const first = await session.create('mtty');
    const vmm = session.vmm('qemu-correct');
    await session.start(vmm, 'a', first);
    await readDashboards(first.uuid);
    await vmm.command('stop a');
    await vmm.command('quit');
    await session.remove(first);
    // Longer than any alert on the host would wait, but for those that take half an hour.
    await monitoring.evaluated(10);
    assert.deepEqual(await firing(), []);
    assert.deepEqual(await beside(monitoring.notices.map(({ labels }) => labels.alertname)), []);
  });

  it('fires for a removal that stalls, and clears when the device is released', async () => {
    const object = await session.create('mtty');
    const vmm = session.vmm('qemu-busy');
    await session.start(vmm, 'a', object);
    const removal = session.removeInBackground(object);
    const { labels, annotations } = await monitoring.notice('firing', 'VfioscopeRemovalStalled');
    assert.deepEqual(labels, {
      ...{ alertname: 'VfioscopeRemovalStalled', severity: 'warning', rule: 'remove-stall' },
      ...{ device: object.uuid, parent: 'mtty', instance: target, job: 'vfioscope' },
    });
    assert.match(annotations.description, /held open by qemu-busy \(pid \d+/);
    // The agent itself serves the runbook.
    const page = await fetch(annotations.runbook_url);
    assert.equal(page.status, 200);
    assert.match(await page.text(), /<code>remove-stall<\/code>/);
    await onlyFiring('VfioscopeRemovalStalled remove-stall');

    await readDashboards(object.uuid);

    const earlier = monitoring.notices.length;
    await vmm.command('close a.device');
    await vmm.command('quit');
    await removal;
    const cleared = await monitoring.notice('resolved', 'VfioscopeRemovalStalled', earlier);
    assert.deepEqual(cleared.labels, labels);
    await onlyFiring();
  });

  it('fires for every ordering violation that user space can cause, and for nothing else', async () => {
    const earlier = monitoring.notices.length;
    const unload = STEPS.at(-1);
    for (const step of STEPS.slice(0, -1)) await step.run(session);
    for (const name of SCENARIO_ALERTS) await monitoring.notice('firing', name, earlier);
    const names = new Set(monitoring.notices.slice(earlier).map(({ labels }) => labels.alertname));
    for (const name of PASSING_ALERTS) names.delete(name);
    assert.deepEqual(await beside([...names]), SCENARIO_ALERTS);
    // What could not be removed goes with its driver.
    const object = await session.create('mtty');
    const vmm = session.vmm('qemu-released');
    await session.start(vmm, 'a', object);
    await vmm.command('kvmvfio del a.kvmvfio a.group');
    for (const file of ['a.kvmvfio', 'a.vcpu', 'a.vm']) await vmm.command(`close ${file}`);
    await monitoring.until('it is released', async () => {
      const [released] = await monitoring.query('vfioscope_vm_fd_closed_timestamp_seconds');
      return released !== undefined;
    });
    await readDashboards(object.uuid);
    await vmm.command('quit');
    await unload?.run(session);
    await monitoring.notice('resolved', 'VfioscopeDeviceLeaked', earlier);
  });

  it('fills each panel of each dashboard that is about what happened', async () => {
    const empty = PANELS.filter(({ panel }) => !filled.has(panel)).map(({ name }) => name);
    const expected = new Set(Object.keys(EMPTY_HERE));
    // The agent of a busy machine may have missed a scrape, which a reading of the panel met or did not.
    if ((await monitoring.hasMissedScrapes()) && !empty.includes(UNREACHABLE))
      expected.delete(UNREACHABLE);
    assert.deepEqual(new Set(empty), expected);
  });
});
