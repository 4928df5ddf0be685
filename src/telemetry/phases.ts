/** The phases of lives that become spans, and at which moments they begin and end. */
import type { Moment } from '../lifecycle/moment.ts';
import type { Device, Open, Vm } from '../lifecycle/objects.ts';
import { type MomentName, momentIndexOf } from '../lifecycle/points.ts';

interface Described {
  readonly meaning: string;
  /** The phase that it is a part of, if it began in one. */
  readonly within?: PhaseName;
}

export type PhaseName =
  | `vfio.device.${'create' | 'bind' | 'open' | 'close' | 'remove' | 'wait_for_users' | 'release'}`
  | `vfio.vm.${'create' | 'released' | 'destroy'}`;

export const PHASES: Readonly<Record<PhaseName, Described>> = {
  'vfio.device.create': { meaning: 'somebody writes to `create`, until it returns' },
  'vfio.device.bind': {
    within: 'vfio.device.create',
    meaning: 'its driver sets it up; of a device that is not an mdev: it is registered with VFIO',
  },
  'vfio.device.open': {
    meaning: 'a process has it open: from the call to the end of the close, or until it is refused',
  },
  'vfio.device.close': { within: 'vfio.device.open', meaning: 'the device file is closed' },
  'vfio.device.remove': { meaning: 'somebody removes it, until the call returns' },
  'vfio.device.wait_for_users': {
    within: 'vfio.device.remove',
    meaning: 'it is withdrawn from VFIO, and waits until nobody has it open',
  },
  'vfio.device.release': { within: 'vfio.device.remove', meaning: 'its memory is freed' },
  'vfio.vm.create': { meaning: 'a process asks `/dev/kvm` for a VM, until it has it' },
  'vfio.vm.released': {
    meaning: 'its last descriptor is closed, and references keep it alive',
  },
  'vfio.vm.destroy': { meaning: 'the kernel takes it apart' },
};

/** What a moment begins or ends. */
export interface Step {
  readonly phase: PhaseName;
  readonly ends: boolean;
  /** Only if the call failed: else it goes on. */
  readonly ifFailed?: true;
}

const begins = (phase: PhaseName): readonly Step[] => [{ phase, ends: false }];
const ends = (...phases: PhaseName[]): readonly Step[] =>
  phases.map((phase) => ({ phase, ends: true }));

const STEPS: Readonly<Partial<Record<MomentName, readonly Step[]>>> = {
  'mdev.create:begin': begins('vfio.device.create'),
  'mdev.create:end': ends('vfio.device.create'),
  'mdev.probe:begin': begins('vfio.device.bind'),
  'mdev.probe:end': ends('vfio.device.bind'),
  'vfio.register:begin': begins('vfio.device.bind'),
  'vfio.register:end': ends('vfio.device.bind'),
  'vfio.device.open:begin': begins('vfio.device.open'),
  'vfio.device.open:end': [{ phase: 'vfio.device.open', ends: true, ifFailed: true }],
  'seen.open:begin': begins('vfio.device.open'),
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
  'kvm.vm.fd_close:begin': begins('vfio.vm.released'),
  'kvm.vm.destroy:begin': [...ends('vfio.vm.released'), ...begins('vfio.vm.destroy')],
  'kvm.vm.destroy:end': ends('vfio.vm.destroy'),
  // Nothing begins here but what is known of them.
  'seen.device:begin': [],
  'seen.vm:begin': [],
};

/** By moment index; undefined where a moment is none of any life's. */
export const STEPS_OF: (readonly Step[] | undefined)[] = [];
for (const [name, steps] of Object.entries(STEPS)) {
  STEPS_OF[momentIndexOf(name as MomentName)] = steps;
}

/** Whose phases a moment is about. */
export function lifeOf(moment: Moment, steps: readonly Step[]): Device | Vm | undefined {
  const isOfVm = steps.some(({ phase }) => phase.startsWith('vfio.vm.'));
  return isOfVm ? moment.vm : (moment.device ?? moment.vm);
}

/**
 * Tells phases of one name apart that a life may be in at once: its opens, and calls by threads. The
 * descriptor of a VM may be closed by one thread, and the VM be destroyed by another.
 */
export function keyOf({ open, event }: Moment, phase: PhaseName): Open | number {
  if (phase === 'vfio.device.open' || phase === 'vfio.device.close') return open ?? 0;
  return phase.startsWith('vfio.device.') ? event.tid : 0;
}
