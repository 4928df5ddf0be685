// SPDX-License-Identifier: Apache-2.0
/**
 * Where modules tell no types, their structures are read by position. If a kernel has them
 * elsewhere, nothing may be made up of what is found there: each object is refused and counted.
 */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { bootLab, type Vm } from '../lab/lab.ts';
import { Storm } from '../lab/storm.ts';
import { AgentInVm } from './agent.ts';
import { clearAway, loadModules, TYPES } from './storms.ts';
import { KERNEL } from './traits.ts';
import { buildProbes, copyAgent } from './variant.ts';

const BUILT = 'dist/misplaced';

/** Positions as no kernel has them: a word further than bpf/layout.h says. */
const MISPLACED = [
  ['dev = pointer_at(vdev, 0);', 'dev = pointer_at(vdev, 8);'],
  ['dev = pointer_at(parent, 0);', 'dev = pointer_at(parent, 8);'],
  ['kobj = pointer_at(mdev, size + 48);', 'kobj = pointer_at(mdev, size + 56);'],
  ['kobj = pointer_at(mdev, size + 32) + 24;', 'kobj = pointer_at(mdev, size + 40) + 24;'],
  ['kobj = (const void *)type + 24;', 'kobj = (const void *)type + 32;'],
  ['driver = (const void *)mdev_driver + 48;', 'driver = (const void *)mdev_driver + 56;'],
  ['iommu_group = pointer_at(group, 16);', 'iommu_group = pointer_at(group, 24);'],
] as const;

/** An agent whose probes look in the wrong places. */
function build(): void {
  rmSync(BUILT, { recursive: true, force: true });
  copyAgent(BUILT);
  buildProbes(BUILT, 'layout.h', MISPLACED);
}

describe(`structures that are elsewhere on ${KERNEL}`, { timeout: 120_000 }, () => {
  let vm: Vm;
  before(async () => {
    build();
    vm = await bootLab({ kernel: KERNEL, timeoutMs: 110_000 });
    await loadModules(vm);
  });
  after(async () => {
    await clearAway(vm);
    await vm.close();
    rmSync(BUILT, { recursive: true, force: true });
  });

  it('are counted as unreadable, and nothing is made up of them', async () => {
    const agent = await AgentInVm.startBuilt(vm, BUILT, '--no-module-btf');
    const storm = new Storm(vm, {
      ...{ workers: 1, rounds: 3, types: TYPES, open: true, kvm: true, keep: 0 },
      report: '/tmp/misplaced',
    });
    await storm.done;
    const lives = await storm.lives();
    assert.ok(lives.size > 0);
    const unreadable = () => agent.metric('vfioscope_events_lost_total{reason="unreadable"}');
    // What the probes count is read once a second.
    await agent.until('each life was refused', async () => (await unreadable()) >= lives.size);
    await agent.said('events.lost');
    const names = new Set(lives.keys());
    for (const { id } of await agent.devices()) assert.ok(names.has(id), `${id} is made up`);
    assert.deepEqual(await agent.accusations(), []);
    await agent.stop();
  });
});
