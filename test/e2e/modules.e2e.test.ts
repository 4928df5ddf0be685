// SPDX-License-Identifier: Apache-2.0
/** Modules that are loaded after the agent starts, in any order, and unloaded while probes are attached. */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { bootLab, type Vm } from '../lab/lab.ts';
import { Storm } from '../lab/storm.ts';
import { SUITE_MS, VM_MS } from '../until.ts';
import { AgentInVm } from './agent.ts';
import { heldDevices, reportedDevices } from './storms.ts';
import { KERNEL } from './traits.ts';

const MTTY = [['mtty', 'mtty-1']] as const;

/** How often a module is reloaded to see what that costs. */
const CYCLES = Number(process.env.VFIOSCOPE_CYCLES ?? 8);

/** The orders in which modules are loaded; each brings the modules that it depends on. */
const ORDERS: readonly (readonly string[])[] = [
  ['kvm_amd', 'vfio_iommu_type1', 'mdev', 'mtty'],
  ['vfio_iommu_type1', 'kvm_amd', 'mdev', 'mtty'],
  ['vfio_iommu_type1', 'mdev', 'kvm_amd', 'mtty'],
  ['vfio_iommu_type1', 'mdev', 'mtty', 'kvm_amd'],
  ['mdev', 'mtty', 'vfio_iommu_type1', 'kvm_amd'],
  // The driver loads VFIO and mdev, and registers its parent at once.
  ['mtty', 'kvm_amd', 'vfio_iommu_type1'],
];

/** In an order in which none is in use by another. */
const UNLOADED = ['mtty', 'vfio_mdev', 'mdev', 'vfio_iommu_type1', 'kvm_amd'];

interface ApiPoint {
  readonly point: string;
  readonly module: string;
  readonly state: string;
}

describe(`modules that are loaded and unloaded on ${KERNEL}`, { timeout: SUITE_MS }, () => {
  let vm: Vm;
  let agent: AgentInVm;

  before(async () => {
    vm = await bootLab({ kernel: KERNEL, timeoutMs: VM_MS });
    agent = await AgentInVm.start(vm);
  });
  after(async () => {
    await agent?.stop();
    await vm?.close();
  });

  // Also after a test that failed, so that the next one begins without modules.
  afterEach(async () => {
    await vm.sh(`for m in ${UNLOADED.join(' ')}; do modprobe -qr $m; done; true`);
    await agent.until('it has detached', async () => (await points('attached')).length === 0);
  });

  /** Points of modules, by state. */
  async function points(state: string): Promise<readonly string[]> {
    const { points } = await agent.api<{ points: readonly ApiPoint[] }>('/api/v1/probes');
    return points
      .filter((one) => ['kvm', 'mdev', 'vfio'].includes(one.module) && one.state === state)
      .map(({ point }) => point);
  }

  function storm(report: string): Storm {
    const rounds = { workers: 1, rounds: 2, keep: 2, types: MTTY, open: true, kvm: true };
    return new Storm(vm, { ...rounds, report });
  }

  async function expectHeld(one: Storm): Promise<void> {
    await one.holding;
    const held = heldDevices(await one.devices());
    assert.equal(held.length, 2);
    await agent.until(
      'it reports them',
      async () => `${await reportedDevices(agent)}` === `${held}`,
    );
  }

  async function ended(one: Storm): Promise<void> {
    await one.end();
    await agent.until('all are gone', async () => (await reportedDevices(agent)).length === 0);
    await agent.until('all VMs are gone', async () => (await agent.vms()).length === 0);
  }

  /** Files of the agent, of whatever kind. */
  async function descriptors(): Promise<number> {
    return Number(await vm.sh('ls /proc/$(pgrep -f "main[.]js run")/fd | wc -l'));
  }

  it('cost no descriptors when they come and go', async () => {
    await vm.sh('modprobe kvm_amd; modprobe mtty');
    const settled = async () => {
      await agent.until('mdev is watched', async () =>
        (await agent.api<{ points: readonly ApiPoint[] }>('/api/v1/probes')).points.every(
          ({ module, state }) => module !== 'mdev' || state !== 'waiting',
        ),
      );
      await agent.evaluated();
      return descriptors();
    };
    await settled();
    const unregistrations = () =>
      agent.metric('vfioscope_events_total{point="mdev.parent.unregister",phase="end"}');
    const unregistered = await unregistrations();
    const counts: number[] = [];
    for (let i = 0; i < CYCLES; i++) {
      // While probes are attached, the kernel holds the module for a moment: mdev may stay.
      await vm.sh('modprobe -r mtty; modprobe mtty');
      // It looks at modules once a second.
      await agent.evaluated(2);
      counts.push(await settled());
    }
    // Only probes in the module as it was loaded last observe that its parents are unregistered.
    const noticed = (await unregistrations()) - unregistered;
    assert.ok(noticed > CYCLES / 2, `${noticed} of ${CYCLES} reloads were noticed`);
    // While a module comes or goes, some of its functions are missing, which is no failure.
    assert.deepEqual(
      agent.lines.filter(({ event }) => event === 'probes.failed'),
      [],
    );
    // A connection more or less, or a module whose probes are being attached, is not a leak. With one object of
    // each cycle, the least of the later ones would be above all earlier ones.
    const [earlier, later] = [counts.slice(0, CYCLES / 2), counts.slice(CYCLES / 2)];
    assert.ok(Math.min(...later) <= Math.max(...earlier), counts.join());
  });

  for (const [i, order] of ORDERS.entries()) {
    it(`are attached when loaded as ${order.join(', ')}, and detached`, async () => {
      assert.deepEqual(await points('attached'), []);
      const line = agent.lines.length;
      // vfio_mdev is the bridge to VFIO that mdev drivers need on 5.10 only.
      await vm.sh(`for m in ${order.join(' ')}; do modprobe $m; done; modprobe -q vfio_mdev; true`);

      // The storm starts before the agent has attached its probes.
      const early = storm(`/tmp/early${i}`);
      await expectHeld(early);
      await agent.until(
        'all points are attached',
        async () => (await points('waiting')).length === 0,
      );
      assert.deepEqual(await points('failed'), []);
      await agent.logged('snapshot.done', line);
      await ended(early);

      const later = storm(`/tmp/later${i}`);
      await expectHeld(later);
      for (const { id, quality, parent } of await agent.devices()) {
        assert.deepEqual([quality, parent], ['observed', 'mtty'], id);
      }
      await ended(later);

      await vm.sh(
        'modprobe -r mtty && modprobe -r vfio_mdev 2> /dev/null; modprobe -r mdev 2> /dev/null; true',
      );
      await vm.sh('modprobe -r vfio_iommu_type1 && modprobe -r kvm_amd');
      await agent.until(
        'it has detached its probes',
        async () => (await points('attached')).length === 0,
      );
      assert.deepEqual(await agent.hostViolations(), []);
      assert.equal(await agent.metric('vfioscope_events_lost_total'), 0);
    });
  }
});
