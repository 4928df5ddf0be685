/** The phases of a lifecycle that become spans, and the event kinds that begin and end them. */

import { type EventKind, kindIndexOf } from '../events/points.ts';
import type { Device, Open, Vm } from '../lifecycle/objects.ts';
import type { Transition } from '../lifecycle/transition.ts';

interface Described {
  readonly description: string;
  /** The phase that encloses it, if that one is in progress. */
  readonly within?: PhaseName;
}

export type PhaseName =
  | `vfio.device.${'create' | 'bind' | 'open' | 'close' | 'remove' | 'wait_for_users' | 'release'}`
  | `vfio.vm.${'create' | 'zombie' | 'destroy'}`;

export const PHASES: Readonly<Record<PhaseName, Described>> = {
  'vfio.device.create': { description: 'the write to `create`, until it returns' },
  'vfio.device.bind': {
    within: 'vfio.device.create',
    description:
      'its driver binds it; for a device that is not an mdev: its registration with VFIO',
  },
  'vfio.device.open': {
    description:
      'a process has it open: from the open call to the end of the close, or until the open fails',
  },
  'vfio.device.close': { within: 'vfio.device.open', description: 'the close of the device file' },
  'vfio.device.remove': { description: 'the removal, until the call returns' },
  'vfio.device.wait_for_users': {
    within: 'vfio.device.remove',
    description: 'its unregistration from VFIO, which waits until no user has it open',
  },
  'vfio.device.release': { within: 'vfio.device.remove', description: 'the kernel frees it' },
  'vfio.vm.create': { description: 'KVM_CREATE_VM, until the process has the file descriptor' },
  'vfio.vm.zombie': {
    description: 'its last file descriptor is closed, and references keep it alive',
  },
  'vfio.vm.destroy': { description: 'KVM destroys it' },
};

/** What an event kind does to a phase: it begins or ends it. */
export interface Step {
  readonly phase: PhaseName;
  readonly ends: boolean;
  /** Only if the call failed; otherwise the phase continues. */
  readonly ifFailed?: true;
}

const begins = (phase: PhaseName): readonly Step[] => [{ phase, ends: false }];
const ends = (...phases: PhaseName[]): readonly Step[] =>
  phases.map((phase) => ({ phase, ends: true }));

const STEPS: Readonly<Partial<Record<EventKind, readonly Step[]>>> = {
  'mdev.create:begin': begins('vfio.device.create'),
  'mdev.create:end': ends('vfio.device.create'),
  'mdev.probe:begin': begins('vfio.device.bind'),
  'mdev.probe:end': ends('vfio.device.bind'),
  'vfio.register:begin': begins('vfio.device.bind'),
  'vfio.register:end': ends('vfio.device.bind'),
  'vfio.device.open:begin': begins('vfio.device.open'),
  'vfio.device.open:end': [{ phase: 'vfio.device.open', ends: true, ifFailed: true }],
  'snapshot.open:begin': begins('vfio.device.open'),
  'vfio.device.close:begin': begins('vfio.device.close'),
  'vfio.device.close:end': ends('vfio.device.close', 'vfio.device.open'),
  'vfio.unregister:begin': begins('vfio.device.wait_for_users'),
  'vfio.unregister:end': ends('vfio.device.wait_for_users'),
  'mdev.remove:begin': begins('vfio.device.remove'),
  'mdev.remove:end': ends('vfio.device.remove'),
  'mdev.remove_child:begin': begins('vfio.device.remove'),
  'mdev.remove_child:end': ends('vfio.device.remove'),
  'mdev.release:begin': begins('vfio.device.release'),
  'mdev.release:end': ends('vfio.device.release'),
  'kvm.vm.init:begin': begins('vfio.vm.create'),
  'kvm.vm.create:end': ends('vfio.vm.create'),
  'kvm.vm.fd_close:begin': begins('vfio.vm.zombie'),
  'kvm.vm.destroy:begin': [...ends('vfio.vm.zombie'), ...begins('vfio.vm.destroy')],
  'kvm.vm.destroy:end': ends('vfio.vm.destroy'),
  // These begin no phase, but the object is followed from then on.
  'snapshot.device:begin': [],
  'snapshot.vm:begin': [],
};

/** By index of the event kind; undefined for kinds that begin and end no phase. */
export const STEPS_OF: (readonly Step[] | undefined)[] = [];
for (const [name, steps] of Object.entries(STEPS)) {
  STEPS_OF[kindIndexOf(name as EventKind)] = steps;
}

/** The object whose phases a transition is about. */
export function objectOf(transition: Transition, steps: readonly Step[]): Device | Vm | undefined {
  const isOfVm = steps.some(({ phase }) => phase.startsWith('vfio.vm.'));
  return isOfVm ? transition.vm : (transition.device ?? transition.vm);
}

/**
 * Distinguishes phases of the same name that an object can be in at the same time: its opens, and
 * calls of several threads. One thread may close the descriptor of a VM and another destroy the VM.
 */
export function keyOf({ open, event }: Transition, phase: PhaseName): Open | number {
  if (phase === 'vfio.device.open' || phase === 'vfio.device.close') return open ?? 0;
  return phase.startsWith('vfio.device.') ? event.tid : 0;
}
