// SPDX-License-Identifier: Apache-2.0
/** Pinned probes on a real kernel: agents come, go and are killed, and no record is lost or counted twice. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as later } from 'node:timers/promises';
import { bootLab, type GuestProcess, type Vm } from '../lab/lab.ts';
import { Storm } from '../lab/storm.ts';
import { loadModules, TYPES } from './storms.ts';
import { KERNEL, traitsOf } from './traits.ts';
import { buildProbes, copyAgent, OTHER_WIRE } from './variant.ts';

const DIST = 'dist';
const LISTEN = '10.0.2.15:10055';
/** `npm run lab:matrix` asks for 20. */
const RESTARTS = Number(process.env.VFIOSCOPE_RESTARTS ?? 6);
/** Those of them that are no SIGKILL. */
const isClean = (restart: number) => restart % 3 === 2;
interface Line {
  readonly event?: string;
  readonly [field: string]: unknown;
}

/** An agent that may be killed at any moment. */
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
    this.process = vm.start([...command, '--log-format', 'json', ...flags], {
      onStdout: collect,
      onStderr: collect,
    });
  }

  find(event: string): Line | undefined {
    return this.lines.find((line) => line.event === event);
  }

  async said(event: string): Promise<Line> {
    const said = () => `; it said: ${this.text}${this.lines.map((one) => one.msg).join('\n')}`;
    await until(`it says ${event}`, async () => this.find(event) !== undefined, said);
    return this.find(event) as Line;
  }

  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    this.process.signal(signal);
    const { exitCode } = await this.process.exit;
    // One that has said nothing yet does not listen to signals yet.
    if (signal === 'SIGTERM' && this.lines.length > 0) assert.equal(exitCode, 0, this.text);
  }
}

async function until(what: string, holds: () => Promise<boolean>, more = () => ''): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (Date.now() < deadline) {
    if (await holds().catch(() => false)) return;
    await later(50);
  }
  assert.fail(`waited in vain until ${what} ${more()}`);
}

const { deviceHoldsVm, keepsPinned } = traitsOf(KERNEL);

describe(
  `pinned probes on ${KERNEL}`,
  { timeout: 580_000 },
  keepsPinned.value ? areKept : areRefused,
);

function areRefused(): void {
  it('are refused, with what to do instead', async () => {
    const vm = await bootLab({ kernel: KERNEL, timeoutMs: 60_000 });
    const agent = new Agent(vm, ['--pin'], DIST);
    assert.equal((await agent.process.exit).exitCode, 2);
    assert.match(agent.text, /cannot be pinned on Linux .*\n.*what to do: run without --pin/);
    await vm.close();
  });
}

function areKept(): void {
  let vm: Vm;
  let url = '';
  before(async () => {
    vm = await bootLab({ kernel: KERNEL, timeoutMs: 570_000 });
    url = `http://127.0.0.1:${await vm.forward(10055)}`;
    await loadModules(vm);
  });
  after(async () => {
    await vm?.close();
  });
  /** A failed test must not leave its agent, its storm or its pins to the next. */
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

  /** Starts one, and waits until it has read what there was. */
  const ready = async (flags?: readonly string[], dist?: string) => {
    const agent = start(flags, dist);
    await agent.said('host.looked');
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

  /** Waits until all that was tried has been read or found lost. @returns both */
  const account = async () => {
    let [read, lost, tried] = [0, 0, -1];
    const agree = async () => {
      read = await metric('vfioscope_pinned_records_total');
      lost = await metric('vfioscope_pinned_records_lost_total');
      tried = await metric('vfioscope_ring_attempts_total');
      return read + lost === tried;
    };
    await until('reader and writer agree', agree, () => `${read} + ${lost} of ${tried}`);
    return { read, lost };
  };

  it(`loses and doubles nothing in ${RESTARTS} restarts under load`, async (test) => {
    const flags = ['--pin', '--ring-bytes', `${2 ** 24}`];
    let agent = await ready(flags);
    assert.ok(agent.find('pins.made'));
    const storm = new Storm(vm, {
      ...{ workers: 1, rounds: 0, types: TYPES, open: true, kvm: true, vmsEvery: 4 },
    });
    // What it leaves to an agent is enough to start; all else is load.
    await sh('renice -n 19 -p $(pgrep -x storm)');
    const ends = { SIGTERM: 0, SIGKILL: 0 };
    let unread = 0;
    for (let restart = 0; restart < RESTARTS; restart++) {
      const signal = isClean(restart) ? 'SIGTERM' : 'SIGKILL';
      // Some are killed while they start, and most while they read.
      if (restart % 4 !== 1) await agent.said(restart === 0 ? 'pins.made' : 'pins.continued');
      await later(Math.random() * 400);
      await agent.end(signal);
      ends[signal]++;
      if (restart % 5 === 0) await later(1000);
      unread = Math.max(unread, Number(agent.find('pins.continued')?.unread ?? 0));
      agent = start(flags);
    }
    await agent.said('host.looked');
    const did = await storm.end();
    const { read, lost } = await account();
    test.diagnostic(
      `${RESTARTS} restarts (${ends.SIGKILL} by SIGKILL): ${read} records, ${lost} lost; ` +
        `at most ${unread} bytes waited; ${did.creates} creates, ${did.opens} opens, ${did.vms} VMs`,
    );
    assert.equal(lost, 0);
    assert.equal(await metric('vfioscope_ring_dropped_total'), 0);
    assert.equal(await metric('vfioscope_sequence_gaps_total'), 0);
    assert.equal(await metric('vfioscope_pinned '), 1);
    assert.ok(did.creates > 20 && did.vms > 10, JSON.stringify(did));
    for (const phase of ['begin', 'end']) {
      assert.equal(await records('mdev.create', phase), did.creates + did.createErrors, phase);
      assert.equal(await records('mdev.remove', phase), did.removes + did.removeErrors, phase);
      assert.equal(await records('vfio.device.close', phase), did.closes, phase);
      assert.equal(await records('kvm.vm.destroy', phase), did.vmEnds, phase);
    }
    // A device that holds its VM gives it back by the same function.
    const ofDevices = deviceHoldsVm.value ? did.closes : 0;
    assert.equal(await records('kvm.put', 'begin'), did.puts + ofDevices);
    await agent.end('SIGTERM');
  });

  it('counts exactly what a full ring lost while nobody read, and counts it once', async (test) => {
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
      `${second.find('pins.setting')?.msg}`,
      /ring\.bytes is 1048576, but the pinned ring has 65536 and stays; .* vfioscope unpin/,
    );
    await second.end('SIGTERM');
    const third = await ready();
    assert.deepEqual(await account(), { read, lost });
    assert.equal(await metric('vfioscope_events_lost_total'), 0);
    await third.end('SIGTERM');
  });

  it('watches a module that was reloaded while no agent ran, each event once', async () => {
    const first = await ready();
    const before = await definitions();
    const watched = await metric('vfioscope_probe_attached');
    await first.end('SIGTERM');
    const unloaded = await sh('modprobe -r mtty mdpy; modprobe -r vfio_mdev; modprobe -r mdev');
    assert.equal(unloaded.exitCode, 0, unloaded.text);
    await loadModules(vm);
    const second = await ready();
    assert.equal(await metric('vfioscope_probe_attached'), watched);
    assert.ok((await definitions()) <= before, 'those of the old loading are gone');
    const created = await records('mdev.create', 'end');
    const storm = await new Storm(vm, { rounds: 3, types: TYPES }).done;
    await account();
    assert.equal(await records('mdev.create', 'end'), created + storm.creates);
    assert.equal(await records('mdev.create', 'begin'), created + storm.creates);
    await second.end('SIGTERM');
  });

  it('replaces what an agent of another wire format pinned, and says what is lost', async () => {
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
      const replaced = await agent.said('pins.replaced');
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

  it('is removed by unpin, which an agent at work forbids', async () => {
    const agent = await ready();
    const refused = await unpin();
    assert.equal(refused.exitCode, 2);
    assert.match(refused.text, /an agent that runs reads what is pinned .* \(pid \d+\)/);
    const twice = await sh(`${process.execPath} ${DIST}/agent/main.js run --pin`);
    assert.equal(twice.exitCode, 2);
    await agent.end('SIGTERM');
    assert.notEqual(await definitions(), 0);

    const beside = await ready([]);
    assert.match(`${beside.find('pins.beside')?.msg}`, /vfioscope unpin removes them/);
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

  it('needs the BPF file system, and says how to mount it', async () => {
    const { exitCode, text } = await sh(
      `unshare -m sh -c 'umount /sys/fs/bpf && ${process.execPath} ${DIST}/agent/main.js run --pin'`,
    );
    assert.equal(exitCode, 2);
    assert.match(text, /what to do: mount -t bpf bpf \/sys\/fs\/bpf/);
  });

  it('left the kernel without complaint', async () => {
    assert.deepEqual(await vm.problems(), []);
  });
}
