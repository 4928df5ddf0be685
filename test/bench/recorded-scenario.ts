// SPDX-License-Identifier: Apache-2.0
/** Long scenarios, recorded as lists of records that the kernel can play again and again. */
import { EVENT, WIRE } from '../../src/events/wire.gen.ts';
import { Scenario } from '../../src/scenario/scenario.ts';
import type { Actor } from '../../src/scenario/types.ts';

/** ns between two records. */
const STEP = 10_000;
const START = 1e12;
const RING_HEADER = 8;

export interface RecordedScenario {
  readonly records: readonly Uint8Array[];
  /** ns that one pass lasts. */
  readonly span: number;
  /** Bytes of one pass in a ring. */
  readonly bytes: number;
}

/** What one pass of {@link recordedLifecycles} contains: the counts of created objects. */
export interface Totals {
  readonly parents: number;
  readonly devices: number;
  readonly opens: number;
  readonly vms: number;
}

const TOTALS: Totals = { parents: 4, devices: 64, opens: 64, vms: 32 };
/** Calls of one kind that are in flight at once, by as many threads. */
const PARALLEL = 4;

/**
 * A busy host: devices of several parents are created, each VM gets two, their driver takes a
 * reference and puts it, and everything is removed. All of it is legal, and nothing is left at the
 * end, so that the scenario can be played again.
 */
export function recordedLifecycles(): {
  readonly scenario: RecordedScenario;
  readonly totals: Totals;
} {
  const scenario = new Scenario();
  const parents = times(TOTALS.parents, (i) =>
    scenario.parent({ name: `0000:0${i}:00.0`, driver: 'nvidia' }),
  );
  const devices = inParallel(TOTALS.devices, (i) => {
    const creation = scenario.createBegins(parents[i % parents.length], { as: shell(i) });
    return () => scenario.createEnds(creation);
  });
  const vms = times(TOTALS.vms, (i) => scenario.createVm({ as: vmm(i) }));
  const opens = inParallel(TOTALS.opens, (i) => {
    const vm = vms[i % vms.length];
    const opening = scenario.openBegins(devices[i], { vm, as: vm.task });
    scenario.getKvm(vm);
    return () => scenario.openEnds(opening);
  });
  for (const [i, open] of opens.entries()) {
    // A driver puts its reference in its close_device(), which the kernel calls inside the close.
    scenario.closeBegins(open);
    scenario.putKvm(vms[i % vms.length]);
    scenario.closeEnds(open);
    scenario.clearKvm(open.device, { as: open.task });
  }
  for (const vm of vms) {
    scenario.closeVm(vm);
    scenario.exit(vm.task);
  }
  // The last parent is unregistered while it still has its devices.
  const last = parents[parents.length - 1];
  const removed = devices.filter((device) => device.parent !== last);
  inParallel(removed.length, (i) => {
    const removal = scenario.removeBegins(removed[i], { as: shell(i) });
    return () => scenario.removeEnds(removal);
  });
  for (const parent of parents) {
    const unregistering = scenario.parentUnregisterBegins(parent);
    for (const device of devices) {
      if (parent === last && device.parent === last) scenario.childRemoved(unregistering, device);
    }
    scenario.parentUnregisterEnds(unregistering);
  }
  return { scenario: recorded(scenario), totals: TOTALS };
}

/** VMs that stay: apply `setup` once, then play the scenario, in which references to them are taken and put. */
export function recordedReferences(): {
  readonly setup: RecordedScenario;
  readonly scenario: RecordedScenario;
} {
  const setup = new Scenario();
  const vms = times(16, (i) => setup.createVm({ as: vmm(i) }));
  const scenario = new Scenario();
  for (let i = 0; i < 4096; i++) {
    const vm = vms[(i * 7) % vms.length];
    scenario.getKvm(vm);
    scenario.putKvm(vm);
  }
  return { setup: recorded(setup), scenario: recorded(scenario) };
}

/** Runs calls that begin one after the other and end in the same order, a few at a time. */
function inParallel<T>(count: number, begin: (i: number) => () => T): T[] {
  const results: T[] = [];
  for (let first = 0; first < count; first += PARALLEL) {
    const ends = times(Math.min(PARALLEL, count - first), (i) => begin(first + i));
    for (const end of ends) results.push(end());
  }
  return results;
}

function recorded(scenario: Scenario): RecordedScenario {
  const records = scenario.steps.filter((step) => step instanceof Uint8Array);
  let bytes = 0;
  for (const [i, record] of records.entries()) {
    const time = START + i * STEP;
    const view = new DataView(record.buffer, record.byteOffset);
    view.setBigUint64(EVENT.time, BigInt(time), true);
    bytes += RING_HEADER + record.length;
  }
  return { records, span: records.length * STEP, bytes };
}

/** The number of records that carry names. */
export function namedRecords({ records }: RecordedScenario): number {
  return records.filter((record) => record.length === WIRE.namedSize).length;
}

function times<T>(count: number, make: (i: number) => T): T[] {
  return Array.from({ length: count }, (_, i) => make(i));
}

function shell(i: number): Actor {
  return { pid: 500 + (i % PARALLEL), comm: 'mdevctl' };
}

function vmm(i: number): Actor {
  return { pid: 1000 + i, comm: 'qemu-system-x86' };
}
