/** Steps that few scenarios need: of drivers with their vfio_device, and of VMMs with groups. */
import type { GroupMember } from '../events/host.ts';
import { COVERED, FLAG } from '../events/wire.gen.ts';
import { namedMdev, namedVfio, plainMdev, plainVfio } from './fields.ts';
import type { Scenario } from './scenario.ts';
import type { Actor, Creation, Removal, ScenarioDevice } from './types.ts';

const SHELL: Actor = { pid: 500, comm: 'mdevctl' };
const RMMOD: Actor = { pid: 510, comm: 'rmmod' };
const VMM: Actor = { pid: 600, comm: 'qemu' };
const AGENT: Actor = { pid: 1, comm: 'vfioscope' };

/** 6.1: vfio_init_device() on the driver's own memory, where the vfio_device of another device may be. */
export function initialiseIn(
  scenario: Scenario,
  memory: ScenarioDevice,
  device: ScenarioDevice,
  { as = SHELL, error = 0 } = {},
): void {
  const fields = { dev: device.key, vdev: memory.key };
  scenario.event('vfio.init:begin', as, {
    ...namedVfio(device),
    ...fields,
    openCount: -1,
    groupId: -1,
  });
  scenario.event('vfio.init:end', as, { ...fields, ret: -error });
}

/** A driver such as vfio_ccw embeds its vfio_device in an object that outlives the mdev, and uses it again. */
export function createIn(
  scenario: Scenario,
  memory: ScenarioDevice,
  { device, task }: Creation,
): ScenarioDevice {
  scenario.event('mdev.probe:begin', task, namedMdev(device));
  initialiseIn(scenario, memory, device, { as: task });
  registers(scenario, device, { as: task });
  return scenario.createEnds({ device, task });
}

/** Its driver allocates a vfio_device and does not register it. */
export function createUnregistered(scenario: Scenario, creation: Creation): ScenarioDevice {
  return scenario.createEnds(probeBeginsUnregistered(scenario, creation));
}

/** Its driver allocates a vfio_device in its probe, which does not return yet. */
export function probeBeginsUnregistered(scenario: Scenario, { device, task }: Creation): Creation {
  scenario.event('mdev.probe:begin', task, namedMdev(device));
  scenario.initialise(device, task);
  return { device, task };
}

/** Its driver registers it, perhaps for a second time. */
export function registers(
  scenario: Scenario,
  device: ScenarioDevice,
  { as = SHELL, error = 0 } = {},
): void {
  const point = device.parent ? 'vfio.register_emulated' : 'vfio.register';
  scenario.event(`${point}:begin`, as, { ...namedVfio(device), groupId: -1 });
  scenario.event(`${point}:end`, as, { ...plainVfio(device), ret: -error });
}

/** A device is bound to vfio-pci, and its registration does not return yet. */
export function bindPciBegins(scenario: Scenario, address: string): ScenarioDevice {
  const rest = { parent: undefined, openCount: 0, groupVm: undefined, vm: undefined };
  const device: ScenarioDevice = { key: 9_998, uuid: address, groupId: 9_998, ...rest };
  scenario.initialise(device);
  scenario.event('vfio.register:begin', SHELL, { ...namedVfio(device), groupId: -1 });
  return device;
}

export function bindPciEnds(scenario: Scenario, device: ScenarioDevice): void {
  scenario.event('vfio.register:end', SHELL, plainVfio(device));
}

/** The unregistration returns, because no user has the device open; its vfio_device is not freed yet. */
export function unregisterEnds(
  scenario: Scenario,
  device: ScenarioDevice,
  { as = SHELL } = {},
): void {
  scenario.event('vfio.unregister:end', as, plainVfio(device));
}

/** The driver's remove callback calls vfio_unregister_group_dev(). */
export function unregisterBegins(scenario: Scenario, { device, task }: Removal): void {
  scenario.event('vfio.unregister:begin', task, namedVfio(device));
}

/** The driver's remove callback is called. */
export function unbindBegins(scenario: Scenario, { device, task }: Removal): void {
  scenario.event('mdev.unbind:begin', task, namedMdev(device));
}

/** The rest of a removal, from where the driver returns. */
export function removeReturns(scenario: Scenario, removal: Removal): void {
  const { device, task } = removal;
  scenario.event('mdev.unbind:end', task, plainMdev(device));
  scenario.freeMdev(device, task);
  removal.idle = true;
  scenario.removeEnds(removal);
}

/** Something holds a reference on its vfio_device, which is not freed with it; see Scenario.freeVdev. */
export function removeKeepingVdev(scenario: Scenario, device: ScenarioDevice): void {
  const removal = scenario.removeBegins(device);
  unregisterEnds(scenario, device);
  removeReturns(scenario, removal);
}

/** VFIO_GROUP_UNSET_CONTAINER. */
export function unsetContainer(
  scenario: Scenario,
  { groupId }: ScenarioDevice,
  { as = VMM, error = 0 } = {},
): void {
  scenario.event('vfio.group.unset_container:begin', as, { groupId });
  if (!error) scenario.event('vfio.group.detach:begin', as, { groupId });
  scenario.event('vfio.group.unset_container:end', as, { groupId, ret: -error });
}

/** VFIO_IOMMU_MAP_DMA, or a mapping by iommufd, which is recorded only because it fails. */
export function mapFails(
  scenario: Scenario,
  errno: number,
  { as = VMM, bytes = 2 ** 31 } = {},
): void {
  scenario.event('vfio.dma.map:end', as, { groupId: -1, ret: -errno, inode: bytes });
}

export function openGroup(
  scenario: Scenario,
  { groupId }: ScenarioDevice,
  { as = VMM } = {},
): void {
  scenario.event('vfio.group.open:begin', as, { groupId });
  scenario.event('vfio.group.open:end', as, { groupId });
}

/** What sysfs shows of the group of a device from here on, beside the device itself. */
export function groupHas(
  scenario: Scenario,
  { uuid, groupId }: ScenarioDevice,
  siblings: readonly GroupMember[],
): void {
  const members = [{ name: uuid, driver: 'vfio-pci' }, ...siblings];
  scenario.steps.push({ group: groupId, members });
}

/** The driver of a PCI device allocates a vfio_device, and then fails to be bound. */
export function bindPciFails(
  scenario: Scenario,
  address: string,
  { as = SHELL, error, at }: { as?: Actor; error: number; at: 'init' | 'register' | 'between' },
): void {
  const device: ScenarioDevice = {
    ...{ key: 7_777, uuid: address, parent: undefined, groupId: -1, openCount: 0 },
    ...{ groupVm: undefined, vm: undefined },
  };
  if (at === 'init') {
    initialiseIn(scenario, { ...device, key: 0 }, device, { as, error });
    return;
  }
  scenario.initialise(device, as);
  if (at === 'register') registers(scenario, device, { as, error });
  scenario.freeVdev(device, as);
}

/** The last file descriptor of the group is closed. @param options container: it is in one, which it then leaves */
export function closeGroup(
  scenario: Scenario,
  { groupId }: ScenarioDevice,
  { as = VMM, container = true } = {},
): void {
  scenario.event('vfio.group.close:begin', as, { groupId });
  if (container) scenario.event('vfio.group.detach:begin', as, { groupId });
}

/** A process tries to unload a kernel module. */
export function unloadModule(
  scenario: Scenario,
  name: string,
  { as = RMMOD, error = 0 } = {},
): void {
  scenario.event('module.unload:begin', as, { groupId: -1, names: { device: name } });
  scenario.event('module.unload:end', as, { groupId: -1, ret: -error });
}

/** A kernel module is loaded. */
export function loadModule(scenario: Scenario, name: string): void {
  scenario.event('module.load:begin', { pid: 810, comm: 'modprobe' }, { names: { device: name } });
}

/** Events are lost. */
export function lose(scenario: Scenario): void {
  scenario.steps.push('loss');
}

/**
 * Takes a host snapshot, during which `part` happens.
 * @param covered bits of COVERED: what the snapshot could read, and where it found nothing
 */
export function duringSnapshot(
  scenario: Scenario,
  part: (agent: Actor) => void,
  covered = 0,
): void {
  const flags = FLAG.EVENT_SNAPSHOT;
  scenario.event('snapshot.run:begin', AGENT, { flags });
  part(AGENT);
  scenario.event('snapshot.run:end', AGENT, { flags, covered });
}

/** A host snapshot that finds nothing. */
export function emptySnapshot(scenario: Scenario): void {
  duringSnapshot(scenario, () => {}, COVERED.SYSFS | COVERED.FILES | COVERED.DEBUGFS);
}
