/**
 * Three simulated hosts whose metrics fill every panel of every dashboard: scenarios run in the agent's
 * own state, and real HTTP servers export the result to be scraped.
 */

import { VmIdentities } from '../src/engine/vm-identities.ts';
import type { Host, VmIdentity } from '../src/events/host.ts';
import { LINUX_6_12 } from '../src/scenario/kernels.ts';
import type { Scenario } from '../src/scenario/scenario.ts';
import type { Actor, Opening, ScenarioParent } from '../src/scenario/types.ts';
import type { MetricsSource } from '../src/telemetry/metrics/source.ts';
import { SECOND } from '../src/units.ts';
import type { MeasuredOptions } from '../test/kit/measured.ts';
import { Served } from '../test/kit/served.ts';
import type { Target } from '../test/time-series.ts';
import type { Selection } from './panel-queries.ts';

/** The device whose removal waits for its users; the Device dashboard shows it. */
export const STALLED_DEVICE = 'aaaabbbb-cccc-4ddd-8eee-ffff00001111';
/** The VM whose file descriptors are closed while its VMM holds a device; the VM dashboard shows it. */
const ZOMBIE_VM = 'vm2';
const [STALLED_HOST, BLIND_HOST, DOWN_HOST] = ['kvm01:10055', 'kvm02:10055', 'kvm03:10055'];

/** What each dashboard shows: the host, device and VM that have what its panels are about. */
export function selectionOf(board: string): Selection {
  return {
    host: { fleet: '.*', agent: BLIND_HOST }[board] ?? STALLED_HOST,
    device: board === 'device' ? STALLED_DEVICE : '.*',
    vm: ZOMBIE_VM,
  };
}

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const QEMU: Actor = { pid: 4711, comm: 'qemu-system-x86', cgroup: 1 };
const LEAKING_VMM: Actor = { pid: 4712, comm: 'vmm-leaky', cgroup: 2 };
/** The guests of the processes, as their command lines name them. */
const GUESTS: Readonly<Record<string, VmIdentity>> = {
  4711: {
    commandLine: 'read',
    name: 'guest7',
    uuid: '5a1c7f0e-9d42-4b7c-8a13-0c2f6e7d9b10',
    group: { path: '/machine-qemu-7-guest.scope', unit: 'machine-qemu-7-guest.scope' },
  },
  4712: {
    commandLine: 'read',
    name: 'leaky',
    uuid: 'c0ffee00-1d2e-4f3a-9b4c-5d6e7f809102',
    group: { path: '/vmm-leaky.service', unit: 'vmm-leaky.service' },
  },
};
const UNITS = ['', 'machine-qemu-7-guest.scope', 'vmm-leaky.service'];
const ENOSPC = 28;
/** An error that happens only once. */
const EACCES = 13;
/** The step of the simulation in which it happens. */
const EACCES_STEP = 10;
/** How many of the devices that come and go exist at once. */
const SHORT_LIVED_DEVICES = 4;
/** Seconds of scenario time that have passed when the servers start. */
const ELAPSED_AT_START = 90;
/** Seconds on the clock of a scenario when it begins. */
const SCENARIO_BEGIN = 1000;

export class SimulatedHosts {
  /** A removal is stalled, a VM is a zombie, and a parent is being unregistered. */
  readonly #stalled = served();
  /** Its agent loses events and has a probe that is not attached. */
  readonly #blind = served({ source: this.#overloaded(), maxDevices: 5 });
  /** Its agent answers until takeDown(). */
  readonly #down = served();
  #parent!: ScenarioParent;
  #addresses: readonly string[] = [];
  /** The open device files of the devices that come and go, oldest first. */
  readonly #opens: Opening[] = [];
  /** How often advance() was called. */
  #steps = 0;

  /** What an agent that cannot keep up measures. */
  #overloaded(): Partial<MetricsSource> {
    return {
      cpuCounters: () => [{ cpu: 0, attempts: 1000 * this.#steps, dropped: 3 * this.#steps }],
      ring: () => ({ bytes: 1 << 20, backlog: 700_000 }),
      now: () => this.#blind.world.now + 2.5 * SECOND,
      probes: () => [
        { point: 'kvm.vm.create', state: 'attached', method: 'kprobe', missed: this.#steps },
        { point: 'mdev.create', state: 'failed', missed: 0 },
      ],
      logLinesDropped: () => 7 * this.#steps,
    };
  }

  get targets(): Target[] {
    return this.#addresses.map((address, i) => ({
      address,
      labels: { cluster: 'lab', instance: [STALLED_HOST, BLIND_HOST, DOWN_HOST][i] },
    }));
  }

  /** Sets up the hosts and starts their servers. */
  async start(): Promise<void> {
    const { parent, leaked, device } = this.#stalled.run((scenario) => {
      const parent = scenario.parent({ name: 'gpu0', driver: 'nvidia' });
      const leaky = scenario.createVm({ as: LEAKING_VMM });
      const leaked = scenario.create(parent);
      scenario.open(leaked, { vm: leaky, as: LEAKING_VMM });
      const device = scenario.create(parent, { uuid: STALLED_DEVICE });
      scenario.open(device, { vm: scenario.createVm({ as: QEMU }), as: QEMU });
      scenario.closeVm(leaky);
      return { parent, leaked, device };
    });
    this.#parent = parent;
    // The names of the VMs are known one turn of the event loop later.
    await new Promise(setImmediate);
    this.#stalled.run((scenario) => {
      scenario.bindPci('0000:3b:00.0');
      scenario.parentUnregisterBegins(scenario.parent({ name: 'nic0', driver: 'mlx5' }));
      scenario.wait(ELAPSED_AT_START - 15);
      scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
      scenario.removeBegins(leaked, { as: { pid: 701, comm: 'bash' } });
      scenario.wait(15);
    });
    this.#addresses = await Promise.all(
      [this.#stalled, this.#blind, this.#down].map(async ({ server }) =>
        (await server.listen({ host: '127.0.0.1', port: 0 })).slice('http://'.length),
      ),
    );
  }

  /** Runs one step on each host that still answers: devices and VMs come and go, and events are lost. */
  advance(): void {
    const as: Actor = { pid: 5000 + this.#steps++, comm: 'qemu-system-x86' };
    this.#stalled.run((scenario) => {
      const vm = scenario.createVm({ as });
      const creation = scenario.createBegins(this.#parent);
      if (this.#steps % 3 === 0) scenario.wait(1);
      this.#opens.push(scenario.open(scenario.createEnds(creation), { vm, as }));
      const oldest = this.#opens.length > SHORT_LIVED_DEVICES && this.#opens.shift();
      if (oldest) release(scenario, oldest);
      scenario.createFails(this.#parent, ENOSPC);
      if (this.#steps === EACCES_STEP) scenario.createFails(this.#parent, EACCES);
      // A driver does not unregister its device, which is a critical violation.
      const notUnregistered = scenario.create(this.#parent);
      scenario.unbindWithoutUnregister(scenario.removeBegins(notUnregistered, { idle: true }));
      scenario.freeMdev(notUnregistered);
    });
    this.#blind.run((scenario) => {
      const vm = scenario.createVm({ as });
      scenario.getKvm(vm);
      scenario.steps.push('loss');
      scenario.closeVm(vm);
      scenario.exit(as);
      scenario.wait(9);
    });
    this.#blind.lost.ring_full += 3;
    const { world, metrics } = this.#blind;
    metrics.snapshot({ reason: 'loss', began: world.now, lasted: 0.02 * SECOND, problems: [] });
  }

  /** Stops the server of the third host for good. */
  async takeDown(): Promise<void> {
    await this.#down.server.close();
  }

  async stop(): Promise<void> {
    await Promise.all([this.#stalled, this.#blind, this.#down].map(({ server }) => server.close()));
  }
}

/** The VMM exits, and the device is removed, which takes a second. */
function release(scenario: Scenario, opening: Opening): void {
  const { device, task } = opening;
  const { vm } = device;
  scenario.close(opening);
  if (vm) scenario.closeVm(vm, { as: task });
  const removal = scenario.removeBegins(device);
  scenario.wait(1);
  scenario.removeEnds(removal);
}

function served(options: MeasuredOptions = {}): Served {
  const booted = Date.now() / 1000 - SCENARIO_BEGIN - ELAPSED_AT_START;
  const host: Host = {
    traits: LINUX_6_12,
    pidsWithKvmFiles: () => runner.scenario.kvmPids,
    availableInstances: () => new Map([['gpu0-1', 3]]),
    identifyVm: async ({ task }) => GUESTS[`${task?.pid}`] ?? { commandLine: 'exited' },
    controlGroup: ({ cgroup }) => ({ path: `/${UNITS[cgroup]}`, unit: UNITS[cgroup] }),
  };
  const source = {
    sinceEpoch: (at: number) => booted + at / SECOND,
    now: () => (Date.now() / 1000 - booted) * SECOND,
    ...options.source,
  };
  const runner = new Served({ ...options, host, source, traceIdOf: () => TRACE });
  runner.sinks.unshift(new VmIdentities(host));
  return runner;
}
