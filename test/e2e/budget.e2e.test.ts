// SPDX-License-Identifier: Apache-2.0
/**
 * The budget on a real kernel: a storm of references to VMs costs more than the probes may take, so points are
 * detached, the agent says so and says nothing wrong, and afterwards they come back. The budgets are tiny or
 * large, because no time of a software-emulated VM is that of a host.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { PROBE_TABLE } from '../../src/kernel/probe-table.ts';
import { bootLab, type GuestProcess, type Vm } from '../lab/lab.ts';
import { Storm } from '../lab/storm.ts';
import { SUITE_MS, VM_MS } from '../until.ts';
import { AgentInVm, type LogLine } from './agent.ts';
import { clearAway, heldDevices, loadModules, reportedDevices } from './storms.ts';
import { KERNEL } from './traits.ts';

/** Of one CPU of an emulated VM, in which a storm of references takes most of one. */
const TINY = { probes_percent: 0.5, agent_percent: 0, detach_after_seconds: 3 };
/** Large enough for what the agent has not read of a storm yet. */
const RING = ['--ring-bytes', String(1 << 26)];
const EXPENDABLE = PROBE_TABLE.filter(({ expendable }) => expendable).map(
  ({ point }) => point as string,
);
const MTTY = [['mtty', 'mtty-1']] as const;
/** Longer than rules wait for a state to settle, s. */
const SETTLING = 8;
/** Before 5.15 links of kprobes cannot be pinned. */
const CAN_PIN = KERNEL !== '5.10';

interface ApiPoint {
  readonly point: string;
  readonly module: string;
  readonly state: string;
  readonly reason?: string;
}

interface ApiRule {
  readonly id: string;
  readonly active: boolean;
  readonly missing: readonly string[];
  readonly detached: readonly string[];
}

describe(`the budget on ${KERNEL}`, { timeout: SUITE_MS }, () => {
  let vm: Vm;
  let agent: AgentInVm;
  before(async () => {
    vm = await bootLab({ kernel: KERNEL, timeoutMs: VM_MS });
    await loadModules(vm);
  });
  afterEach(async () => {
    await clearAway(vm);
  });
  after(async () => {
    await vm?.close();
  });

  const probes = () =>
    agent.api<{ points: readonly ApiPoint[]; rules: readonly ApiRule[] }>('/api/v1/probes');
  const detached = async () =>
    (await probes()).points.filter(({ state }) => state === 'detached').map(({ point }) => point);
  const rule = async (id: string) => (await probes()).rules.find((one) => one.id === id);
  const events = (event: string) => agent.lines.filter((line) => line.event === event);
  /** The log line about the point that was detached alone; it may arrive later than an answer of the API. */
  async function detaching(point: string): Promise<LogLine> {
    const find = () => events('budget.detached').find(({ points }) => `${points}` === point);
    await agent.until(`it logs that ${point} is detached`, async () => find() !== undefined);
    return find() as LogLine;
  }
  const count = (point: string) =>
    agent.metric(`vfioscope_events_total{point="${point}",phase="begin"}`);

  /** Takes and puts references until it is ended; hardly ever another VM, so that nothing else costs much. */
  const referenceStorm = () => new Storm(vm, { workers: 2, rounds: 0, loop: 'kvm', vmsEvery: 1e6 });
  /** One device, opened with a VM, until it is ended. */
  const assigned = (report: string) =>
    new Storm(vm, { workers: 1, rounds: 1, keep: 1, types: MTTY, open: true, kvm: true, report });

  async function untilDetached(...points: readonly string[]): Promise<void> {
    await agent.until(`${points.join()} are detached`, async () => {
      const now = await detached();
      return points.every((point) => now.includes(point));
    });
  }

  async function untilRestored(): Promise<void> {
    await agent.until('all points are attached', async () =>
      (await probes()).points.every(({ state }) => state === 'attached' || state === 'inferred'),
    );
  }

  /** A device with a VM comes and goes, and every rule sees it. */
  async function observedWhole(report: string): Promise<void> {
    const storm = assigned(report);
    await storm.holding;
    const held = heldDevices(await storm.devices());
    await agent.until('it reports it', async () => `${await reportedDevices(agent)}` === `${held}`);
    const [device] = await agent.devices();
    assert.equal(device.quality, 'observed');
    const puts = await count('kvm.put');
    await storm.end();
    await agent.evaluated(SETTLING);
    assert.ok((await count('kvm.put')) > puts, 'references are observed again');
    assert.deepEqual(await agent.devices(), []);
    assert.deepEqual(await agent.vms(), []);
  }

  async function nothingFalse(): Promise<void> {
    assert.deepEqual(await agent.violations(), []);
    assert.equal(await agent.lost(), 0);
  }

  it('detaches the points of a storm, and says so', async () => {
    agent = await AgentInVm.startLimited(vm, { ...TINY, reattach_after_seconds: 3600 }, ...RING);
    assert.deepEqual(await detached(), []);
    const storm = referenceStorm();
    await untilDetached('kvm.put');
    const step = await detaching('kvm.put');
    assert.match(String(step.msg), /^over budget: the probes took [\d.]+ % of one CPU for \d+ s/);
    assert.ok(Number(step.usedPercent) > TINY.probes_percent, String(step.usedPercent));
    assert.ok((step.rules as string[]).includes('kvm-ref-leak'));
    const { points } = await probes();
    assert.match(
      points.find(({ point }) => point === 'kvm.put')?.reason ?? '',
      /^detached: over budget \(the probes took .* budget\.probes_percent is 0\.5 %\)$/,
    );
    const leak = await rule('kvm-ref-leak');
    assert.deepEqual(
      [leak?.active, leak?.missing, leak?.detached],
      [false, ['kvm.put'], ['kvm.put']],
    );
    assert.deepEqual(
      await agent.metrics(
        'vfioscope_probe_detached{point="kvm.put"}',
        'vfioscope_probe_detached{point="mdev.create"}',
        'vfioscope_probe_failed',
        'vfioscope_rule_active{rule="kvm-ref-leak"}',
        'vfioscope_rule_active{rule="remove-stall"}',
        'vfioscope_budget_exceeded{budget="probes"}',
      ),
      [1, 0, 0, 0, 1, 1],
    );
    assert.ok((await agent.metric('vfioscope_probe_run_time_seconds_total{point="kvm.put"}')) > 0);
    const listed = await vm.sh(
      `${process.execPath} dist/agent/main.js rules --agent http://10.0.2.15:10055`,
    );
    assert.match(
      listed,
      /kvm-ref-leak .*needs kvm\.put; detached, because the cost was over the budget/,
    );

    // Lifecycles are observed as before.
    const during = assigned('/tmp/during');
    await during.holding;
    const held = heldDevices(await during.devices());
    await agent.until(
      'it reports the device',
      async () => `${await reportedDevices(agent)}` === `${held}`,
    );
    assert.equal((await agent.devices())[0].quality, 'observed');
    await storm.end();
    await during.end();
    await agent.evaluated(SETTLING);
    assert.deepEqual(await agent.devices(), []);
    assert.ok((await detached()).every((point) => EXPENDABLE.includes(point)));
    await nothingFalse();
    await agent.stop();
  });

  it('attaches them again when the storm is over, and says nothing wrong of what it missed', async () => {
    agent = await AgentInVm.startLimited(vm, { ...TINY, reattach_after_seconds: 10 }, ...RING);
    const before = assigned('/tmp/before');
    const across = assigned('/tmp/across');
    await Promise.all([before.holding, across.holding]);
    const storm = referenceStorm();
    await agent.logged('budget.detached');
    await before.end();
    const during = assigned('/tmp/during-too');
    await during.holding;
    await storm.end();
    await agent.logged('budget.restored');
    await untilRestored();
    await agent.until('it took a host snapshot', async () =>
      agent.lines.some(({ event, reason }) => event === 'snapshot.done' && reason === 'restored'),
    );
    await Promise.all([across.end(), during.end()]);
    await agent.evaluated(SETTLING);
    await nothingFalse();

    await observedWhole('/tmp/later');
    assert.equal((await rule('kvm-ref-leak'))?.active, true);
    assert.deepEqual(
      await agent.metrics(
        'vfioscope_probe_detached',
        'vfioscope_budget_exceeded',
        'vfioscope_rule_active{rule="kvm-ref-leak"}',
      ),
      [0, 0, 1],
    );
    await nothingFalse();
    await agent.stop();
  });

  it('detaches points of which the agent reads too many records', async () => {
    const settings = { probes_percent: 0, agent_percent: 3, detach_after_seconds: 3 };
    agent = await AgentInVm.startLimited(
      vm,
      { ...settings, reattach_after_seconds: 3600 },
      ...RING,
    );
    const storm = referenceStorm();
    await untilDetached('kvm.put');
    const step = await detaching('kvm.put');
    assert.match(String(step.msg), /^over budget: the agent took /);
    await storm.end();
    await agent.evaluated(SETTLING);
    await nothingFalse();
    await agent.stop();
  });

  it('leaves nothing pinned of a point that is detached', { skip: !CAN_PIN }, async () => {
    const settings = { ...TINY, reattach_after_seconds: 3600 };
    const links = async () => (await vm.sh('ls /sys/fs/bpf/vfioscope/links')).trim().split(/\s+/);
    agent = await AgentInVm.startLimited(vm, settings, '--pin', ...RING);
    assert.ok((await links()).includes('put'));
    const storm = referenceStorm();
    await untilDetached('kvm.put');
    assert.ok(!(await links()).includes('put'));
    await storm.end();
    // A module that is loaded again does not bring back what the budget took.
    await vm.sh('modprobe -r kvm_amd');
    await agent.until('KVM is gone', async () =>
      (await probes()).points.some(
        ({ point, state }) => point === 'kvm.vm.create' && state === 'waiting',
      ),
    );
    await vm.sh('modprobe kvm_amd');
    await agent.until('KVM is watched', async () =>
      (await probes()).points.some(
        ({ point, state }) => point === 'kvm.vm.create' && state === 'attached',
      ),
    );
    assert.ok((await detached()).includes('kvm.put'));
    await agent.evaluated(SETTLING);
    await nothingFalse();
    await agent.stop();

    // The next agent begins with all of them.
    agent = await AgentInVm.startLimited(vm, settings, '--pin', ...RING);
    await untilRestored();
    assert.ok((await links()).includes('put'));
    await observedWhole('/tmp/pinned');
    await nothingFalse();
    await agent.stop();
    await vm.sh(`${process.execPath} dist/agent/main.js unpin`);
  });

  it('detaches nothing while others take the CPU', async () => {
    agent = await AgentInVm.startLimited(vm, {
      ...{
        probes_percent: 25,
        agent_percent: 80,
        detach_after_seconds: 3,
        reattach_after_seconds: 10,
      },
    });
    const loops: GuestProcess[] = [];
    for (let i = 0; i < 6; i++) loops.push(vm.start(['sh', '-c', 'while :; do :; done']));
    const load = new Storm(vm, {
      ...{ workers: 1, rounds: 10, rest: 200, types: MTTY, open: true, kvm: true },
    });
    const { creates } = await load.done;
    await agent.evaluated(SETTLING);
    for (const one of loops) one.signal('SIGKILL');
    await Promise.all(loops.map((one) => one.exit.catch(() => undefined)));
    assert.equal(
      await agent.metric('vfioscope_events_total{point="mdev.create",phase="end"}'),
      creates,
    );
    assert.deepEqual(await detached(), []);
    // The CPU time of a process in an emulated VM contains what the host took from the VM, so whether the agent is
    // over its budget cannot be judged here; nothing may follow from it.
    assert.deepEqual(events('budget.detached'), []);
    await nothingFalse();
    await agent.stop();
  });
});
