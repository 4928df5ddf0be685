// SPDX-License-Identifier: Apache-2.0
/** From a removal that stalls in the kernel to whoever is told of it, by a real Prometheus and Alertmanager. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Panel } from '@grafana/grafana-foundation-sdk/dashboard';
import { panelsOf, Reader } from '../../dashboards/asking.ts';
import { build } from '../../dashboards/board.ts';
import { BOARDS } from '../../dashboards/catalogue.ts';
import { Monitoring } from '../monitoring.ts';
import { ACTS } from './acts.ts';
import { Stage } from './stage.ts';
import { KERNEL } from './traits.ts';

/** A minute of the rules in 0.6 s. */
const SCALE = 0.01;

/** Alerts that the acts of the end-to-end test lead to: the others of them are notices. */
const WRONG_ORDERS = [
  'VfioscopeDeviceLeaked',
  'VfioscopeOpenRefused',
  'VfioscopeRemovalMishandled',
  'VfioscopeUuidConflict',
];

/** Panels that show what these acts do not lead to; dashboards/scene.ts has it all. */
const EMPTY_HERE: Readonly<Record<string, string>> = {
  'fleet: Silent hosts': 'the only host answers',
  'fleet: Blind hosts': 'all is watched, and nothing is lost',
  'fleet: Hosts with unwatched points': 'all is watched',
  'fleet: Hosts that lose events': 'nothing is lost',
  'host: Parents that are withdrawn': 'drivers are unloaded at the end, in no time',
  'agent: Points not watched': 'all is watched',
  'agent: Events lost': 'nothing is lost',
  'agent: Points that are not watched': 'all is watched',
  'agent: Rules that do not judge': 'all is watched',
  'agent: Calls that probes missed': 'nothing is missed',
  'agent: Findings held back': 'all lives were seen whole',
  'agent: Without series of their own': 'there are few',
};

const PANELS = BOARDS.flatMap((board) =>
  panelsOf(build(board)).map((panel) => ({ name: `${board.name}: ${panel.title}`, panel })),
);
/** Seconds that graphs show. */
const SHOWN = 20;

describe(`alerts about a real ${KERNEL} kernel`, { timeout: 240_000 }, () => {
  let stage: Stage;
  let monitoring: Monitoring;
  let target: string;

  const firing = async () => {
    const found = await monitoring.query('ALERTS{alertstate="firing"}');
    return found.map(({ labels }) => `${labels.alertname} ${labels.rule ?? ''}`.trim()).sort();
  };

  const filled = new Set<Panel>();
  /** Notes which panels have something to show, with this device in view. */
  const readDashboards = async (device: string) => {
    const reader = new Reader(monitoring.prometheus, device, SHOWN);
    for (const { panel } of PANELS) if (await reader.fills(panel)) filled.add(panel);
  };

  before(async () => {
    stage = await Stage.open({
      kernel: KERNEL,
      timeoutMs: 220_000,
      logFormat: 'json',
      onAgentOutput: () => {},
    });
    target = stage.url.slice('http://'.length);
    monitoring = await Monitoring.start(target, SCALE);
  });
  after(async () => {
    await monitoring?.close();
    await stage?.close();
  });

  it('says nothing of a device that is created, used and removed', async () => {
    const first = await stage.create('mtty');
    const vmm = stage.vmm('qemu-calm');
    await stage.start(vmm, 'a', first);
    await readDashboards(first.uuid);
    await vmm.order('stop a');
    await vmm.order('quit');
    await stage.remove(first);
    // Longer than any alert on the host would wait, but for those that take half an hour.
    await new Promise((resolve) => setTimeout(resolve, 10_000));
    assert.deepEqual(await firing(), []);
    assert.deepEqual(monitoring.notices, []);
  });

  it('tells of a removal that stalls, and clears when the device is released', async () => {
    const life = await stage.create('mtty');
    const vmm = stage.vmm('qemu-busy');
    await stage.start(vmm, 'a', life);
    const removal = stage.removeInBackground(life);
    const { labels, annotations } = await monitoring.notice('firing', 'VfioscopeRemovalStalled');
    const { vm, ...others } = labels;
    assert.match(vm, /^vm\d+$/);
    assert.deepEqual(others, {
      ...{ alertname: 'VfioscopeRemovalStalled', severity: 'warning', rule: 'remove-stall' },
      ...{ device: life.uuid, parent: 'mtty', instance: target, job: 'vfioscope' },
    });
    assert.match(annotations.description, /held open by qemu-busy \(pid \d+/);
    assert.deepEqual(await firing(), ['VfioscopeRemovalStalled remove-stall']);

    await readDashboards(life.uuid);

    const told = monitoring.notices.length;
    await vmm.order('close a.device');
    await vmm.order('quit');
    await removal;
    const cleared = await monitoring.notice('resolved', 'VfioscopeRemovalStalled', told);
    assert.deepEqual(cleared.labels, labels);
    assert.deepEqual(await firing(), []);
  });

  it('tells of every wrong order that user space can cause, and of nothing else', async () => {
    const told = monitoring.notices.length;
    const unload = ACTS.at(-1);
    for (const act of ACTS.slice(0, -1)) await act.play(stage);
    for (const name of WRONG_ORDERS) await monitoring.notice('firing', name, told);
    const names = new Set(monitoring.notices.slice(told).map(({ labels }) => labels.alertname));
    // Its stall is so short that it may end before anybody is told.
    names.delete('VfioscopeRemovalStalled');
    assert.deepEqual([...names].sort(), WRONG_ORDERS);
    // What could not be removed goes with its driver.
    const life = await stage.create('mtty');
    const vmm = stage.vmm('qemu-released');
    await stage.start(vmm, 'a', life);
    await vmm.order('kvmvfio del a.kvmvfio a.group');
    for (const file of ['a.kvmvfio', 'a.vcpu', 'a.vm']) await vmm.order(`close ${file}`);
    await monitoring.until('it is released', async () => {
      const [released] = await monitoring.query('vfioscope_vm_fd_closed_timestamp_seconds');
      return released !== undefined;
    });
    await readDashboards(life.uuid);
    await vmm.order('quit');
    await unload?.play(stage);
    await monitoring.notice('resolved', 'VfioscopeDeviceLeaked', told);
  });

  it('fills each panel of each dashboard that is about what happened', () => {
    const empty = PANELS.filter(({ panel }) => !filled.has(panel)).map(({ name }) => name);
    assert.deepEqual(new Set(empty), new Set(Object.keys(EMPTY_HERE)));
  });
});
