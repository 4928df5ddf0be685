// SPDX-License-Identifier: Apache-2.0
/** Problems of real hosts, on a real kernel: each gets a clear message, none ends a running agent. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { after, afterEach, before, describe, it } from 'node:test';
import { bootLab, type GuestProcess, type Vm } from '../lab/lab.ts';
import { Vmm } from '../lab/vmm.ts';
import { SUITE_MS, until, VM_MS } from '../until.ts';
import { buildProbes, OTHER_WIRE } from './variant.ts';

const AGENT = [process.execPath, 'dist/agent/main.js'];
const LISTEN = '10.0.2.15:10055';
/** The host snapshots that were taken because a module was loaded. */
const MODULE_SNAPSHOTS = 'vfioscope_snapshots_total{reason="module"}';

describe('trouble on a real kernel', { timeout: SUITE_MS }, () => {
  let vm: Vm;
  let url = '';
  before(async () => {
    vm = await bootLab({ kernel: '6.12', timeoutMs: VM_MS });
    url = `http://127.0.0.1:${await vm.forward(10055)}`;
  });
  after(async () => {
    await vm?.close();
  });
  /** A failed test must not leave its agent for the next one. */
  afterEach(() => sh('pkill -KILL -f dist/agent/main.js'));

  const sh = async (command: string) => {
    const { exitCode, stdout, stderr } = await vm.run(['sh', '-c', command]);
    return { exitCode, text: stdout + stderr };
  };

  /** Starts an agent and collects its output. */
  const start = (...flags: string[]) => {
    const output = { text: '' };
    const collect = (chunk: Buffer) => {
      output.text += chunk.toString();
    };
    const command = [...AGENT, 'run', '--listen', LISTEN, '--log-format', 'json', ...flags];
    const agent = vm.start(command, { onStdout: collect, onStderr: collect });
    return { agent, output };
  };

  const metric = async (series: string) => {
    const text = await (await fetch(`${url}/metrics`)).text();
    const lines = text.split('\n').filter((line) => line.startsWith(series));
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  };

  const states = async () => {
    const { points } = (await (await fetch(`${url}/api/v1/probes`)).json()) as {
      points: { module: string; state: string }[];
    };
    return new Map(points.map(({ module, state }) => [module, state]));
  };

  const stop = async (agent: GuestProcess) => {
    agent.signal('SIGTERM');
    const { exitCode } = await agent.exit;
    assert.equal(exitCode, 0, 'SIGTERM is a clean end');
  };

  it('reports the missing capabilities when it is not root', async () => {
    // As whoever may read this directory, which may be below a home that others must not enter.
    const { uid } = statSync('.');
    const { exitCode, text } = await sh(
      `setpriv --reuid ${uid} --clear-groups --inh-caps=-all --bounding-set=-all ${AGENT.join(' ')} run`,
    );
    assert.equal(exitCode, 2, text);
    assert.match(text, /lacks CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF/);
    assert.match(text, /what to do: .*root/);
    assert.doesNotMatch(text, /^\s+at /m, 'no stack trace');
  });

  it('reports a kernel without BTF', async () => {
    const { exitCode, text } = await sh(
      `unshare -m sh -c 'mount -t tmpfs none /sys/kernel/btf && ${AGENT.join(' ')} run'`,
    );
    assert.equal(exitCode, 2);
    assert.match(text, /has no BTF \(\/sys\/kernel\/btf\/vmlinux is missing\)/);
  });

  it('names a probe object that it cannot read', async () => {
    const { exitCode, text } = await sh(
      `mkdir -p /tmp/bad && echo rubbish | tee /tmp/bad/vfioscope.bpf.o > /tmp/bad/vfioscope-typed.bpf.o && ${AGENT.join(' ')} run --probes /tmp/bad`,
    );
    assert.equal(exitCode, 2);
    assert.match(text, /cannot read probe object \/tmp\/bad\/vfioscope(-typed)?\.bpf\.o/);
    assert.doesNotMatch(text, /^\s+at /m);
  });

  it('refuses an impossible ring buffer size, and names the possible ones', async () => {
    const { exitCode, text } = await sh(`${AGENT.join(' ')} run --ring-bytes 5000`);
    assert.equal(exitCode, 2);
    assert.match(text, /a ring buffer of 5000 bytes is not possible/);
    assert.match(text, /what to do: set ring\.bytes to a power of two from 4096/);
  });

  it('refuses probe objects of another wire format, and reports what differs', async () => {
    const other = mkdtempSync('dist/other-wire-');
    try {
      buildProbes(other, 'event.h', [OTHER_WIRE]);
      const { exitCode, text } = await sh(`${AGENT.join(' ')} run --probes ${other}/bpf`);
      assert.equal(exitCode, 2);
      assert.match(
        text,
        /vfioscope(-typed)?\.bpf\.o and this agent are of different versions: wire format version 99/,
      );
      assert.match(text, /what to do: install both from one build/);
    } finally {
      rmSync(other, { recursive: true });
    }
  });

  it('doctor lists the missing modules, and exits with 1', async () => {
    const { exitCode, text } = await sh(`${AGENT.join(' ')} doctor`);
    assert.equal(exitCode, 1);
    for (const module of ['mdev', 'vfio', 'kvm']) {
      assert.match(text, new RegExp(`the module ${module} is not loaded`));
      assert.match(text, new RegExp(`load the module ${module} \\(modprobe ${module}\\)`));
    }
    assert.doesNotMatch(text, /renamed/);
  });

  it('runs without modules, attaches when they are loaded, and detaches', async () => {
    const { agent, output } = start();
    await until('it listens', async () => (await fetch(`${url}/-/healthy`)).ok);
    assert.equal((await fetch(`${url}/-/ready`)).status, 503);
    await until('it logs which module it waits for', () =>
      output.text.includes('not watching vfio yet: the module is not loaded'),
    );

    await sh('modprobe mdev; modprobe vfio_iommu_type1; modprobe kvm_amd');
    await until('all is attached', async () =>
      [...(await states()).values()].every((s) => s === 'attached'),
    );
    assert.equal((await fetch(`${url}/-/ready`)).status, 200);

    const unloaded = await sh('modprobe -r mdev');
    assert.equal(unloaded.exitCode, 0, `the probes must not hold the module: ${unloaded.text}`);
    await until('it noticed', async () => (await states()).get('mdev') === 'waiting');
    await sh('modprobe mdev');
    await until('it attaches again', async () => (await states()).get('mdev') === 'attached');

    // So quickly that the agent may not read the list of modules in between.
    const snapshots = await metric(MODULE_SNAPSHOTS);
    await sh('modprobe -r mdev; modprobe mdev');
    await until('it has taken a host snapshot for the new module', async () => {
      return (await metric(MODULE_SNAPSHOTS)) > snapshots;
    });
    await until(
      'it is attached to the new module',
      async () => (await states()).get('mdev') === 'attached',
    );
    await sh('modprobe mtty');
    await until(
      'events of the new module arrive',
      async () =>
        (await metric('vfioscope_events_total{point="mdev.parent.register",phase="end"}')) === 1,
    );
    await stop(agent);
  });

  it('attaches later to a module that came while descriptors were short, and is not ready until then', async () => {
    const { agent, output } = start();
    await until('it is ready', async () => (await fetch(`${url}/-/ready`)).ok);
    const limit = (count: number) =>
      sh(`prlimit --pid $(pgrep -f "main[.]js run") --nofile=${count}:4096`);
    await sh('modprobe -r mtty; modprobe -r mdev');
    await until('it noticed', async () => (await states()).get('mdev') === 'waiting');
    assert.equal((await limit(20)).exitCode, 0);
    await sh('modprobe mdev');
    await until('it cannot attach', () =>
      /cannot watch mdev[^"]*Too many open files/.test(output.text),
    );
    const tried = output.text.length;
    assert.equal((await limit(4096)).exitCode, 0);
    await until('it tries again', () =>
      /watching \d+ of \d+ points of the module mdev/.test(output.text.slice(tried)),
    );
    await until('it is ready', async () => (await fetch(`${url}/-/ready`)).ok);
    await sh('modprobe mtty');
    await stop(agent);
  });

  it('answers and watches on while its log cannot be written', async () => {
    const agent = vm.start([
      'sh',
      ...['-c', `exec ${AGENT.join(' ')} run --listen ${LISTEN} --log-format json > /dev/full`],
    ]);
    await until('it is ready', async () => (await fetch(`${url}/-/ready`)).ok);
    const dropped = () => metric('vfioscope_log_lines_dropped_total');
    const before = await dropped();
    assert.ok(before > 0, 'the lines of the start were dropped');
    await sh('modprobe -r mtty; modprobe mtty');
    await until('more lines are dropped', async () => (await dropped()) > before);
    agent.signal('SIGUSR1');
    assert.ok((await fetch(`${url}/-/healthy`)).ok);
    // Sockets in state 0A listen; the one of the API shows that this finds them.
    const listens = async (port: number) => {
      const hex = port.toString(16).toUpperCase().padStart(4, '0');
      const { exitCode } = await sh(
        `grep -q ":${hex} [0-9A-F]*:0000 0A " /proc/net/tcp /proc/net/tcp6`,
      );
      return exitCode === 0;
    };
    assert.ok(await listens(10055));
    assert.ok(!(await listens(9229)), 'no debugger listens');
    await stop(agent);
  });

  it('exits cleanly while it is scraped', async () => {
    const { agent } = start();
    await until('it listens', async () => (await fetch(`${url}/-/healthy`)).ok);
    const answers: number[] = [];
    const scrape = async () => {
      for (;;) {
        const response = await fetch(`${url}/metrics`);
        // This throws when the document is cut off.
        await response.text();
        answers.push(response.status);
        if (response.status !== 200) return;
      }
    };
    const scrapers = Array.from({ length: 8 }, () => scrape().catch(() => {}));
    await until('they scrape', async () => answers.length > 20);
    await stop(agent);
    await Promise.all(scrapers);
    assert.deepEqual(
      [...new Set(answers)].filter((status) => status !== 503),
      [200],
    );
  });

  it('names the address that is in use, and does not disturb the first agent', async () => {
    const { agent } = start();
    await until('it listens', async () => (await fetch(`${url}/-/healthy`)).ok);
    const { exitCode, text } = await sh(`${AGENT.join(' ')} run --listen ${LISTEN}`);
    assert.equal(exitCode, 2);
    assert.match(text, /10\.0\.2\.15:10055 is in use by another process/);
    assert.ok((await fetch(`${url}/-/healthy`)).ok);
    await stop(agent);
  });

  it('counts calls that it could not probe as lost, where tracefs is not writable', async () => {
    // Without it a return probe has ten instances; each call in flight takes one.
    const inFlight = 12;
    const readOnly =
      'mount --bind /sys/kernel/tracing /sys/kernel/tracing && mount -o remount,bind,ro /sys/kernel/tracing';
    const doctor = await sh(`unshare -m sh -c '${readOnly} && ${AGENT.join(' ')} doctor'`);
    assert.match(doctor.text, /make \/sys\/kernel\/tracing writable/);
    const agent = vm.start([
      'unshare',
      ...['-m', 'sh', '-c', `${readOnly} && exec ${AGENT.join(' ')} run --listen ${LISTEN}`],
    ]);
    await until('it is ready', async () => (await fetch(`${url}/-/ready`)).ok);
    assert.equal(await metric('vfioscope_probe_missed_total'), 0);

    const vmm = new Vmm(vm, 'busy');
    const uuids = Array.from({ length: inFlight }, () => randomUUID());
    for (const [i, uuid] of uuids.entries()) {
      await sh(
        `echo ${uuid} > $(ls /sys/class/mdev_bus/mtty/mdev_supported_types/*/create | head -n 1)`,
      );
      await vmm.command(`start d${i} ${uuid}`);
    }
    const removals = uuids.map((uuid) => sh(`echo 1 > /sys/bus/mdev/devices/${uuid}/remove`));
    await until(
      'the misses show',
      async () =>
        (await metric('vfioscope_probe_missed_total{point="vfio.unregister"}')) === inFlight - 10,
    );
    await until('they count as lost', async () => {
      const lost = await metric('vfioscope_events_lost_total{reason="probe_missed"}');
      return lost > 0 && lost === (await metric('vfioscope_probe_missed_total'));
    });
    await vmm.kill();
    await Promise.all(removals);
    await stop(agent);
  });

  it('leaves no probe behind in tracefs, even when an agent was killed', async () => {
    const definitions = async () =>
      (await sh('grep -c vfioscope /sys/kernel/tracing/kprobe_events')).text.trim();
    assert.equal(await definitions(), '0');
    const { agent } = start();
    await until('it is ready', async () => (await fetch(`${url}/-/ready`)).ok);
    assert.notEqual(await definitions(), '0');
    agent.signal('SIGKILL');
    await agent.exit;
    const next = start();
    await until('it is ready again', async () => (await fetch(`${url}/-/ready`)).ok);
    await until('it logs the stale definitions that it removed', () =>
      /removed \d+ stale kprobe definitions left by a killed agent/.test(next.output.text),
    );
    await stop(next.agent);
    assert.equal(await definitions(), '0');
  });
});
