// SPDX-License-Identifier: Apache-2.0
/**
 * Kernels of the matrix on which the lab can do a part only: KVM refuses to work on some, and others have no
 * headers to build sample drivers against. What can be done there must be observed as on all others.
 *
 *     VFIOSCOPE_KERNEL=6.12-rt node --test test/e2e/partial.e2e.test.ts
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { isWatched, type PointStatus } from '../../src/events/source.ts';
import { chooseKernel, isWhole, readMatrix } from '../lab/kernels.ts';
import { bootLab, type Vm } from '../lab/lab.ts';
import { Storm } from '../lab/storm.ts';
import { SUITE_MS, VM_MS } from '../until.ts';
import { AgentInVm } from './agent.ts';
import { loadModules, TYPES } from './storms.ts';
import {
  readSupport,
  type SupportedRule,
  type SupportedTrait,
  supportOf,
  writeSupport,
} from './support.ts';
import { KERNEL } from './traits.ts';

const { entry } = chooseKernel(readMatrix(), KERNEL);
const WORKERS = 4;
const ROUNDS = 25;
/** Longer than rules wait for a state to settle, s. */
const SETTLING = 3;

describe(`what can be done on ${KERNEL}`, {
  timeout: SUITE_MS,
  skip: isWhole(entry) && 'all of it can, and the other tests do',
}, () => {
  let vm: Vm;
  let agent: AgentInVm;
  before(async () => {
    vm = await bootLab({ kernel: KERNEL, timeoutMs: VM_MS });
    agent = await AgentInVm.start(vm);
    await loadModules(vm);
  });
  after(() => vm?.close());

  it('is supported as docs/kernel-support.md says', async () => {
    await agent.until('all points are attached', async () => {
      const { points } = await agent.api<{ points: PointStatus[] }>('/api/v1/probes');
      return points.length > 0 && points.every(isWatched);
    });
    const answer = await agent.api<{
      points: PointStatus[];
      rules: SupportedRule[];
      traits: SupportedTrait[];
    }>('/api/v1/probes');
    const found = supportOf(await vm.sh('uname -r'), answer);
    if (process.env.VFIOSCOPE_KEEP !== undefined) writeSupport(KERNEL, found);
    // Another package of the same kernel changes nothing else.
    assert.deepEqual({ ...found, release: '' }, { ...readSupport(KERNEL), release: '' });
  });

  it('has lifecycles of devices, each of which is observed', {
    skip: !entry.build && 'there are no sample drivers',
  }, async () => {
    const storm = new Storm(vm, { workers: WORKERS, rounds: ROUNDS, types: TYPES, open: true });
    const { creates, removes, opens, closes } = await storm.done;
    await agent.evaluated(SETTLING);
    assert.equal(creates, WORKERS * ROUNDS);
    const count = (point: string) =>
      agent.metric(`vfioscope_events_total{point="${point}",phase="end"}`);
    assert.equal(await count('mdev.create'), creates);
    assert.equal(await count('mdev.release'), removes);
    assert.equal(await count('vfio.device.open'), opens);
    assert.equal(await count('vfio.device.close'), closes);
    assert.deepEqual(await agent.devices(), []);
    // Without KVM every open is one without a VM, which is a notice.
    const others = (await agent.violations()).filter(
      (text) => !text.startsWith('open-without-kvm '),
    );
    assert.deepEqual(others, []);
  });

  it('has lifecycles of VMs, each of which is observed', {
    skip: entry.withoutKvm ?? false,
  }, async () => {
    const storm = new Storm(vm, { workers: WORKERS, rounds: ROUNDS, loop: 'kvm', vmsEvery: 5 });
    const { puts, vms } = await storm.done;
    await agent.evaluated(SETTLING);
    const count = (event: string) => agent.metric(`vfioscope_events_total{${event}}`);
    assert.ok(vms > 0);
    assert.equal(await count('point="kvm.vm.create",phase="end"'), vms);
    assert.equal(await count('point="kvm.vm.destroy",phase="end"'), vms);
    assert.equal(await count('point="kvm.put",phase="begin"'), puts);
    assert.deepEqual(await agent.vms(), []);
  });

  it('leaves no event lost, and no fault in the log of the kernel', async () => {
    assert.equal(await agent.lost(), 0);
    assert.deepEqual(await vm.problems(), []);
  });
});
