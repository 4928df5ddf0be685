/** Steps of processes that open devices by their cdevs and bind them to iommufd, as Linux 6.12 emits them. */
import { kvmFields, namedVfio, plainVfio } from './fields.ts';
import type { Scenario } from './scenario.ts';
import type { Actor, BindStep, Opening, ScenarioDevice, ScenarioVm } from './types.ts';

const VMM: Actor = { pid: 600, comm: 'qemu' };
/** The id of the only address space of a context. */
const IOAS = 1;

/** An open cdev; its opening is the open of the device, once it is bound. */
export interface ScenarioCdev {
  readonly device: ScenarioDevice;
  readonly key: number;
  readonly opener: Actor;
  opening: Opening | undefined;
  /** The VM that is set for it. */
  vm: ScenarioVm | undefined;
}

interface Options {
  readonly as?: Actor;
  /** The errno with which it fails. */
  readonly error?: number;
}

/** The name of its cdev. */
export function nodeOf({ key }: ScenarioDevice): string {
  return `vfio${key}`;
}

export function openCdev(
  scenario: Scenario,
  device: ScenarioDevice,
  { as = VMM, error = 0 }: Options = {},
): ScenarioCdev {
  const key = scenario.newFile();
  const { names, ...fields } = namedVfio(device);
  const node = { ...names, type: nodeOf(device) };
  scenario.event('vfio.cdev.open:begin', as, { ...fields, names: node });
  const file = error ? {} : { file: key };
  scenario.event('vfio.cdev.open:end', as, { ...plainVfio(device), ...file, ret: -error });
  return { device, key, opener: as, opening: undefined, vm: undefined };
}

/** kvm-vfio sets the VM of the cdev, or clears it. */
export function setCdevKvm(
  scenario: Scenario,
  cdev: ScenarioCdev,
  vm?: ScenarioVm,
  { as = vm?.task ?? cdev.opener }: Options = {},
): void {
  const { device, key } = cdev;
  cdev.vm = vm;
  device.groupVm = vm;
  const fields = { ...plainVfio(device), ...kvmFields(vm), file: key };
  scenario.event('vfio.cdev.set_kvm:begin', as, fields);
}

/** As a VMM does before it binds the cdev: it opens it, and sets its new VM for it. */
export function openCdevForVm(scenario: Scenario, device: ScenarioDevice): ScenarioCdev {
  const cdev = openCdev(scenario, device);
  setCdevKvm(scenario, cdev, scenario.createVm());
  return cdev;
}

/** An iommufd context, by its key. */
export type ScenarioIommufd = number;

/** A process opens /dev/iommu. */
export function openIommufd(
  scenario: Scenario,
  { as = VMM }: { as?: Actor } = {},
): ScenarioIommufd {
  const parent = scenario.newFile();
  scenario.event('iommufd.open:begin', as, { groupId: -1 });
  scenario.event('iommufd.open:end', as, { groupId: -1, parent });
  return parent;
}

/** The last reference on its file is put. */
export function closeIommufd(
  scenario: Scenario,
  parent: ScenarioIommufd,
  { as = VMM }: { as?: Actor } = {},
): void {
  scenario.event('iommufd.close:begin', as, { groupId: -1, parent });
}

export function bindCdev(
  scenario: Scenario,
  cdev: ScenarioCdev,
  { as = cdev.opener, iommufd }: { as?: Actor; iommufd?: ScenarioIommufd } = {},
): void {
  const { device, key: file } = cdev;
  bindCdevBegins(scenario, cdev, { as });
  cdev.opening = { device, key: file, task: as };
  scenario.bindCdev(cdev.opening, cdev.vm);
  const context = iommufd === undefined ? {} : { parent: iommufd };
  scenario.event('vfio.cdev.bind:end', as, { ...plainVfio(device), file, ...context });
}

/** The bind begins, and waits for the lock of the device set. */
export function bindCdevBegins(
  scenario: Scenario,
  { device, key: file, opener }: ScenarioCdev,
  { as = opener }: { as?: Actor } = {},
): void {
  scenario.event('vfio.cdev.bind:begin', as, { ...namedVfio(device), file });
  scenario.event('vfio.cdev.block_group:begin', as, plainVfio(device));
  scenario.event('vfio.cdev.block_group:end', as, plainVfio(device));
}

/** An attachment that does not return, until {@link attachCdevEnds}. */
export function attachCdevBegins(
  scenario: Scenario,
  { device, key: file, opener }: ScenarioCdev,
  { as = opener }: { as?: Actor } = {},
): void {
  scenario.event('vfio.cdev.attach:begin', as, { ...namedVfio(device), file, inode: IOAS });
}

export function attachCdevEnds(
  scenario: Scenario,
  { device, key: file, opener }: ScenarioCdev,
  { as = opener, error = 0 }: Options = {},
): void {
  scenario.event('vfio.cdev.attach:end', as, { ...plainVfio(device), file, ret: -error });
}

export function attachCdev(
  scenario: Scenario,
  cdev: ScenarioCdev,
  { as = cdev.opener, error = 0 }: Options = {},
): void {
  attachCdevBegins(scenario, cdev, { as });
  attachCdevEnds(scenario, cdev, { as, error });
}

export function detachCdevBegins(
  scenario: Scenario,
  { device, key: file, opener }: ScenarioCdev,
  { as = opener }: { as?: Actor } = {},
): void {
  scenario.event('vfio.cdev.detach:begin', as, { ...namedVfio(device), file });
}

export function detachCdev(
  scenario: Scenario,
  cdev: ScenarioCdev,
  { as = cdev.opener }: Options = {},
): void {
  const { device, key: file } = cdev;
  detachCdevBegins(scenario, cdev, { as });
  scenario.event('vfio.cdev.detach:end', as, { ...plainVfio(device), file });
}

/** Whoever has its last descriptor closes it. */
export function closeCdev(
  scenario: Scenario,
  cdev: ScenarioCdev,
  { as = cdev.opener }: Options = {},
): void {
  const { device, key: file, opening } = cdev;
  scenario.event('vfio.cdev.close:begin', as, { ...namedVfio(device), file });
  if (opening) {
    scenario.event('vfio.cdev.unbind:begin', as, { ...plainVfio(device), file });
    scenario.close({ ...opening, task: as });
  }
  scenario.event('vfio.cdev.close:end', as, { ...plainVfio(device), file });
}

/** A bind that fails, by how far it gets. */
export function bindCdevFails(
  scenario: Scenario,
  cdev: ScenarioCdev,
  error: number,
  { as = cdev.opener, at }: { as?: Actor; at: BindStep },
): void {
  const { device, key: file } = cdev;
  const blocks = { ...plainVfio(device), ret: at === 'group' ? -error : 0 };
  scenario.event('vfio.cdev.bind:begin', as, { ...namedVfio(device), file });
  if (at !== 'request') {
    scenario.event('vfio.cdev.block_group:begin', as, plainVfio(device));
    scenario.event('vfio.cdev.block_group:end', as, blocks);
  }
  const opening = { device, key: file, task: as };
  if (at === 'device') scenario.bindCdevFails(opening, cdev.vm, error);
  if (at === 'opened') {
    scenario.bindCdev(opening, cdev.vm);
    scenario.close(opening);
  }
  scenario.event('vfio.cdev.bind:end', as, { ...plainVfio(device), file, ret: -error });
}
