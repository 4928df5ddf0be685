// SPDX-License-Identifier: Apache-2.0
/**
 * Without module BTF, structures of modules are read at fixed offsets. On a kernel with other offsets
 * the agent must not report invented objects: it refuses and counts each.
 */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { bootLab, type Vm } from '../lab/lab.ts';
import { Storm } from '../lab/storm.ts';
import { SUITE_MS, VM_MS } from '../until.ts';
import { AgentInVm } from './agent.ts';
import { clearAway, loadModules, TYPES } from './storms.ts';
import { KERNEL } from './traits.ts';
import { buildProbes, copyAgent } from './variant.ts';

const BUILT = 'dist/misplaced';

/** Offsets that no kernel has: a machine word further than in bpf/layout.h. */
const MISPLACED = [
  ['dev = pointer_at(vdev, 0);', 'dev = pointer_at(vdev, 8);'],
  ['dev = pointer_at(parent, 0);', 'dev = pointer_at(parent, 8);'],
  ['kobj = pointer_at(mdev, size + 48);', 'kobj = pointer_at(mdev, size + 56);'],
  ['kobj = pointer_at(mdev, size + 32) + 24;', 'kobj = pointer_at(mdev, size + 40) + 24;'],
  ['kobj = (const void *)type + 24;', 'kobj = (const void *)type + 32;'],
  ['driver = (const void *)mdev_driver + 48;', 'driver = (const void *)mdev_driver + 56;'],
  ['iommu_group = pointer_at(group, 16);', 'iommu_group = pointer_at(group, 24);'],
] as const;

/** Builds an agent whose probes read at the wrong offsets. */
function build(): void {
  rmSync(BUILT, { recursive: true, force: true });
  copyAgent(BUILT);
  buildProbes(BUILT, 'layout.h', MISPLACED);
}

describe(`structures at other offsets on ${KERNEL}`, { timeout: SUITE_MS }, () => {
  let vm: Vm;
  before(async () => {
    build();
    vm = await bootLab({ kernel: KERNEL, timeoutMs: VM_MS });
    await loadModules(vm);
  });
  after(async () => {
    await clearAway(vm);
    await vm.close();
    rmSync(BUILT, { recursive: true, force: true });
  });

  it('are counted as unreadable, and no object is invented', async () => {
    const agent = await AgentInVm.startBuilt(vm, BUILT, '--no-module-btf');
    const storm = new Storm(vm, {
      ...{ workers: 1, rounds: 3, types: TYPES, open: true, kvm: true, keep: 0 },
      report: '/tmp/misplaced',
    });
    await storm.done;
    const devices = await storm.devices();
    assert.ok(devices.size > 0);
    const unreadable = () => agent.metric('vfioscope_events_lost_total{reason="unreadable"}');
    // The probes' counters are read once a second.
    await agent.until('each device was refused', async () => (await unreadable()) >= devices.size);
    await agent.logged('events.lost');
    const names = new Set(devices.keys());
    for (const { id } of await agent.devices()) assert.ok(names.has(id), `${id} is invented`);
    assert.deepEqual(await agent.hostViolations(), []);
    await agent.stop();
  });
});
