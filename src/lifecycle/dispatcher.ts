/**
 * Applies events to the World. For each event it begins or ends the call in flight, runs the handler
 * of the event kind, and returns the transition. Handlers import the World, and only this file
 * imports all handlers, so that there is no import circle.
 */
import type { EventCursor } from '../events/cursor.ts';
import {
  type EventKind,
  isCall,
  KIND_COUNT,
  kindIndex,
  kindIndexOf,
  POINT_NAMES,
  POINTS,
} from '../events/points.ts';
import { EVENT } from '../events/wire.gen.ts';
import { CDEV_HANDLERS } from './cdevs.ts';
import { DMA_HANDLERS } from './dma.ts';
import { GROUP_HANDLERS } from './groups.ts';
import type { Handler } from './handler.ts';
import { IOMMUFD_HANDLERS } from './iommufds.ts';
import { KVM_HANDLERS } from './kvm.ts';
import { MDEV_HANDLERS } from './mdev.ts';
import { MODULE_HANDLERS } from './modules.ts';
import { OPEN_HANDLERS } from './opens.ts';
import { SNAPSHOT_HANDLERS } from './snapshot.ts';
import { Transition } from './transition.ts';
import { VFIO_HANDLERS } from './vfio.ts';
import type { World } from './world.ts';

const TIME = EVENT.time >> 2;

const HANDLERS: (Handler | undefined)[] = new Array(KIND_COUNT).fill(undefined);
for (const [name, handler] of Object.entries({
  ...MDEV_HANDLERS,
  ...VFIO_HANDLERS,
  ...GROUP_HANDLERS,
  ...OPEN_HANDLERS,
  ...CDEV_HANDLERS,
  ...IOMMUFD_HANDLERS,
  ...DMA_HANDLERS,
  ...KVM_HANDLERS,
  ...MODULE_HANDLERS,
  ...SNAPSHOT_HANDLERS,
})) {
  HANDLERS[kindIndexOf(name as EventKind)] = handler;
}

/** For each event kind, 1 if the event begins or ends a call, else 0. */
const IS_CALL = new Uint8Array(KIND_COUNT);
for (const name of POINT_NAMES) {
  if (!isCall(name)) continue;
  IS_CALL[kindIndex(POINTS[name], false)] = 1;
  IS_CALL[kindIndex(POINTS[name], true)] = 1;
}

export class Dispatcher {
  readonly #world: World;
  readonly #transition = new Transition();

  constructor(world: World) {
    this.#world = world;
  }

  /** Applies one event. @returns the transition, valid until the next call of this method */
  apply(event: EventCursor): Transition {
    const world = this.#world;
    const transition = this.#transition;
    const index = kindIndex(event.point, event.isEnd);
    // The getter event.time is not used here: where V8 does not inline it, it allocates its result.
    const { words, word } = event;
    const time = (words[word + TIME] >>> 0) + words[word + TIME + 1] * 2 ** 32;
    if (time > world.now) world.now = time;
    transition.reset(index, event);
    const handler = HANDLERS[index];
    if (IS_CALL[index] === 0) handler?.(world, event, transition);
    else if (event.isEnd) this.#end(handler, event);
    else this.#begin(handler, event);
    return transition;
  }

  #begin(handler: Handler | undefined, event: EventCursor): void {
    const world = this.#world;
    const transition = this.#transition;
    const call = world.calls.begin(event, world.losses);
    transition.call = call;
    handler?.(world, event, transition);
    call.setObjects(transition);
  }

  /**
   * Ends the call and computes its duration, the only place that does. If events were lost since the
   * call began, its end and the begin of another call may be among them, so the duration is unknown.
   */
  #end(handler: Handler | undefined, event: EventCursor): void {
    const world = this.#world;
    const transition = this.#transition;
    const call = world.calls.end(event);
    transition.call = call;
    if (call && call.losses === world.losses) {
      const { words, word } = event;
      const time = (words[word + TIME] >>> 0) + words[word + TIME + 1] * 2 ** 32;
      transition.duration = time - call.began;
    }
    handler?.(world, event, transition);
  }
}
