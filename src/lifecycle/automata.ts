/**
 * The legal lives of the objects: one table each, from which the state machine, the picture
 * in docs/automata.md and the check of illegal steps derive.
 *
 * Orders: drivers/vfio/mdev/mdev_core.c, drivers/vfio/vfio_main.c and group.c,
 * virt/kvm/kvm_main.c of Linux 5.10 to 7.2.
 */
import type { Moment } from './moment.ts';
import type {
  Device,
  DeviceState,
  Open,
  OpenState,
  Parent,
  ParentState,
  VfioState,
  Vm,
  VmState,
} from './objects.ts';

export type AutomatonName = 'parent' | 'device' | 'vfio' | 'open' | 'vm';

/** In state `from`, `input` is legal and leads to `to`. */
type Row<State extends string, Input extends string> = readonly [
  from: State,
  input: Input,
  to: State,
];

export interface Automaton<State extends string = string, Input extends string = string> {
  readonly name: AutomatonName;
  readonly title: string;
  readonly initial: State;
  readonly rows: readonly Row<State, Input>[];
  /** Where an illegal step leads to: the kernel did it all the same. */
  readonly after: Readonly<Record<Input, State>>;
}

export type ParentInput = 'registered' | 'refused' | 'unregister begins' | 'unregister ends';

export const PARENT: Automaton<ParentState, ParentInput> = {
  name: 'parent',
  title: 'A parent',
  initial: 'registering',
  rows: [
    ['registering', 'registered', 'registered'],
    ['registering', 'refused', 'gone'],
    ['registered', 'unregister begins', 'unregistering'],
    ['unregistering', 'unregister ends', 'gone'],
  ],
  after: {
    registered: 'registered',
    refused: 'gone',
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

/** Of the VFIO core: what a driver may do with its vfio_device. */
export const VFIO: Automaton<VfioState, VfioInput> = {
  name: 'vfio',
  title: 'A vfio_device',
  initial: 'none',
  rows: [
    ['none', 'initialised', 'initialised'],
    // Before 6.1 it comes to be by being registered.
    ['none', 'registered', 'registered'],
    // To make it failed.
    ['none', 'freed', 'released'],
    ['initialised', 'registered', 'registered'],
    // Its registration failed, or was never tried.
    ['initialised', 'freed', 'released'],
    ['registered', 'unregister begins', 'unregistering'],
    ['unregistering', 'unregister ends', 'unregistered'],
    ['unregistered', 'freed', 'released'],
    // vfio_ccw of 6.1 embeds it and uses it again; an mdev may be bound again on 5.10.
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

export type OpenInput = 'opened' | 'refused' | 'close begins' | 'close ends';

export const OPEN: Automaton<OpenState, OpenInput> = {
  name: 'open',
  title: 'A device file',
  initial: 'opening',
  rows: [
    ['opening', 'opened', 'open'],
    ['opening', 'refused', 'failed'],
    ['open', 'close begins', 'closing'],
    ['closing', 'close ends', 'closed'],
  ],
  after: { opened: 'open', refused: 'failed', 'close begins': 'closing', 'close ends': 'closed' },
};

export type VmInput = 'created' | 'refused' | 'descriptor closed' | 'destroyed';

export const VM: Automaton<VmState, VmInput> = {
  name: 'vm',
  title: 'A VM',
  initial: 'creating',
  rows: [
    ['creating', 'created', 'running'],
    ['creating', 'refused', 'failed'],
    // Its creation failed late, after its first reference.
    ['creating', 'destroyed', 'destroyed'],
    // Another thread was quicker than the creator on its way back to user space.
    ['creating', 'descriptor closed', 'released'],
    ['running', 'descriptor closed', 'released'],
    ['released', 'created', 'released'],
    ['released', 'destroyed', 'destroyed'],
  ],
  after: {
    created: 'running',
    refused: 'failed',
    'descriptor closed': 'released',
    destroyed: 'destroyed',
  },
};

export type DeviceInput =
  | 'create ends'
  | 'create ends late'
  | 'create ends unbound'
  | 'create fails'
  | 'create fails unfreed'
  | 'probe ends'
  | 'opened'
  | 'last closed'
  | 'removal begins'
  | 'unbound'
  | 'freed';

/** An mdev, or a device that is lent as a whole. */
export const DEVICE: Automaton<DeviceState, DeviceInput> = {
  name: 'device',
  title: 'A device',
  initial: 'creating',
  rows: [
    ['creating', 'create ends', 'bound'],
    ['creating', 'create fails', 'failed'],
    // Somebody has a reference on it still.
    ['creating', 'create fails unfreed', 'removing'],
    // 5.10 does not mind that no driver took it.
    ['creating', 'create ends unbound', 'unbound'],
    // It is freed already.
    ['creating', 'create ends late', 'released'],
    // Its driver refused it, or a remover was quicker than its creator: its creation ends later.
    ['creating', 'removal begins', 'creating'],
    ['creating', 'freed', 'creating'],
    ['creating', 'opened', 'creating'],
    ['creating', 'last closed', 'creating'],
    ['bound', 'opened', 'open'],
    // Two closed it at once, and each saw that nobody is left.
    ['bound', 'last closed', 'bound'],
    ['bound', 'removal begins', 'removing'],
    ['open', 'opened', 'open'],
    ['open', 'last closed', 'bound'],
    ['open', 'removal begins', 'removing'],
    ['removing', 'removal begins', 'removing'],
    // Until 6.5 a device can be opened anew as long as its removal waits.
    ['removing', 'opened', 'removing'],
    ['removing', 'last closed', 'removing'],
    // Nobody removes it, it only lost its driver.
    ['removing', 'unbound', 'unbound'],
    ['removing', 'freed', 'released'],
    ['unbound', 'probe ends', 'bound'],
    ['unbound', 'freed', 'released'],
  ],
  after: {
    'create ends': 'bound',
    'create ends late': 'released',
    'create ends unbound': 'unbound',
    'create fails': 'failed',
    'create fails unfreed': 'removing',
    'probe ends': 'bound',
    opened: 'open',
    'last closed': 'bound',
    'removal begins': 'removing',
    unbound: 'unbound',
    freed: 'released',
  },
};

export const AUTOMATA: readonly Automaton[] = [PARENT, DEVICE, VFIO, OPEN, VM];

/** A step that the table of its automaton does not have. */
export interface IllegalStep {
  readonly automaton: AutomatonName;
  readonly life: Parent | Device | Open | Vm;
  readonly from: string;
  readonly input: string;
}

const TABLES = new Map<Automaton, ReadonlyMap<string, ReadonlyMap<string, string>>>(
  AUTOMATA.map((automaton) => [
    automaton,
    new Map(
      [...new Set(automaton.rows.map(([from]) => from))].map((state) => [
        state,
        new Map(
          automaton.rows.filter(([from]) => from === state).map(([, input, to]) => [input, to]),
        ),
      ]),
    ),
  ]),
);

/**
 * The state that follows. A step that is not in the table is noted in the moment, and leads to
 * where the kernel went.
 */
export function next<State extends string, Input extends string>(
  automaton: Automaton<State, Input>,
  state: State,
  input: Input,
  life: IllegalStep['life'],
  moment: Moment,
): State {
  const to = TABLES.get(automaton as Automaton)
    ?.get(state)
    ?.get(input);
  if (to !== undefined) return to as State;
  moment.illegal = { automaton: automaton.name, life, from: state, input };
  return automaton.after[input];
}
