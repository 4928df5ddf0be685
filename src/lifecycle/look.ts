/** What a look at the host says of one life: whether it still is, and from when on it is known. */
import type { EventCursor } from '../events/cursor.ts';
import { Device, type Life, type Open } from './objects.ts';
import { forget } from './opens.ts';
import type { Look, World } from './world.ts';

/** Whether events about it may be missing that happened before the look. */
export function wasMissed(life: Life, look: Look): boolean {
  return life.lossesBefore < look.losses;
}

/** Its state is as the look saw it, and losses before that no longer matter. */
export function found(life: Life, look: Look): void {
  // What it was first known by is as old as the look: losses during the look concern it.
  if (life.adopted && life.foundBy === 0 && life.lossesBefore > look.losses) {
    life.lossesBefore = look.losses;
  }
  life.foundBy = look.number;
  if (!wasMissed(life, look)) return;
  if (life instanceof Device) look.checked.add(life);
  life.lossesBefore = look.losses;
  life.adopted = true;
}

/** Whether events about it may be missing, so that only the look tells whether it still is. */
export function isDoubtful(life: Life, look: Look): boolean {
  return life.foundBy !== look.number && wasMissed(life, look) && life.firstSeen < look.began;
}

export function endDeviceUnseen(world: World, device: Device, event: EventCursor): void {
  device.state = 'released';
  device.releasedAt = event.time;
  world.endDevice(device);
}

export function endOpenUnseen(world: World, open: Open, event: EventCursor): void {
  open.state = 'closed';
  open.closedAt = event.time;
  forget(world, open);
}
