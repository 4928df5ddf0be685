/**
 * A handler updates the World for one event kind, and writes the objects that the event concerns into the
 * transition.
 */
import type { EventCursor } from '../events/cursor.ts';
import type { EventKind } from '../events/points.ts';
import type { Transition } from './transition.ts';
import type { World } from './world.ts';

export type Handler = (world: World, event: EventCursor, transition: Transition) => void;
export type Handlers = Partial<Record<EventKind, Handler>>;
