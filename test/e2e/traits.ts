// SPDX-License-Identifier: Apache-2.0
/**
 * How kernels differ under the same steps: facts about the kernels, not about the agent, which the
 * end-to-end test therefore expects of them.
 */
import { readMatrix } from '../lab/kernels.ts';

export interface Trait<T> {
  readonly value: T;
  /** Why, with the place in the kernel. */
  readonly because: string;
}

export interface Traits {
  /** An open device keeps its VM alive after the VM's last descriptor is closed. */
  readonly deviceHoldsVm: Trait<boolean>;
  /** An open device still points to its VM after that was destroyed. */
  readonly devicePointsToDeadVm: Trait<boolean>;
  /** The severity of clearing the VM of an open device. */
  readonly clearedKvm: Trait<'info' | 'warning' | 'error'>;
  /** While a removal waits for a device's users, the device can be opened again. */
  readonly opensWhileLeaving: Trait<boolean>;
  /** `remove` can be written before `create` has returned. */
  readonly removeRacesCreate: Trait<boolean>;
  /** A pinned kprobe stays attached without the agent that created it. */
  readonly keepsPinned: Trait<boolean>;
}

const NEW: Traits = {
  deviceHoldsVm: {
    value: true,
    because: 'the core takes a reference for each open device (vfio_device_get_kvm_safe)',
  },
  devicePointsToDeadVm: { value: false, because: 'the reference of the device keeps the VM alive' },
  clearedKvm: { value: 'info', because: 'the device keeps its reference' },
  opensWhileLeaving: {
    value: false,
    because: 'the device leaves the group before its removal waits (vfio_device_group_unregister)',
  },
  removeRacesCreate: {
    value: true,
    because: 'the file `remove` appears with the device, before its driver has set it up',
  },
  keepsPinned: { value: true, because: 'since 5.15 a kprobe can belong to a link (bpf_perf_link)' },
};

const V6_1: Traits = {
  ...NEW,
  deviceHoldsVm: {
    value: false,
    because: "the core copies the group's VM without a reference; drivers take one if they need it",
  },
  devicePointsToDeadVm: { value: true, because: 'the copy is not cleared before the last close' },
  clearedKvm: { value: 'warning', because: 'nothing but the driver itself keeps the VM' },
  opensWhileLeaving: {
    value: true,
    because: 'the device stays on the list of its group until the wait is over',
  },
};

const V5_10: Traits = {
  ...V6_1,
  deviceHoldsVm: {
    value: false,
    because: 'the core knows the VM of a group only; drivers take a reference if they need it',
  },
  devicePointsToDeadVm: { value: false, because: 'the core keeps no VM for a device' },
  clearedKvm: {
    value: 'error',
    because: 'drivers release it in a worker, or never (group notifier)',
  },
  removeRacesCreate: {
    value: false,
    because: 'the file `remove` is the last thing that a create makes, so the race is all but lost',
  },
  keepsPinned: { value: false, because: 'a kprobe ends with the descriptor that it was made by' },
};

const TRAITS: Readonly<Record<string, Traits>> = { '5.10': V5_10, '6.1': V6_1 };

/** The kernel that the tests run on; `npm run lab:matrix` runs them on all. */
export const KERNEL = process.env.VFIOSCOPE_KERNEL ?? '6.12';

/** Whether the agent uses the modules' BTF; without it, every kernel is like 5.10 in that respect. */
export const MODULE_BTF = process.env.VFIOSCOPE_MODULE_BTF !== 'no';

/** @param kernel of test/lab/kernels.json */
export function traitsOf(kernel: string): Traits {
  if (!(kernel in readMatrix().kernels)) throw new Error(`no kernel ${kernel} in kernels.json`);
  return TRAITS[kernel] ?? NEW;
}
