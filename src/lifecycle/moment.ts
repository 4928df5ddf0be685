/**
 * One event with the objects it is about, after their state has been updated.
 *
 * There is one Moment, filled anew for each event: listeners read it during the
 * call and keep nothing of it.
 */
import type { EventCursor } from '../events/cursor.ts';
import type { IllegalStep } from './automata.ts';
import type { Device, FdRequest, Group, Open, Parent, Vm } from './objects.ts';

export class Moment {
  /** See momentIndex(). */
  index = 0;
  event!: EventCursor;
  parent: Parent | undefined;
  device: Device | undefined;
  open: Open | undefined;
  vm: Vm | undefined;
  /** What the group's VM was until it was told another, or none. */
  vmBefore: Vm | undefined;
  group: Group | undefined;
  request: FdRequest | undefined;
  /** The name of the kernel module that is to go. */
  module: string | undefined;
  /** What the event did to one of them although no legal life has that step. */
  illegal: IllegalStep | undefined;
  /** ns since the call began; only for an end whose begin was seen, else -1. */
  duration = -1;

  reset(index: number, event: EventCursor): void {
    this.index = index;
    this.event = event;
    this.parent = undefined;
    this.device = undefined;
    this.open = undefined;
    this.vm = undefined;
    this.vmBefore = undefined;
    this.group = undefined;
    this.request = undefined;
    this.module = undefined;
    this.illegal = undefined;
    this.duration = -1;
  }
}
