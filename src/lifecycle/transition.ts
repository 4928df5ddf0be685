/**
 * A transition: an event with the objects that it concerns, after their state has been updated.
 *
 * There is one Transition per dispatcher, and it is filled again for each event, so that no event
 * allocates. Sinks and rules read it while they are called and must not keep it.
 */
import type { EventCursor } from '../events/cursor.ts';
import type { AutomatonName } from './automata.ts';
import type { Call } from './calls.ts';
import type { IommufdContext } from './iommufd-context.ts';
import type { Cdev, Device, Group, Open, OpenRequest, Parent, Vm } from './objects.ts';

/** A step of an object that is not in the table of its automaton. */
export interface IllegalStep {
  readonly automaton: AutomatonName;
  readonly object: Parent | Device | Open | Cdev | Vm;
  readonly from: string;
  readonly input: string;
}

export class Transition {
  /** The index of the event kind, see kindIndex(). */
  index = 0;
  event!: EventCursor;
  parent: Parent | undefined;
  device: Device | undefined;
  open: Open | undefined;
  cdev: Cdev | undefined;
  iommufd: IommufdContext | undefined;
  vm: Vm | undefined;
  /** The VM that was set for the group before this event. */
  vmBefore: Vm | undefined;
  group: Group | undefined;
  request: OpenRequest | undefined;
  /** The name of the kernel module that delete_module() was called for. */
  module: string | undefined;
  /** The step of one of the objects that no legal lifecycle contains, if this event took one. */
  illegal: IllegalStep | undefined;
  /**
   * The call that the event begins or ends; undefined for other events and for an end whose begin was lost.
   */
  call: Call | undefined;
  /** At the end of a call, ns since its begin; -1 if that is unknown, and for other events. */
  duration = -1;

  reset(index: number, event: EventCursor): void {
    this.index = index;
    this.event = event;
    this.parent = undefined;
    this.device = undefined;
    this.open = undefined;
    this.cdev = undefined;
    this.iommufd = undefined;
    this.vm = undefined;
    this.vmBefore = undefined;
    this.group = undefined;
    this.request = undefined;
    this.module = undefined;
    this.illegal = undefined;
    this.call = undefined;
    this.duration = -1;
  }
}
