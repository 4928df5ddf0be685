/**
 * iommufd contexts: drivers/iommu/iommufd/main.c. The open of /dev/iommu makes one, the release of that file ends
 * it, and a bind (see cdevs.ts) shows which one a device uses.
 */
import type { EventCursor } from '../events/cursor.ts';
import { taskOf } from '../events/task.ts';
import { EVENT } from '../events/wire.gen.ts';
import type { Handlers } from './handler.ts';
import { IommufdContext } from './iommufd-context.ts';
import type { World } from './world.ts';

/** Records of iommufd contain the key of the context where those of mdev have that of the parent. */
export const KEY_CONTEXT = EVENT.parent >> 2;

/** The context that the event contains. It is adopted if this is the first event about it. */
export function contextOf(world: World, event: EventCursor): IommufdContext | undefined {
  if (!event.has(EVENT.parent)) return undefined;
  return world.iommufds.find(event, KEY_CONTEXT) ?? newContext(world, event, true);
}

function newContext(world: World, event: EventCursor, adopted: boolean): IommufdContext {
  const context = new IommufdContext(event.time, adopted, world.losses);
  world.iommufds.addWithKey(context, event, KEY_CONTEXT);
  return context;
}

export const IOMMUFD_HANDLERS: Handlers = {
  'iommufd.open:end'(world, event, transition) {
    if (event.ret < 0 || !event.has(EVENT.parent)) return;
    // An open makes a new object, so one that has this address has ended.
    const context = newContext(world, event, transition.call === undefined);
    context.opener = taskOf(event);
    context.openedAt = event.time;
    transition.iommufd = context;
  },

  'iommufd.close:begin'(world, event, transition) {
    const context = contextOf(world, event);
    if (!context) return;
    context.closedAt = event.time;
    context.closer = taskOf(event);
    context.isOver = true;
    // No device should be bound to it: for those that are, this is part of what happened to them.
    for (const cdev of world.cdevs) {
      if (cdev.isBound && cdev.iommufd === context) cdev.device.timeline.add(event, 0);
    }
    world.iommufds.end(context);
    transition.iommufd = context;
  },
};
