/** Steps that few scenarios need: of mdevs, their drivers and their parents. */

import { namedMdev, namedVfio, plainMdev, plainVfio } from './fields.ts';
import type { Scenario } from './scenario.ts';
import type { Actor, Creation, ScenarioDevice, ScenarioParent, Unregistering } from './types.ts';

const SHELL: Actor = { pid: 500, comm: 'mdevctl' };
const RMMOD: Actor = { pid: 510, comm: 'rmmod' };

/** An mdev that existed before the scenario, and is adopted at its first event. A scenario can have only one. */
export function mdevFromBefore(parent: ScenarioParent): ScenarioDevice {
  const key = 9_999;
  const uuid = '00000000-0000-4000-8000-00000000270f';
  return { key, uuid, parent, groupId: key, openCount: 0, groupVm: undefined, vm: undefined };
}

/** The driver's probe returns; createReturns follows. */
export function probeEnds(scenario: Scenario, { device, task }: Creation): void {
  scenario.event('mdev.probe:end', task, plainMdev(device));
}

/** The create returns successfully, whatever the driver did; on 5.10 no driver needs to be bound. */
export function createReturns(scenario: Scenario, { device, task }: Creation): ScenarioDevice {
  scenario.event('mdev.create:end', task, { parent: device.parent?.key ?? 0 });
  return device;
}

/** The driver refuses the device, and the create succeeds, as only on 5.10. */
export function createEndsDespiteRefusal(
  scenario: Scenario,
  { device, task }: Creation,
): ScenarioDevice {
  scenario.event('mdev.probe:begin', task, namedMdev(device));
  scenario.event('mdev.probe:end', task, { ...plainMdev(device), ret: -16 });
  return createReturns(scenario, { device, task });
}

/** The driver refuses the device, and does not clean up: one reference is not put. */
export function probeFailsLeaking(
  scenario: Scenario,
  { device, task }: Creation,
  leaked: 'mdev' | 'vfio_device',
): void {
  scenario.event('mdev.probe:begin', task, namedMdev(device));
  scenario.initialise(device, task);
  if (leaked === 'mdev') scenario.freeVdev(device, task);
  scenario.event('mdev.probe:end', task, { ...plainMdev(device), ret: -5 });
  if (leaked === 'vfio_device') scenario.freeMdev(device, task);
  scenario.event('mdev.create:end', task, { parent: device.parent?.key ?? 0, ret: -5 });
}

/** The probe of the driver fails, and the driver cleans up. @param options reached: how far it got */
export function probeFailsAtRegistration(
  scenario: Scenario,
  { device, task }: Creation,
  { error, reached }: { readonly error: number; readonly reached: 'probe' | 'registration' },
): void {
  scenario.event('mdev.probe:begin', task, namedMdev(device));
  if (reached === 'registration') {
    scenario.initialise(device, task);
    scenario.event('vfio.register_emulated:begin', task, { ...namedVfio(device), groupId: -1 });
    scenario.event('vfio.register_emulated:end', task, { ...plainVfio(device), ret: -error });
    scenario.freeVdev(device, task);
  }
  scenario.event('mdev.probe:end', task, { ...plainMdev(device), ret: -error });
  scenario.freeMdev(device, task);
  scenario.event('mdev.create:end', task, { parent: device.parent?.key ?? 0, ret: -error });
}

/** It is unbound in sysfs. */
export function unbind(scenario: Scenario, device: ScenarioDevice, { as = SHELL } = {}): void {
  tearDown(scenario, device, as);
}

/** It is bound to its driver again, as 5.10 allows. */
export function bind(scenario: Scenario, device: ScenarioDevice, { as = SHELL } = {}): void {
  const binding = { device, task: as };
  scenario.probeBegins(binding);
  probeEnds(scenario, binding);
}

/** Something holds a reference on the mdev, so it is not freed; see Scenario.freeMdev. */
export function removeUnfreed(
  scenario: Scenario,
  device: ScenarioDevice,
  { as = SHELL } = {},
): void {
  const removal = scenario.removeBegins(device, { as, idle: true });
  tearDown(scenario, device, as);
  scenario.removeEnds(removal);
}

/** The same as removeUnfreed, by the unregistration of the parent. */
export function childRemovedUnfreed(
  scenario: Scenario,
  { task }: Unregistering,
  device: ScenarioDevice,
): void {
  scenario.event('mdev.remove_child:begin', task, namedMdev(device));
  tearDown(scenario, device, task);
  scenario.event('mdev.remove_child:end', task, plainMdev(device));
}

/** A child that has no driver is removed. */
export function childRemovedUnbound(
  scenario: Scenario,
  { task }: Unregistering,
  device: ScenarioDevice,
): void {
  scenario.event('mdev.remove_child:begin', task, namedMdev(device));
  scenario.freeMdev(device, task);
  scenario.event('mdev.remove_child:end', task, plainMdev(device));
}

/** The unregistration of the parent begins to remove a child, and waits for its users. */
export function childRemovalBegins(
  scenario: Scenario,
  { task }: Unregistering,
  device: ScenarioDevice,
): void {
  scenario.event('mdev.remove_child:begin', task, namedMdev(device));
  tearDownBegins(scenario, device, task);
}

export function childRemovalEnds(
  scenario: Scenario,
  { task }: Unregistering,
  device: ScenarioDevice,
): void {
  tearDownEnds(scenario, device, task);
  scenario.freeMdev(device, task);
  scenario.event('mdev.remove_child:end', task, plainMdev(device));
}

export function driverUnregisters(scenario: Scenario, driver: string): void {
  scenario.event('mdev.driver.unregister:begin', RMMOD, { names: { driver } });
}

/** What the parent offers from here on: how many more mdevs of each type. */
export function offers(
  scenario: Scenario,
  { name }: ScenarioParent,
  types: Readonly<Record<string, number>>,
): void {
  scenario.steps.push(new Map([[name, new Map(Object.entries(types))]]));
}

/** The whole teardown, except that the mdev is not freed. */
function tearDown(scenario: Scenario, device: ScenarioDevice, task: Actor): void {
  tearDownBegins(scenario, device, task);
  tearDownEnds(scenario, device, task);
}

function tearDownBegins(scenario: Scenario, device: ScenarioDevice, task: Actor): void {
  scenario.event('mdev.unbind:begin', task, namedMdev(device));
  scenario.event('vfio.unregister:begin', task, namedVfio(device));
}

function tearDownEnds(scenario: Scenario, device: ScenarioDevice, task: Actor): void {
  scenario.event('vfio.unregister:end', task, plainVfio(device));
  scenario.freeVdev(device, task);
  scenario.event('mdev.unbind:end', task, plainMdev(device));
}
