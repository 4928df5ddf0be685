// SPDX-License-Identifier: Apache-2.0
/** Pinned probes on a real kernel: while agents are restarted and killed, no record is lost or counted twice. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as later } from 'node:timers/promises';
import { bootLab, type GuestProcess, type Vm } from '../lab/lab.ts';
import { Storm } from '../lab/storm.ts';
import { SUITE_MS, until, VM_MS } from '../until.ts';
import { UNLIMITED } from './agent.ts';
import { loadModules, TYPES } from './storms.ts';
import { KERNEL, traitsOf } from './traits.ts';
import { buildProbes, copyAgent, OTHER_WIRE } from './variant.ts';

const DIST = 'dist';
const LISTEN = '10.0.2.15:10055';
/** `npm run lab:matrix` asks for 20. */
const RESTARTS = Number(process.env.VFIOSCOPE_RESTARTS ?? 6);
/** Whether a restart ends the agent by SIGTERM; the others kill it. */
const isClean = (restart: number) => restart % 3 === 2;
/** Devices that the load has to create while agents are restarted. */
const ENOUGH = 60;

interface Line {
  readonly event?: string;
  readonly [field: string]: unknown;
}

/** An agent that may be killed at any time. */
class Agent {
  readonly process: GuestProcess;
  readonly lines: Line[] = [];
  text = '';

  constructor(vm: Vm, flags: readonly string[], dist: string) {
    let rest = '';
    const collect = (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (line.startsWith('{')) this.lines.push(JSON.parse(line) as Line);
        else this.text += `${line}\n`;
      }
    };
    const command = [process.execPath, `${dist}/agent/main.js`, 'run', '--listen', LISTEN];
    this.process = vm.start([...command, '--log-format', 'json', UNLIMITED, ...flags], {
      onStdout: collect,
      onStderr: collect,
    });
  }

  find(event: string): Line | undefined {
    return this.lines.find((line) => line.event === event);
  }

  async logged(event: string): Promise<Line> {
    const more = () => `; its output: ${this.text}${this.lines.map((one) => one.msg).join('\n')}`;
    await until(`the agent logs ${event}`, () => this.find(event) !== undefined, { more });
    return this.find(event) as Line;
  }

  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    this.process.signal(signal);
    const { exitCode } = await this.process.exit;
    // An agent that has logged nothing yet does not handle signals yet.
    if (signal === 'SIGTERM' && this.lines.length > 0) assert.equal(exitCode, 0, this.text);
  }
}

const { coreHoldsVm, linksCanBePinned } = traitsOf(KERNEL);

describe(
  `pinned probes on ${KERNEL}`,
  { timeout: SUITE_MS },
  linksCanBePinned ? areKept : areRefused,
);

function areRefused(): void {
  it('are refused, with the remediation', async () => {
    const vm = await bootLab({ kernel: KERNEL, timeoutMs: VM_MS });
    const agent = new Agent(vm, ['--pin'], DIST);
    assert.equal((await agent.process.exit).exitCode, 2);
    assert.match(
      agent.text,
      /cannot be pinned on this kernel: .*\n.*what to do: run without --pin/,
    );
    await vm.close();
  });
}

function areKept(): void {
  let vm: Vm;
  let url = '';
  before(async () => {
    vm = await bootLab({ kernel: KERNEL, timeoutMs: VM_MS });
    url = `http://127.0.0.1:${await vm.forward(10055)}`;
    await loadModules(vm);
  });
  after(async () => {
    await vm?.close();
  });
  /** A failed test must not leave its agent, its storm or its pins for the next one. */
  afterEach(async () => {
    await sh('pkill -KILL -f [a]gent/main.js; pkill -TERM storm; rm -rf /sys/fs/bpf/vfioscope');
  });

  const sh = async (command: string) => {
    const { exitCode, stdout, stderr } = await vm.run(['sh', '-c', command]);
    return { exitCode, text: (stdout + stderr).trim() };
  };
  const unpin = () => sh(`${process.execPath} ${DIST}/agent/main.js unpin`);
  const start = (flags: readonly string[] = ['--pin'], dist = DIST) => new Agent(vm, flags, dist);
  const definitions = async () =>
    Number((await sh('grep -c vfioscope /sys/kernel/tracing/kprobe_events')).text);

  /** Starts an agent, and waits until it has taken its first host snapshot. */
  const ready = async (flags?: readonly string[], dist?: string) => {
    const agent = start(flags, dist);
    await agent.logged('snapshot.done');
    await until('it answers', async () => (await fetch(`${url}/-/healthy`)).ok);
    return agent;
  };

  const metric = async (series: string) => {
    const text = await (await fetch(`${url}/metrics`)).text();
    const lines = text.split('\n').filter((line) => line.startsWith(series));
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  };
  const records = (point: string, phase: string) =>
    metric(`vfioscope_pinned_records_total{point="${point}",phase="${phase}"}`);

  /** Waits until every attempted record was read or counted as lost. @returns both counts */
  const account = async () => {
    let [read, lost, attempts] = [0, 0, -1];
    const agree = async () => {
      read = await metric('vfioscope_pinned_records_total');
      lost = await metric('vfioscope_pinned_records_lost_total');
      attempts = await metric('vfioscope_ring_attempts_total');
      return read + lost === attempts;
    };
    await until('reader and writer agree', agree, {
      more: () => `; ${read} + ${lost} of ${attempts}`,
    });
    return { read, lost };
  };

  it(`lose and duplicate no record in ${RESTARTS} restarts under load`, async (test) => {
    const flags = ['--pin', '--ring-bytes', `${2 ** 24}`];
    let agent = await ready(flags);
    assert.ok(agent.find('pins.created'));
    const storm = new Storm(vm, {
      ...{ workers: 1, rounds: 0, types: TYPES, open: true, kvm: true, vmsEvery: 4 },
      report: '/tmp/restarts',
    });
    // A low priority leaves an agent enough CPU time to start.
    await sh('renice -n 19 -p $(pgrep -x storm)');
    const ends = { SIGTERM: 0, SIGKILL: 0 };
    let unread = 0;
    for (let restart = 0; restart < RESTARTS; restart++) {
      const signal = isClean(restart) ? 'SIGTERM' : 'SIGKILL';
      // Some are killed while they start, and most while they read.
      if (restart % 4 !== 1) await agent.logged(restart === 0 ? 'pins.created' : 'pins.continued');
      await later(Math.random() * 400);
      await agent.end(signal);
      ends[signal]++;
      if (restart % 5 === 0) await later(1000);
      unread = Math.max(unread, Number(agent.find('pins.continued')?.unread ?? 0));
      agent = start(flags);
    }
    await agent.logged('snapshot.done');
    // On a slow machine the load has to continue until enough has happened.
    await until('enough has happened', async () => (await storm.devices()).size > ENOUGH);
    const totals = await storm.end();
    const { read, lost } = await account();
    test.diagnostic(
      `${RESTARTS} restarts (${ends.SIGKILL} by SIGKILL): ${read} records, ${lost} lost; ` +
        `at most ${unread} bytes unread; ${totals.creates} creates, ${totals.opens} opens, ${totals.vms} VMs`,
    );
    assert.equal(lost, 0);
    assert.equal(await metric('vfioscope_ring_dropped_total'), 0);
    assert.equal(await metric('vfioscope_sequence_gaps_total'), 0);
    assert.equal(await metric('vfioscope_pinned '), 1);
    assert.ok(totals.creates > 20 && totals.vms > 10, JSON.stringify(totals));
    for (const phase of ['begin', 'end']) {
      assert.equal(
        await records('mdev.create', phase),
        totals.creates + totals.createErrors,
        phase,
      );
      assert.equal(
        await records('mdev.remove', phase),
        totals.removes + totals.removeErrors,
        phase,
      );
      assert.equal(await records('vfio.device.close', phase), totals.closes, phase);
      assert.equal(await records('kvm.vm.destroy', phase), totals.vmEnds, phase);
    }
    // A device that holds its VM gives it back by the same function.
    const ofDevices = coreHoldsVm ? totals.closes : 0;
    assert.equal(await records('kvm.put', 'begin'), totals.puts + ofDevices);
    await agent.end('SIGTERM');
  });

  it('count exactly, and once, what a full ring lost while no agent read it', async (test) => {
    const first = await ready(['--pin', '--ring-bytes', '65536']);
    await first.end('SIGKILL');
    await new Storm(vm, { workers: 2, rounds: 40, types: TYPES, open: true }).done;
    const second = await ready();
    const { read, lost } = await account();
    test.diagnostic(`${read} records read, ${lost} lost`);
    assert.ok(lost > 100, `${lost}`);
    assert.equal(lost, await metric('vfioscope_ring_dropped_total'));
    assert.equal(lost, await metric('vfioscope_events_lost_total{reason="ring_full"}'));
    assert.match(
      `${second.find('pins.setting_ignored')?.msg}`,
      /ring\.bytes is 1048576, but the pinned ring keeps its 65536 bytes; .* vfioscope unpin/,
    );
    await second.end('SIGTERM');
    const third = await ready();
    assert.deepEqual(await account(), { read, lost });
    assert.equal(await metric('vfioscope_events_lost_total'), 0);
    await third.end('SIGTERM');
  });

  it('observe a module that was reloaded while no agent ran, each event once', async () => {
    const first = await ready();
    const before = await definitions();
    const watched = await metric('vfioscope_probe_attached');
    await first.end('SIGTERM');
    const unloaded = await sh('modprobe -r mtty mdpy; modprobe -r vfio_mdev; modprobe -r mdev');
    assert.equal(unloaded.exitCode, 0, unloaded.text);
    await loadModules(vm);
    const second = await ready();
    assert.equal(await metric('vfioscope_probe_attached'), watched);
    assert.ok((await definitions()) <= before, 'definitions for the unloaded module are gone');
    const created = await records('mdev.create', 'end');
    const storm = await new Storm(vm, { rounds: 3, types: TYPES }).done;
    await account();
    assert.equal(await records('mdev.create', 'end'), created + storm.creates);
    assert.equal(await records('mdev.create', 'begin'), created + storm.creates);
    await second.end('SIGTERM');
  });

  it('of another wire format are replaced, and the log reports what is lost', async () => {
    const other = mkdtempSync(`${DIST}/other-agent-`);
    try {
      buildProbes(other, 'event.h', [OTHER_WIRE]);
      copyAgent(other);
      for (const file of readdirSync(`${other}/agent`).filter((name) => name.endsWith('.js'))) {
        const code = readFileSync(`${other}/agent/${file}`, 'utf8');
        const changed = code.replace(/version:\s*\d+,(\s*)eventSize/, 'version: 99,$1eventSize');
        writeFileSync(`${other}/agent/${file}`, changed);
      }
      const foreign = await ready(['--pin'], other);
      const watched = await metric('vfioscope_probe_attached');
      await foreign.end('SIGTERM');
      await new Storm(vm, { rounds: 2, types: TYPES }).done;
      const agent = await ready();
      const replaced = await agent.logged('pins.replaced');
      assert.equal(replaced.level, 40);
      assert.match(`${replaced.msg}`, /wire format version 99, this agent reads version \d+/);
      assert.ok(Number(replaced.records) > 0 && Number(replaced.unread) > 0);
      assert.equal(
        await metric('vfioscope_events_lost_total{reason="malformed"}'),
        replaced.records,
      );
      assert.equal(await metric('vfioscope_probe_attached'), watched);
      await agent.end('SIGTERM');
    } finally {
      rmSync(other, { recursive: true });
    }
  });

  it('are removed by unpin, which is refused while an agent runs', async () => {
    const agent = await ready();
    const refused = await unpin();
    assert.equal(refused.exitCode, 2);
    assert.match(
      refused.text,
      /error\[pin\.in-use\]: a running agent reads the probes pinned in .* \(pid \d+\)/,
    );
    const twice = await sh(`${process.execPath} ${DIST}/agent/main.js run --pin`);
    assert.equal(twice.exitCode, 2);
    await agent.end('SIGTERM');
    assert.notEqual(await definitions(), 0);

    const beside = await ready([]);
    assert.match(`${beside.find('pins.unused')?.msg}`, /vfioscope unpin removes them/);
    assert.equal(await metric('vfioscope_pinned '), 0);
    await beside.end('SIGTERM');
    assert.notEqual(await definitions(), 0, 'those of pinned probes stay');

    const removed = await unpin();
    assert.equal(removed.exitCode, 0);
    assert.match(removed.text, /removed \d+ probes and the ring from \/sys\/fs\/bpf\/vfioscope/);
    assert.equal(await definitions(), 0);
    assert.equal((await sh('ls /sys/fs/bpf/vfioscope')).exitCode, 2);
    const again = await unpin();
    assert.deepEqual(again, { exitCode: 0, text: 'nothing is pinned in /sys/fs/bpf/vfioscope' });
  });

  it('need the BPF file system; the error has the command that mounts it', async () => {
    const { exitCode, text } = await sh(
      `unshare -m sh -c 'umount /sys/fs/bpf && ${process.execPath} ${DIST}/agent/main.js run --pin'`,
    );
    assert.equal(exitCode, 2);
    assert.match(text, /what to do: mount -t bpf bpf \/sys\/fs\/bpf/);
  });

  it('leave no problem in the kernel log', async () => {
    assert.deepEqual(await vm.problems(), []);
  });
}
