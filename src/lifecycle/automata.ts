/**
 * The legal lifecycles of the tracked objects, one transition table for each kind. The state machine
 * (step.ts), the diagrams in docs/automata.md and the detection of illegal steps all derive from them.
 *
 * The order of steps is that of drivers/vfio/mdev/mdev_core.c, drivers/vfio/vfio_main.c, group.c and
 * device_cdev.c, virt/kvm/kvm_main.c of Linux 5.10 to 7.2.
 */

import type {
  CdevState,
  DeviceState,
  OpenState,
  ParentState,
  VfioState,
  VmState,
} from './states.ts';

export type AutomatonName = 'parent' | 'device' | 'vfio' | 'open' | 'cdev' | 'vm';

/** In state `from`, `input` is legal and leads to state `to`. */
type Row<State extends string, Input extends string> = readonly [
  from: State,
  input: Input,
  to: State,
];

export interface Automaton<State extends string = string, Input extends string = string> {
  readonly name: AutomatonName;
  readonly title: string;
  /** What the tracked object is, as one sentence. */
  readonly description: string;
  readonly initial: State;
  readonly rows: readonly Row<State, Input>[];
  /** The state after an illegal step: the kernel has taken that step, so the agent follows it. */
  readonly after: Readonly<Record<Input, State>>;
}

export type ParentInput = 'registered' | 'register fails' | 'unregister begins' | 'unregister ends';

export const PARENT: Automaton<ParentState, ParentInput> = {
  name: 'parent',
  title: 'Parent',
  description: 'A device whose driver offers mdev types.',
  initial: 'registering',
  rows: [
    ['registering', 'registered', 'registered'],
    ['registering', 'register fails', 'gone'],
    ['registered', 'unregister begins', 'unregistering'],
    ['unregistering', 'unregister ends', 'gone'],
  ],
  after: {
    registered: 'registered',
    'register fails': 'gone',
    'unregister begins': 'unregistering',
    'unregister ends': 'gone',
  },
};

export type VfioInput =
  | 'initialised'
  | 'registered'
  | 'unregister begins'
  | 'unregister ends'
  | 'freed';

/** What a driver may do with its vfio_device, as the VFIO core sees it. */
export const VFIO: Automaton<VfioState, VfioInput> = {
  name: 'vfio',
  title: 'vfio_device',
  description:
    'The state of a device in the VFIO core, which changes when the driver calls its functions.',
  initial: 'none',
  rows: [
    ['none', 'initialised', 'initialised'],
    // Before 6.1 there is no separate initialisation: registering it also creates it.
    ['none', 'registered', 'registered'],
    // Its initialisation failed.
    ['none', 'freed', 'released'],
    ['initialised', 'registered', 'registered'],
    // Its registration failed, or was never tried.
    ['initialised', 'freed', 'released'],
    ['registered', 'unregister begins', 'unregistering'],
    ['unregistering', 'unregister ends', 'unregistered'],
    ['unregistered', 'freed', 'released'],
    // vfio_ccw of 6.1 embeds a vfio_device and initialises it again; on 5.10 an mdev may be bound again.
    ['released', 'initialised', 'initialised'],
    ['released', 'registered', 'registered'],
  ],
  after: {
    initialised: 'initialised',
    registered: 'registered',
    'unregister begins': 'unregistering',
    'unregister ends': 'unregistered',
    freed: 'released',
  },
};

export type OpenInput = 'opened' | 'open fails' | 'close begins' | 'close ends';

export const OPEN: Automaton<OpenState, OpenInput> = {
  name: 'open',
  title: 'Open',
  description: 'An open device file, from its open to its last close.',
  initial: 'opening',
  rows: [
    ['opening', 'opened', 'open'],
    ['opening', 'open fails', 'failed'],
    ['open', 'close begins', 'closing'],
    ['closing', 'close ends', 'closed'],
  ],
  after: {
    opened: 'open',
    'open fails': 'failed',
    'close begins': 'closing',
    'close ends': 'closed',
  },
};

export type CdevInput =
  | 'opened'
  | 'open fails'
  | 'bound'
  | 'attached'
  | 'detached'
  | 'close begins'
  | 'close ends';

export const CDEV: Automaton<CdevState, CdevInput> = {
  name: 'cdev',
  title: 'Device cdev',
  description:
    'An open `/dev/vfio/devices/vfioN`. It keeps its device registered from its open to its last close, but ' +
    'opens the device only when it is bound to an iommufd context.',
  initial: 'opening',
  rows: [
    ['opening', 'opened', 'unbound'],
    ['opening', 'open fails', 'failed'],
    ['unbound', 'bound', 'bound'],
    ['bound', 'attached', 'attached'],
    // To another address space, which replaces the first.
    ['attached', 'attached', 'attached'],
    ['attached', 'detached', 'bound'],
    // The kernel accepts it, and does nothing.
    ['bound', 'detached', 'bound'],
    ['unbound', 'close begins', 'closing'],
    // Nothing but its close unbinds it.
    ['bound', 'close begins', 'closing'],
    ['attached', 'close begins', 'closing'],
    ['closing', 'close ends', 'closed'],
  ],
  after: {
    opened: 'unbound',
    'open fails': 'failed',
    bound: 'bound',
    attached: 'attached',
    detached: 'bound',
    'close begins': 'closing',
    'close ends': 'closed',
  },
};

export type VmInput = 'created' | 'create fails' | 'fd closed' | 'destroy begins' | 'destroy ends';

export const VM: Automaton<VmState, VmInput> = {
  name: 'vm',
  title: 'VM',
  description: 'A KVM virtual machine, until it is torn down after its last reference was put.',
  initial: 'creating',
  rows: [
    ['creating', 'created', 'running'],
    ['creating', 'create fails', 'failed'],
    // Its creation failed after its first reference was taken, so the kernel destroys it.
    ['creating', 'destroy begins', 'destroying'],
    // Another thread closed the file descriptor before the ioctl of the creator returned.
    ['creating', 'fd closed', 'zombie'],
    ['running', 'fd closed', 'zombie'],
    ['zombie', 'created', 'zombie'],
    ['zombie', 'destroy begins', 'destroying'],
    ['destroying', 'destroy ends', 'destroyed'],
  ],
  after: {
    created: 'running',
    'create fails': 'failed',
    'fd closed': 'zombie',
    'destroy begins': 'destroying',
    'destroy ends': 'destroyed',
  },
};

export type DeviceInput =
  | 'create succeeds'
  | 'create returns after free'
  | 'create succeeds without driver'
  | 'create fails'
  | 'create fails but still referenced'
  | 'probe succeeds'
  | 'opened'
  | 'last close'
  | 'removal begins'
  | 'driver unbound'
  | 'freed';

/** An mdev, or a device that is assigned as a whole. */
export const DEVICE: Automaton<DeviceState, DeviceInput> = {
  name: 'device',
  title: 'Device',
  description: 'An mdev, or a device that is assigned as a whole, such as one bound to vfio-pci.',
  initial: 'creating',
  rows: [
    ['creating', 'create succeeds', 'bound'],
    ['creating', 'create fails', 'failed'],
    // Something still holds a reference on it, so it is not freed yet.
    ['creating', 'create fails but still referenced', 'removing'],
    // On 5.10 the create succeeds even if no driver could be bound.
    ['creating', 'create succeeds without driver', 'unbound'],
    // A concurrent removal freed it before the create returned.
    ['creating', 'create returns after free', 'released'],
    // Its driver's probe failed, or a removal overtook the create. Only the return of the create ends this
    // state.
    ['creating', 'removal begins', 'creating'],
    ['creating', 'freed', 'creating'],
    ['creating', 'opened', 'creating'],
    ['creating', 'last close', 'creating'],
    ['bound', 'opened', 'open'],
    // Two files were closed concurrently, and both closes sampled an open_count of 0.
    ['bound', 'last close', 'bound'],
    ['bound', 'removal begins', 'removing'],
    ['open', 'opened', 'open'],
    ['open', 'last close', 'bound'],
    ['open', 'removal begins', 'removing'],
    ['removing', 'removal begins', 'removing'],
    // Until 6.5 a device can be opened again while its removal waits for users.
    ['removing', 'opened', 'removing'],
    ['removing', 'last close', 'removing'],
    // Only its driver was unbound; the mdev itself is not being removed.
    ['removing', 'driver unbound', 'unbound'],
    ['removing', 'freed', 'released'],
    ['unbound', 'probe succeeds', 'bound'],
    ['unbound', 'freed', 'released'],
  ],
  after: {
    'create succeeds': 'bound',
    'create returns after free': 'released',
    'create succeeds without driver': 'unbound',
    'create fails': 'failed',
    'create fails but still referenced': 'removing',
    'probe succeeds': 'bound',
    opened: 'open',
    'last close': 'bound',
    'removal begins': 'removing',
    'driver unbound': 'unbound',
    freed: 'released',
  },
};

export const AUTOMATA: readonly Automaton[] = [PARENT, DEVICE, VFIO, OPEN, CDEV, VM];
