/**
 * A scenario: a sequence of kernel steps as wire records and passing time. The examples of rules are
 * scenarios; benchmarks are long ones.
 *
 * Each method emits what Linux 6.12 emits for that step. Between the two methods of a pair
 * (…Begins, …Ends) other steps may happen.
 */

import { FLAG } from '../events/wire.gen.ts';
import { kvmFields, mdevNames, namedMdev, namedVfio, plainMdev, plainVfio } from './fields.ts';
import { Steps } from './steps.ts';
import type {
  Actor,
  Creation,
  Opening,
  Removal,
  ScenarioDevice,
  ScenarioParent,
  ScenarioVm,
  Unregistering,
} from './types.ts';

const SHELL: Actor = { pid: 500, comm: 'mdevctl' };
const VMM: Actor = { pid: 600, comm: 'qemu' };
/** The value of a refcount_t after an underflow: include/linux/refcount.h. */
const REFCOUNT_SATURATED = -0x40000000;

export class Scenario extends Steps {
  /** The processes that have KVM files after the last step. */
  readonly kvmPids = new Set<number>();

  /** @param options at: a parent that was unregistered, whose address this one gets */
  parent({
    name = 'mtty',
    driver = 'mtty',
    type = '',
    at = { key: this.key() },
  } = {}): ScenarioParent {
    const parent = { key: at.key, name, driver, type: type || `${name}-1` };
    const fields = { parent: parent.key, names: { parent: name, driver } };
    this.begin('mdev.parent.register', SHELL, fields);
    this.end('mdev.parent.register', SHELL, { parent: parent.key });
    return parent;
  }

  createBegins(parent: ScenarioParent, options: { uuid?: string; as?: Actor } = {}): Creation {
    return this.probeBegins(this.createEnters(parent, options));
  }

  /** The device is in sysfs, but its driver's probe has not been called. */
  createEnters(parent: ScenarioParent, { uuid = this.#uuid(), as = SHELL } = {}): Creation {
    const device: ScenarioDevice = {
      key: this.key(),
      uuid,
      parent,
      groupId: this.keys,
      openCount: 0,
      groupVm: undefined,
      vm: undefined,
    };
    const names = { ...mdevNames(device), device: '' };
    this.begin('mdev.create', as, { parent: parent.key, names: { ...names, uuid } });
    return { device, task: as };
  }

  /** The driver sets it up. */
  probeBegins(creation: Creation): Creation {
    const { device, task } = creation;
    this.begin('mdev.probe', task, namedMdev(device));
    this.initialise(device, task);
    this.begin('vfio.register_emulated', task, { ...namedVfio(device), groupId: -1 });
    this.end('vfio.register_emulated', task, plainVfio(device));
    return creation;
  }

  /** Its driver allocates a vfio_device for it. */
  initialise(device: ScenarioDevice, task: Actor = SHELL): void {
    const { key: dev } = device;
    this.begin('vfio.init', task, { ...namedVfio(device), vdev: 0, openCount: -1, groupId: -1 });
    this.end('vfio.init', task, { dev, vdev: dev });
  }

  /** The driver refuses it after having allocated a vfio_device, and cleans up. */
  probeFails({ device, task }: Creation, errno: number): void {
    this.begin('mdev.probe', task, namedMdev(device));
    this.initialise(device, task);
    this.freeVdev(device, task);
    this.end('mdev.probe', task, { ...plainMdev(device), ret: -errno });
    this.freeMdev(device, task);
    this.end('mdev.create', task, { parent: device.parent?.key ?? 0, ret: -errno });
  }

  /** The last reference on its vfio_device is put. */
  freeVdev(device: ScenarioDevice, task: Actor = SHELL): void {
    this.begin('vfio.release', task, namedVfio(device));
    this.end('vfio.release', task, { dev: device.key, vdev: device.key });
  }

  /** Its last reference is put. */
  freeMdev(device: ScenarioDevice, task: Actor = SHELL): void {
    this.begin('mdev.release', task, namedMdev(device));
    this.end('mdev.release', task, plainMdev(device));
  }

  createEnds({ device, task }: Creation): ScenarioDevice {
    this.end('mdev.probe', task, plainMdev(device));
    this.end('mdev.create', task, { parent: device.parent?.key ?? 0 });
    return device;
  }

  create(parent: ScenarioParent, options: { uuid?: string; as?: Actor } = {}): ScenarioDevice {
    return this.createEnds(this.createBegins(parent, options));
  }

  createFails(
    parent: ScenarioParent,
    errno: number,
    { uuid = this.#uuid(), as = SHELL } = {},
  ): void {
    const { name, driver, type } = parent;
    const names = { uuid, type, parent: name, driver };
    this.begin('mdev.create', as, { parent: parent.key, names });
    this.end('mdev.create', as, { parent: parent.key, ret: -errno });
  }

  /** @param options idle: the kernel has entered the call, but has not begun the teardown */
  removeBegins(device: ScenarioDevice, { as = SHELL, idle = false } = {}): Removal {
    this.begin('mdev.remove', as, namedMdev(device));
    const removal = { device, task: as, idle: true };
    if (!idle) this.#unregisterBegins(removal);
    return removal;
  }

  /** The whole teardown of a device that nobody has open. */
  teardown(removal: Removal): void {
    this.#unregisterBegins(removal);
    this.#unregisterEnds(removal);
  }

  removeEnds(removal: Removal, { error = 0 } = {}): void {
    if (!removal.idle) this.#unregisterEnds(removal);
    this.end('mdev.remove', removal.task, { ...plainMdev(removal.device), ret: -error });
  }

  remove(device: ScenarioDevice, { as = SHELL } = {}): void {
    this.removeEnds(this.removeBegins(device, { as }));
  }

  /** The driver's remove callback does not call vfio_unregister_group_dev(). */
  unbindWithoutUnregister({ device, task }: Removal): void {
    this.begin('mdev.unbind', task, namedMdev(device));
    this.end('mdev.unbind', task, plainMdev(device));
  }

  parentUnregisterBegins(parent: ScenarioParent): Unregistering {
    const names = { parent: parent.name, driver: parent.driver };
    this.begin('mdev.parent.unregister', SHELL, { parent: parent.key, names });
    return { parent, task: SHELL };
  }

  childRemoved({ task }: Unregistering, device: ScenarioDevice): void {
    this.begin('mdev.remove_child', task, namedMdev(device));
    this.teardown({ device, task, idle: true });
    this.end('mdev.remove_child', task, plainMdev(device));
  }

  parentUnregisterEnds({ parent, task }: Unregistering): void {
    this.end('mdev.parent.unregister', task, { parent: parent.key });
  }

  /** A device is bound to vfio-pci. @param options beside: another device of its IOMMU group */
  bindPci(address: string, { beside }: { beside?: ScenarioDevice } = {}): ScenarioDevice {
    const device: ScenarioDevice = {
      key: this.key(),
      uuid: address,
      parent: undefined,
      groupId: beside?.groupId ?? this.keys,
      openCount: 0,
      groupVm: undefined,
      vm: undefined,
    };
    this.initialise(device);
    this.begin('vfio.register', SHELL, { ...namedVfio(device), groupId: -1 });
    this.end('vfio.register', SHELL, plainVfio(device));
    return device;
  }

  unbindPciBegins(device: ScenarioDevice, { as = SHELL } = {}): void {
    // vfio-pci has a request callback.
    this.begin('vfio.unregister', as, { ...namedVfio(device), flags: FLAG.EVENT_ASKS });
  }

  unbindPciEnds(device: ScenarioDevice, { as = SHELL } = {}): void {
    this.end('vfio.unregister', as, plainVfio(device));
    this.freeVdev(device, as);
  }

  /** @param options at: a VM that was destroyed, whose address this one gets */
  createVm({ as = VMM, at }: { as?: Actor; at?: ScenarioVm } = {}): ScenarioVm {
    const vm = { key: at?.key ?? this.key(), task: as, users: 1 };
    this.takesKvmFile(as);
    this.begin('kvm.vm.create', as, {});
    this.begin('kvm.vm.init', as, { kvm: vm.key, usersCount: 1 });
    this.end('kvm.vm.init', as, kvmFields(vm));
    this.end('kvm.vm.create', as, { ret: 11 });
    return vm;
  }

  /** Something gets a reference, which it has to put later. */
  getKvm(vm: ScenarioVm, { as = vm.task } = {}): void {
    this.begin('kvm.get', as, kvmFields(vm));
    vm.users++;
  }

  /** A reference is put; the VM is destroyed with its last one. */
  putKvm(vm: ScenarioVm): void {
    this.#putKvm(vm, vm.task);
  }

  closeVm(vm: ScenarioVm, { as = vm.task } = {}): void {
    this.begin('kvm.vm.fd_close', as, kvmFields(vm));
    this.#putKvm(vm, as);
    this.end('kvm.vm.fd_close', as, { kvm: vm.key });
  }

  /** The process gets a file of a VM. */
  takesKvmFile(task: Actor): void {
    this.kvmPids.add(task.pid);
    this.steps.push(new Set(this.kvmPids));
  }

  /** The process exits, which closes all its files. */
  exit(task: Actor): void {
    this.kvmPids.delete(task.pid);
    this.steps.push(new Set(this.kvmPids));
  }

  setKvm(device: ScenarioDevice, vm: ScenarioVm): void {
    device.groupVm = vm;
    this.begin('vfio.group.set_kvm', vm.task, { ...kvmFields(vm), groupId: device.groupId });
  }

  clearKvm(device: ScenarioDevice, { as = VMM, exiting = false } = {}): void {
    device.groupVm = undefined;
    const flags = exiting ? FLAG.EVENT_EXITING : 0;
    this.begin('vfio.group.set_kvm', as, { groupId: device.groupId, flags });
  }

  /** On 5.10 only: the drivers that registered a notifier for the VM of the group return NOTIFY_*. */
  notified(device: ScenarioDevice, answer: number, { as = VMM } = {}): void {
    const { groupId, groupVm } = device;
    const fields = { ...kvmFields(groupVm), groupId, ret: answer };
    this.end('vfio.group.notify', as, fields);
  }

  /** @param options isInDevice: false where the request waits for a lock, until {@link openReaches} */
  openBegins(
    device: ScenarioDevice,
    { vm, as = VMM, isInDevice = true }: { vm?: ScenarioVm; as?: Actor; isInDevice?: boolean } = {},
  ): Opening {
    if (vm && device.groupVm !== vm) this.setKvm(device, vm);
    this.begin('vfio.device.get_fd', as, {
      groupId: device.groupId,
      names: { device: device.uuid },
    });
    const opening = { device, key: this.key(), task: as };
    if (isInDevice) this.openReaches(opening);
    return opening;
  }

  /** @param vm that the device captures if this is its first open */
  openReaches(opening: Opening, vm = opening.device.groupVm): void {
    const { device, task } = opening;
    if (device.openCount === 0) this.#capture(device, task, vm);
    this.#enterOpen(opening);
  }

  #enterOpen(opening: Opening): void {
    const { device, task } = opening;
    const flags = isForeign(opening) ? FLAG.EVENT_FOREIGN : 0;
    const fields = { ...namedVfio(device), ...this.#file(opening), flags };
    this.begin('vfio.device.open', task, fields);
  }

  /** The key of a new file of a device. */
  newFile(): number {
    return this.key();
  }

  /**
   * A process that has the cdev of the device open binds it to iommufd, which opens the device. The other steps
   * of cdevs are in cdev.ts.
   * @param opening its key is that of the cdev
   * @param vm that is set for the cdev
   */
  bindCdev(opening: Opening, vm: ScenarioVm | undefined): void {
    this.openReaches(opening, vm);
    this.openReturns(opening);
  }

  /** A bind that fails in the open of the device captures and drops a VM, also if another file is bound. */
  bindCdevFails(opening: Opening, vm: ScenarioVm | undefined, error: number): void {
    const { device, task } = opening;
    this.#capture(device, task, vm);
    this.#enterOpen(opening);
    this.#leaveOpen(opening, error);
    this.#drop(device, task);
  }

  /** @param options fd: the descriptor that the caller gets */
  openEnds(opening: Opening, { error = 0, fd = 20 } = {}): Opening {
    const { device, task } = opening;
    this.openReturns(opening, error);
    this.end('vfio.device.get_fd', task, {
      groupId: device.groupId,
      ret: error ? -error : fd,
    });
    return opening;
  }

  /** The open of the device returns to what requested it. */
  openReturns(opening: Opening, error = 0): void {
    const { device, task } = opening;
    if (!error) device.openCount++;
    this.#leaveOpen(opening, error);
    if (error && device.openCount === 0) this.#drop(device, task);
  }

  #leaveOpen(opening: Opening, error: number): void {
    const flags = isForeign(opening) ? FLAG.EVENT_FOREIGN : 0;
    const fields = { ...plainVfio(opening.device), ...this.#file(opening), flags, ret: -error };
    this.end('vfio.device.open', opening.task, fields);
  }

  open(
    device: ScenarioDevice,
    { fd, ...options }: { vm?: ScenarioVm; as?: Actor; fd?: number } = {},
  ): Opening {
    return this.openEnds(this.openBegins(device, options), { fd });
  }

  /** It is open, but its open was not observed. */
  openUnobserved(device: ScenarioDevice, vm: ScenarioVm): Opening {
    vm.users++;
    device.vm = vm;
    device.openCount++;
    return { device, key: this.key(), task: vm.task };
  }

  closeBegins(opening: Opening, { exiting = false } = {}): void {
    const { device, task } = opening;
    const flags = exiting ? FLAG.EVENT_EXITING : 0;
    const fields = { ...namedVfio(device), ...this.#file(opening), flags };
    this.begin('vfio.device.close', task, fields);
  }

  closeEnds(opening: Opening, { exiting = false } = {}): void {
    const { device, task } = opening;
    const flags = exiting ? FLAG.EVENT_EXITING : 0;
    device.openCount--;
    const fields = { ...plainVfio(device), ...this.#file(opening), flags };
    this.end('vfio.device.close', task, fields);
    if (device.openCount === 0) this.#drop(device, task);
  }

  close(opening: Opening, options: { exiting?: boolean } = {}): void {
    this.closeBegins(opening, options);
    this.closeEnds(opening, options);
  }

  /** The request for a device file fails before the open of the device is reached. */
  /** @param options hasOptions: something follows the device's name, such as a VF token */
  getFdFails(device: ScenarioDevice, errno: number, { as = VMM, hasOptions = false } = {}): void {
    const { groupId } = device;
    const flags = hasOptions ? FLAG.EVENT_OPTIONS : 0;
    this.begin('vfio.device.get_fd', as, { groupId, flags, names: { device: device.uuid } });
    this.end('vfio.device.get_fd', as, { groupId, ret: -errno });
  }

  groupOpenFails(device: ScenarioDevice, errno: number, { as = VMM } = {}): void {
    this.begin('vfio.group.open', as, { groupId: device.groupId });
    this.end('vfio.group.open', as, { groupId: device.groupId, ret: -errno });
  }

  /** Without a VM, or with one that is being destroyed, the device keeps what it has. */
  #capture(device: ScenarioDevice, task: Actor, vm: ScenarioVm | undefined): void {
    const base = plainVfio(device);
    this.begin('vfio.device.kvm_capture', task, { ...base, ...kvmFields(vm) });
    if (vm) {
      const isAlive = vm.users > 0;
      this.begin('kvm.get_safe', task, kvmFields(vm));
      if (isAlive) {
        vm.users++;
        device.vm = vm;
      }
      this.end('kvm.get_safe', task, { ...kvmFields(vm), ret: isAlive ? 1 : 0 });
    }
    const held = kvmFields(device.vm);
    this.end('vfio.device.kvm_capture', task, { ...base, ...held });
  }

  #drop(device: ScenarioDevice, task: Actor): void {
    const { vm } = device;
    device.vm = undefined;
    const kvm = kvmFields(vm);
    this.begin('vfio.device.kvm_drop', task, { ...plainVfio(device), ...kvm });
    if (vm) this.#putKvm(vm, task);
  }

  #putKvm(vm: ScenarioVm, task: Actor): void {
    this.begin('kvm.put', task, kvmFields(vm));
    if (vm.users <= 0) {
      vm.users = REFCOUNT_SATURATED;
      return;
    }
    if (--vm.users > 0) return;
    this.begin('kvm.vm.destroy', task, kvmFields(vm));
    this.end('kvm.vm.destroy', task, { kvm: vm.key });
  }

  #unregisterBegins(removal: Removal): void {
    removal.idle = false;
    this.begin('mdev.unbind', removal.task, namedMdev(removal.device));
    this.begin('vfio.unregister', removal.task, namedVfio(removal.device));
  }

  #unregisterEnds(removal: Removal): void {
    const { device, task } = removal;
    removal.idle = true;
    this.end('vfio.unregister', task, plainVfio(device));
    this.freeVdev(device, task);
    this.end('mdev.unbind', task, plainMdev(device));
    this.freeMdev(device, task);
  }

  #file({ device, key }: Opening) {
    return { file: key, ...kvmFields(device.vm) };
  }

  #uuid(): string {
    return `00000000-0000-4000-8000-${(this.keys + 1).toString(16).padStart(12, '0')}`;
  }
}

/** Whether the process that opens the device has another address space than the VM that the device captured. */
function isForeign({ device: { vm }, task }: Opening): boolean {
  return vm !== undefined && memoryOf(vm.task) !== memoryOf(task);
}

function memoryOf({ memory, pid }: Actor): number {
  return memory ?? pid;
}
