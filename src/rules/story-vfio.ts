/** Words for what drivers seldom do with their vfio_device, and VMMs with groups. */
import { SEEN } from '../events/look-bits.ts';
import { FLAG } from '../events/wire.gen.ts';
import type { Story } from './story.ts';
import { namedMdev, namedVfio, plainMdev, plainVfio } from './story-fields.ts';
import type { Actor, Creation, Removal, ToldDevice } from './told.ts';

const SHELL: Actor = { pid: 500, comm: 'mdevctl' };
const RMMOD: Actor = { pid: 510, comm: 'rmmod' };
const VMM: Actor = { pid: 600, comm: 'qemu' };
const AGENT: Actor = { pid: 1, comm: 'vfioscope' };

/** 6.1: vfio_init_device on memory that its driver brings, where the vfio_device of another may be. */
export function initialiseIn(
  story: Story,
  memory: ToldDevice,
  device: ToldDevice,
  { as = SHELL, error = 0 } = {},
): void {
  const fields = { dev: device.key, vdev: memory.key };
  story.event('vfio.init:begin', as, {
    ...namedVfio(device),
    ...fields,
    openCount: -1,
    groupId: -1,
  });
  story.event('vfio.init:end', as, { ...fields, ret: -error });
}

/** As a driver does that embeds its vfio_device in something that outlives it, vfio_ccw for one. */
export function createIn(story: Story, memory: ToldDevice, { device, task }: Creation): ToldDevice {
  story.event('mdev.probe:begin', task, namedMdev(device));
  initialiseIn(story, memory, device, { as: task });
  registers(story, device, { as: task });
  return story.createEnds({ device, task });
}

/** Its driver makes a vfio_device and leaves it at that. */
export function createUnregistered(story: Story, creation: Creation): ToldDevice {
  return story.createEnds(probeBeginsUnregistered(story, creation));
}

/** The same, and its driver is not done. */
export function probeBeginsUnregistered(story: Story, { device, task }: Creation): Creation {
  story.event('mdev.probe:begin', task, namedMdev(device));
  story.initialise(device, task);
  return { device, task };
}

/** Its driver registers it, perhaps for a second time. */
export function registers(story: Story, device: ToldDevice, { as = SHELL, error = 0 } = {}): void {
  const point = device.parent ? 'vfio.register_emulated' : 'vfio.register';
  story.event(`${point}:begin`, as, { ...namedVfio(device), groupId: -1 });
  story.event(`${point}:end`, as, { ...plainVfio(device), ret: -error });
}

/** The last of those who had it open is gone; the driver has still to free its vfio_device. */
export function unregisterEnds(story: Story, device: ToldDevice, { as = SHELL } = {}): void {
  story.event('vfio.unregister:end', as, plainVfio(device));
}

/** The driver is told to let go of the device. */
export function unbindBegins(story: Story, { device, task }: Removal): void {
  story.event('mdev.unbind:begin', task, namedMdev(device));
}

/** The rest of a removal, from where the driver returns. */
export function removeReturns(story: Story, removal: Removal): void {
  const { device, task } = removal;
  story.event('mdev.unbind:end', task, plainMdev(device));
  story.freeMdev(device, task);
  removal.idle = true;
  story.removeEnds(removal);
}

/** Somebody keeps a reference on its vfio_device, so that is not freed with it; see Story.freeVdev. */
export function removeKeepingVdev(story: Story, device: ToldDevice): void {
  const removal = story.removeBegins(device);
  unregisterEnds(story, device);
  removeReturns(story, removal);
}

/** VFIO_GROUP_UNSET_CONTAINER. */
export function unsetContainer(
  story: Story,
  { groupId }: ToldDevice,
  { as = VMM, error = 0 } = {},
): void {
  story.event('vfio.group.unset_container:begin', as, { groupId });
  if (!error) story.event('vfio.group.detach:begin', as, { groupId });
  story.event('vfio.group.unset_container:end', as, { groupId, ret: -error });
}

export function openGroup(story: Story, { groupId }: ToldDevice, { as = VMM } = {}): void {
  story.event('vfio.group.open:begin', as, { groupId });
  story.event('vfio.group.open:end', as, { groupId });
}

/** Its last descriptor is closed. @param options container: it is in one, which it then leaves */
export function closeGroup(
  story: Story,
  { groupId }: ToldDevice,
  { as = VMM, container = true } = {},
): void {
  story.event('vfio.group.close:begin', as, { groupId });
  if (container) story.event('vfio.group.detach:begin', as, { groupId });
}

/** Somebody wants a kernel module to go. */
export function unloadModule(story: Story, name: string, { as = RMMOD, error = 0 } = {}): void {
  story.event('module.unload:begin', as, { groupId: -1, names: { device: name } });
  story.event('module.unload:end', as, { groupId: -1, ret: -error });
}

/** Events are lost. */
export function lose(story: Story): void {
  story.steps.push('loss');
}

/**
 * The agent, who is told to `part`, looks at the host meanwhile.
 * @param seen what it could look at, where it found nothing
 */
export function whileLooking(story: Story, part: (agent: Actor) => void, seen = 0): void {
  const flags = FLAG.EVENT_SEEN;
  story.event('seen.snapshot:begin', AGENT, { flags });
  part(AGENT);
  story.event('seen.snapshot:end', AGENT, { flags, ret: seen });
}

/** The agent looks at a host on which there is nothing. */
export function lookAtNothing(story: Story): void {
  whileLooking(story, () => {}, SEEN.sysfs | SEEN.files | SEEN.debugfs);
}
