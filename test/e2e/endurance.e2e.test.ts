// SPDX-License-Identifier: Apache-2.0
/**
 * A host that creates, opens and removes devices all the time costs the agent neither descriptors nor memory.
 * VFIOSCOPE_MINUTES is how long; memory is judged from ten minutes on, when caches and compiled code have
 * their size.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { bootLab, type Vm } from '../lab/lab.ts';
import { Storm } from '../lab/storm.ts';
import { SUITE_MS, VM_MS } from '../until.ts';
import { AgentInVm } from './agent.ts';
import { loadModules, TYPES } from './storms.ts';
import { KERNEL } from './traits.ts';

const MINUTES = Number(process.env.VFIOSCOPE_MINUTES ?? 0.25);
const DURATION_MS = MINUTES * 60_000;
const SAMPLES = 10;
/** ms that each process of the storm rests after a round, so that a VM without hardware is not overrun. */
const REST = 20;
/** A connection more or less, and a file that is being read, are no leak. */
const FEW_DESCRIPTORS = 8;
/** By how much memory may grow in the second half. */
const GROWTH = 1.1;

interface Sample {
  readonly descriptors: number;
  /** Bytes. */
  readonly resident: number;
}

describe(`${MINUTES} minutes of lifecycles on ${KERNEL}`, {
  timeout: SUITE_MS + DURATION_MS,
}, () => {
  let vm: Vm;
  let agent: AgentInVm;
  before(async () => {
    vm = await bootLab({ kernel: KERNEL, timeoutMs: VM_MS + DURATION_MS });
    await loadModules(vm);
    agent = await AgentInVm.start(vm, '--ring-bytes', String(1 << 24));
  });
  after(async () => {
    await vm?.close();
  });

  async function sample(): Promise<Sample> {
    const [resident, descriptors] = await agent.metrics(
      'process_resident_memory_bytes ',
      'process_open_fds ',
    );
    return { resident, descriptors };
  }

  it('cost neither descriptors nor memory', async (test) => {
    const storm = new Storm(vm, {
      ...{ workers: 2, rounds: 0, rest: REST, types: TYPES, open: true, kvm: true, vmsEvery: 5 },
    });
    const samples: Sample[] = [];
    for (let i = 0; i < SAMPLES; i++) {
      await pause(DURATION_MS / SAMPLES);
      samples.push(await sample());
    }
    const { removes, vms } = await storm.end();
    const mebibytes = samples.map(({ resident }) => Math.round(resident / 2 ** 20));
    const descriptors = samples.map((one) => one.descriptors);
    test.diagnostic(`${removes} devices, ${vms} VMs; MiB ${mebibytes}; descriptors ${descriptors}`);
    assert.ok(removes > 0);
    assert.ok(Math.max(...descriptors) - Math.min(...descriptors) < FEW_DESCRIPTORS);
    if (MINUTES >= 10) {
      const half = SAMPLES / 2;
      const before = Math.max(...mebibytes.slice(1, half));
      const later = Math.max(...mebibytes.slice(half));
      assert.ok(later <= before * GROWTH, `from ${before} to ${later} MiB`);
    }
  });

  it('leave nothing behind', async () => {
    await agent.until('all are gone', async () => (await agent.devices()).length === 0);
    await agent.until('all VMs are gone', async () => (await agent.vms()).length === 0);
    assert.deepEqual(await agent.hostViolations(), []);
    assert.equal(await agent.lost(), 0);
    assert.deepEqual(await vm.problems(), []);
  });
});
