/** Words for what mdevs, their drivers and their parents seldom do. */
import type { Story } from './story.ts';
import { namedMdev, namedVfio, plainMdev, plainVfio } from './story-fields.ts';
import type { Actor, Creation, ToldDevice, ToldParent, Unregistering } from './told.ts';

const SHELL: Actor = { pid: 500, comm: 'mdevctl' };
const RMMOD: Actor = { pid: 510, comm: 'rmmod' };

/** An mdev from before the story: its first event makes it known. One for each story. */
export function mdevFromBefore(parent: ToldParent): ToldDevice {
  const key = 9_999;
  const uuid = '00000000-0000-4000-8000-00000000270f';
  return { key, uuid, parent, groupId: key, openCount: 0, groupVm: undefined, vm: undefined };
}

/** The driver is done with it; see createReturns. */
export function probeEnds(story: Story, { device, task }: Creation): void {
  story.event('mdev.probe:end', task, plainMdev(device));
}

/** Whatever its driver did; on 5.10 there may be none. */
export function createReturns(story: Story, { device, task }: Creation): ToldDevice {
  story.event('mdev.create:end', task, { parent: device.parent?.key ?? 0 });
  return device;
}

/** The driver refuses it, which only 5.10 does not mind. */
export function createEndsDespiteRefusal(story: Story, { device, task }: Creation): ToldDevice {
  story.event('mdev.probe:begin', task, namedMdev(device));
  story.event('mdev.probe:end', task, { ...plainMdev(device), ret: -16 });
  return createReturns(story, { device, task });
}

/** The driver refuses the device, and does not clean up: one reference is not put. */
export function probeFailsLeaking(
  story: Story,
  { device, task }: Creation,
  leaked: 'mdev' | 'vfio_device',
): void {
  story.event('mdev.probe:begin', task, namedMdev(device));
  story.initialise(device, task);
  if (leaked === 'mdev') story.freeVdev(device, task);
  story.event('mdev.probe:end', task, { ...plainMdev(device), ret: -5 });
  if (leaked === 'vfio_device') story.freeMdev(device, task);
  story.event('mdev.create:end', task, { parent: device.parent?.key ?? 0, ret: -5 });
}

/** Its driver is taken from it in sysfs. */
export function unbind(story: Story, device: ToldDevice, { as = SHELL } = {}): void {
  tearDown(story, device, as);
}

/** It gets its driver back, as 5.10 allows. */
export function bind(story: Story, device: ToldDevice, { as = SHELL } = {}): void {
  const binding = { device, task: as };
  story.probeBegins(binding);
  probeEnds(story, binding);
}

/** Somebody keeps a reference on the mdev, so it is not freed; see Story.freeMdev. */
export function removeUnfreed(story: Story, device: ToldDevice, { as = SHELL } = {}): void {
  const removal = story.removeBegins(device, { as, idle: true });
  tearDown(story, device, as);
  story.removeEnds(removal);
}

/** The same when its parent is withdrawn. */
export function childRemovedUnfreed(
  story: Story,
  { task }: Unregistering,
  device: ToldDevice,
): void {
  story.event('mdev.remove_child:begin', task, namedMdev(device));
  tearDown(story, device, task);
  story.event('mdev.remove_child:end', task, plainMdev(device));
}

/** A child is removed that lost its driver before. */
export function childRemovedUnbound(
  story: Story,
  { task }: Unregistering,
  device: ToldDevice,
): void {
  story.event('mdev.remove_child:begin', task, namedMdev(device));
  story.freeMdev(device, task);
  story.event('mdev.remove_child:end', task, plainMdev(device));
}

/** The withdrawal of the parent has come to a device and waits for those who have it open. */
export function childRemovalBegins(
  story: Story,
  { task }: Unregistering,
  device: ToldDevice,
): void {
  story.event('mdev.remove_child:begin', task, namedMdev(device));
  tearDownBegins(story, device, task);
}

export function childRemovalEnds(story: Story, { task }: Unregistering, device: ToldDevice): void {
  tearDownEnds(story, device, task);
  story.freeMdev(device, task);
  story.event('mdev.remove_child:end', task, plainMdev(device));
}

export function driverUnregisters(story: Story, driver: string): void {
  story.event('mdev.driver.unregister:begin', RMMOD, { names: { driver } });
}

/** What the parent offers from here on: how many more mdevs of each type. */
export function offers(
  story: Story,
  { name }: ToldParent,
  types: Readonly<Record<string, number>>,
): void {
  story.steps.push(new Map([[name, new Map(Object.entries(types))]]));
}

/** All of it, but that the mdev is freed. */
function tearDown(story: Story, device: ToldDevice, task: Actor): void {
  tearDownBegins(story, device, task);
  tearDownEnds(story, device, task);
}

function tearDownBegins(story: Story, device: ToldDevice, task: Actor): void {
  story.event('mdev.unbind:begin', task, namedMdev(device));
  story.event('vfio.unregister:begin', task, namedVfio(device));
}

function tearDownEnds(story: Story, device: ToldDevice, task: Actor): void {
  story.event('vfio.unregister:end', task, plainVfio(device));
  story.freeVdev(device, task);
  story.event('mdev.unbind:end', task, plainMdev(device));
}
