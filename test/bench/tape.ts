// SPDX-License-Identifier: Apache-2.0
/** Long stories as lists of records that the kernel can play again and again. */
import { encodeRecord } from '../../src/events/encoder.ts';
import { EVENT, POINT, WIRE } from '../../src/events/wire.gen.ts';
import { Story } from '../../src/rules/story.ts';
import type { Actor, ToldVm } from '../../src/rules/told.ts';

/** ns between two records of a tape. */
const STEP = 10_000;
const START = 1e12;
const RING_HEADER = 8;

export interface Tape {
  readonly records: readonly Uint8Array[];
  /** ns that one pass lasts. */
  readonly span: number;
  /** Bytes that one pass takes in a ring. */
  readonly bytes: number;
}

/** What one pass of {@link tapeOfLives} tells. */
export interface Told {
  readonly parents: number;
  readonly devices: number;
  readonly opens: number;
  readonly vms: number;
}

const TOLD: Told = { parents: 4, devices: 64, opens: 64, vms: 32 };
/** Calls of one kind that are under way at once, by as many threads. */
const PARALLEL = 4;

/**
 * A busy host: devices of several parents are created, each VM gets two, its
 * driver takes a reference and puts it, and everything goes again. All of it is
 * legal, and nothing is left at the end, so that the tape can be played again.
 */
export function tapeOfLives(): { readonly tape: Tape; readonly told: Told } {
  const story = new Story();
  const parents = times(TOLD.parents, (i) =>
    story.parent({ name: `0000:0${i}:00.0`, driver: 'nvidia' }),
  );
  const devices = inParallel(TOLD.devices, (i) => {
    const creation = story.createBegins(parents[i % parents.length], { as: shell(i) });
    return () => story.createEnds(creation);
  });
  const vms = times(TOLD.vms, (i) => story.createVm({ as: vmm(i) }));
  const opens = inParallel(TOLD.opens, (i) => {
    const vm = vms[i % vms.length];
    const opening = story.openBegins(devices[i], { vm, as: vm.task });
    story.getKvm(vm);
    return () => story.openEnds(opening);
  });
  for (const [i, open] of opens.entries()) {
    putKvm(story, vms[i % vms.length]);
    story.close(open);
    story.clearKvm(open.device, { as: open.task });
  }
  for (const vm of vms) {
    story.closeVm(vm);
    story.exit(vm.task);
  }
  // The last parent goes while it still has its devices.
  const last = parents[parents.length - 1];
  const removed = devices.filter((device) => device.parent !== last);
  inParallel(removed.length, (i) => {
    const removal = story.removeBegins(removed[i], { as: shell(i) });
    return () => story.removeEnds(removal);
  });
  for (const parent of parents) {
    const unregistering = story.parentUnregisterBegins(parent);
    for (const device of devices) {
      if (parent === last && device.parent === last) story.childRemoved(unregistering, device);
    }
    story.parentUnregisterEnds(unregistering);
  }
  return { tape: tapeOf(story), told: TOLD };
}

/** VMs that live on: apply `setup` once, then play the tape of their references coming and going. */
export function tapeOfReferences(): { readonly setup: Tape; readonly tape: Tape } {
  const setup = new Story();
  const vms = times(16, (i) => setup.createVm({ as: vmm(i) }));
  const story = new Story();
  for (let i = 0; i < 4096; i++) {
    const vm = vms[(i * 7) % vms.length];
    story.getKvm(vm);
    putKvm(story, vm);
  }
  return { setup: tapeOf(setup), tape: tapeOf(story) };
}

function putKvm(story: Story, vm: ToldVm): void {
  const { pid, comm } = vm.task;
  story.steps.push(
    encodeRecord({
      ...{ time: 0, seq: 0, point: POINT.KVM_PUT, pid, tid: pid, comm },
      ...{ kvm: vm.key, usersCount: vm.users, vmPid: pid },
    }),
  );
  vm.users--;
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

function tapeOf(story: Story): Tape {
  const records = story.steps.filter((step) => step instanceof Uint8Array);
  let bytes = 0;
  for (const [i, record] of records.entries()) {
    const time = START + i * STEP;
    const view = new DataView(record.buffer, record.byteOffset);
    view.setBigUint64(EVENT.time, BigInt(time), true);
    bytes += RING_HEADER + record.length;
  }
  return { records, span: records.length * STEP, bytes };
}

/** How many of a tape's records carry names. */
export function namedRecords({ records }: Tape): number {
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
