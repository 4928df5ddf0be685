// SPDX-License-Identifier: Apache-2.0
/** Modules that come after the agent, in any order, and go again while it watches them. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { bootLab, type Vm } from '../lab/lab.ts';
import { Storm } from '../lab/storm.ts';
import { AgentInVm } from './agent.ts';
import { heldDevices, seenDevices } from './storms.ts';
import { KERNEL } from './traits.ts';

const MTTY = [['mtty', 'mtty-1']] as const;

/** What is loaded one after the other; modules come with what they depend on. */
const ORDERS: readonly (readonly string[])[] = [
  ['kvm_amd', 'vfio_iommu_type1', 'mdev', 'mtty'],
  ['vfio_iommu_type1', 'kvm_amd', 'mdev', 'mtty'],
  ['vfio_iommu_type1', 'mdev', 'kvm_amd', 'mtty'],
  ['vfio_iommu_type1', 'mdev', 'mtty', 'kvm_amd'],
  ['mdev', 'mtty', 'vfio_iommu_type1', 'kvm_amd'],
  // The driver brings VFIO and mdev, and registers its parent at once.
  ['mtty', 'kvm_amd', 'vfio_iommu_type1'],
];

interface WatchedPoint {
  readonly point: string;
  readonly module: string;
  readonly state: string;
}

describe(`modules that come and go on ${KERNEL}`, { timeout: 400_000 }, () => {
  let vm: Vm;
  let agent: AgentInVm;

  before(async () => {
    vm = await bootLab({ kernel: KERNEL, timeoutMs: 390_000 });
    agent = await AgentInVm.start(vm);
  });
  after(async () => {
    await agent?.stop();
    await vm?.close();
  });

  /** Points of modules, by state. */
  async function points(state: string): Promise<readonly string[]> {
    const { points } = await agent.api<{ points: readonly WatchedPoint[] }>('/api/v1/probes');
    return points
      .filter((one) => ['kvm', 'mdev', 'vfio'].includes(one.module) && one.state === state)
      .map(({ point }) => point);
  }

  function storm(report: string): Storm {
    const rounds = { workers: 1, rounds: 2, keep: 2, types: MTTY, open: true, kvm: true };
    return new Storm(vm, { ...rounds, report });
  }

  async function heldAsSeen(one: Storm): Promise<void> {
    await one.holding;
    const held = heldDevices(await one.lives());
    assert.equal(held.length, 2);
    await agent.until('it knows them', async () => `${await seenDevices(agent)}` === `${held}`);
  }

  async function ended(one: Storm): Promise<void> {
    await one.end();
    await agent.until('all are gone', async () => (await seenDevices(agent)).length === 0);
    await agent.until('all VMs are gone', async () => (await agent.vms()).length === 0);
  }

  for (const [i, order] of ORDERS.entries()) {
    it(`are watched when they come as ${order.join(', ')}, and let go`, async () => {
      assert.deepEqual(await points('attached'), []);
      const line = agent.lines.length;
      // The bridge to VFIO that drivers of mdevs need on 5.10 alone.
      await vm.sh(`for m in ${order.join(' ')}; do modprobe $m; done; modprobe -q vfio_mdev; true`);

      // Nobody waits for the agent.
      const early = storm(`/tmp/early${i}`);
      await heldAsSeen(early);
      await agent.until('all is watched', async () => (await points('waiting')).length === 0);
      assert.deepEqual(await points('failed'), []);
      await agent.said('host.looked', line);
      await ended(early);

      const later = storm(`/tmp/later${i}`);
      await heldAsSeen(later);
      for (const { id, quality, parent } of await agent.devices()) {
        assert.deepEqual([quality, parent], ['observed', 'mtty'], id);
      }
      await ended(later);

      await vm.sh(
        'modprobe -r mtty && modprobe -r vfio_mdev 2> /dev/null; modprobe -r mdev 2> /dev/null; true',
      );
      await vm.sh('modprobe -r vfio_iommu_type1 && modprobe -r kvm_amd');
      await agent.until('it let them go', async () => (await points('attached')).length === 0);
      assert.deepEqual(await agent.accusations(), []);
      assert.equal(await agent.metric('vfioscope_events_lost_total'), 0);
    });
  }
});
