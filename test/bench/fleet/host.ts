// SPDX-License-Identifier: Apache-2.0
/**
 * An agent on a simulated host: scenarios run through the real pipeline, rules, metrics and server, in
 * real time. Devices are created and removed all the time, and sometimes something goes wrong.
 */
import { randomUUID } from 'node:crypto';
import { RULES } from '../../../src/catalogue.ts';
import { POINT_NAMES } from '../../../src/events/points.ts';
import { LINUX_6_12 } from '../../../src/scenario/kernels.ts';
import type { Scenario } from '../../../src/scenario/scenario.ts';
import type {
  Actor,
  Opening,
  Removal,
  ScenarioDevice,
  ScenarioParent,
} from '../../../src/scenario/types.ts';
import { SECOND } from '../../../src/units.ts';
import { type Random, seeded } from '../../e2e/soak/random.ts';
import { Served } from '../../kit/served.ts';

export const DEVICES_OF_PARENT = 16;
/** Mean lifetime of a device, s. */
export const LIFETIME = 3600;
/** Mean time between two ordering violations on each host, s. */
export const VIOLATION_INTERVAL = 600;
/** So many of ten devices are open, each by a VM of its own. */
const IN_USE = 0.8;
/** How long a stalled removal waits, s: rules fire after two. */
const HANGS = 30;
/** CPUs of the host, each of which has counters of its own. */
const CPUS = 64;
/** mdev types that each parent offers. */
const TYPES = ['nvidia-63', 'nvidia-64', 'nvidia-65', 'nvidia-66'];
const ENOSPC = 28;
/** The start of a scenario's clock, s. */
const SCENARIO_BEGINS = 1000;

interface TrackedObject {
  readonly device: ScenarioDevice;
  readonly opening: Opening | undefined;
}

interface Hanging {
  readonly object: TrackedObject;
  readonly removal: Removal;
  /** Beats until it continues. */
  left: number;
}

export class SimulatedHost {
  readonly served: Served;
  readonly #random: Random;
  readonly #parents: readonly ScenarioParent[];
  readonly #objects: TrackedObject[] = [];
  readonly #hanging: Hanging[] = [];
  #pids = 2000;

  /**
   * @param seed hosts of different seeds do different things
   * @param compression how many seconds pass here in each real one
   */
  constructor(devices: number, seed: number, compression = 1) {
    this.#random = seeded(seed);
    const booted = Date.now() / 1000 - SCENARIO_BEGINS / compression;
    const instances = new Map(TYPES.map((type, i) => [type, i]));
    this.served = new Served({
      maxDevices: Math.max(1000, devices),
      host: {
        traits: LINUX_6_12,
        pidsWithKvmFiles: () => this.served.scenario.kvmPids,
        availableInstances: () => instances,
      },
      source: {
        sinceEpoch: (at) => booted + at / SECOND / compression,
        now: () => this.served.world.now,
        probes: () => PROBES,
        ruleStates: () => ACTIVE,
        cpuCounters: () =>
          Array.from({ length: CPUS }, (_, cpu) => ({ cpu, attempts: 0, dropped: 0 })),
        sequenceGaps: () => new Array(CPUS).fill(0),
        pinned: () => undefined,
        logLinesSuppressed: new Map(),
      },
    });
    this.#parents = this.served.run((scenario) =>
      Array.from({ length: Math.ceil(devices / DEVICES_OF_PARENT) }, (_, i) =>
        scenario.parent({ name: `0000:${hex(0x10 + i)}:00.0`, driver: 'nvidia', type: TYPES[0] }),
      ),
    );
    this.served.run((scenario) => {
      for (let i = 0; i < devices; i++)
        this.#begin(scenario, this.#parents[i % this.#parents.length]);
    });
  }

  /** Advances the host by a second. */
  beat(): void {
    this.served.run((scenario) => {
      scenario.wait(1);
      for (const hanging of this.#hanging) hanging.left--;
      while (this.#hanging[0]?.left === 0)
        this.#release(scenario, this.#hanging.shift() as Hanging);
      if (this.#random() < this.#objects.length / LIFETIME) this.#replace(scenario);
      if (this.#random() < 1 / VIOLATION_INTERVAL) this.#violate(scenario);
    });
  }

  #begin(scenario: Scenario, parent: ScenarioParent): void {
    const device = scenario.create(parent, { uuid: randomUUID() });
    if (this.#random() >= IN_USE) {
      this.#objects.push({ device, opening: undefined });
      return;
    }
    const as: Actor = { pid: this.#pids++, comm: 'qemu-system-x86' };
    this.#objects.push({
      device,
      opening: scenario.open(device, { vm: scenario.createVm({ as }), as }),
    });
  }

  #replace(scenario: Scenario): void {
    const { device, opening } = this.#any();
    if (opening) closeAll(scenario, opening);
    scenario.remove(device);
    if (device.parent) this.#begin(scenario, device.parent);
  }

  /** Creates a device on a full parent, or removes a device while it is open. */
  #violate(scenario: Scenario): void {
    scenario.createFails(this.#parents[0], ENOSPC, { uuid: randomUUID() });
    const object = this.#any();
    const removal = scenario.removeBegins(object.device);
    this.#hanging.push({ object, removal, left: HANGS });
  }

  #release(scenario: Scenario, { object, removal }: Hanging): void {
    if (object.opening) closeAll(scenario, object.opening);
    scenario.removeEnds(removal);
    if (object.device.parent) this.#begin(scenario, object.device.parent);
  }

  /** Removes a random device from the list, and returns it. */
  #any(): TrackedObject {
    const [object] = this.#objects.splice(Math.floor(this.#random() * this.#objects.length), 1);
    return object;
  }
}

const PROBES = POINT_NAMES.map((point) => ({
  ...{ point, state: 'attached' as const, method: 'kprobe+kretprobe', missed: 0 },
  symbol: point.replaceAll('.', '_'),
}));
const ACTIVE = RULES.map(({ id }) => ({ id, active: true }));

/** The VMM exits. */
function closeAll(scenario: Scenario, opening: Opening): void {
  const { device, task } = opening;
  const { vm } = device;
  scenario.close(opening);
  if (vm) scenario.closeVm(vm, { as: task });
  scenario.exit(task);
}

function hex(number: number): string {
  return number.toString(16).padStart(2, '0');
}
