// SPDX-License-Identifier: Apache-2.0
/** The lab session of the soak: a VM with all drivers and hardware, and the operations for correct use. */
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { LAB_KERNELS } from '../../../src/scenario/kernels.ts';
import { bootLab, buildDrivers, type Vm } from '../../lab/lab.ts';
import { programsOf } from '../../lab/other-root.ts';
import { Vmm } from '../../lab/vmm.ts';
import { clearAway } from '../storms.ts';
import { BY_CDEV, BY_GROUP, type Path } from './path.ts';
import type { QemuProgram } from './qemu.ts';

/** A network card behind the IOMMU. */
export const CARD = '0000:00:08.0';
const HARDWARE = {
  devices: ['intel-iommu,intremap=on', 'e1000e,addr=8'],
  append: ['intel_iommu=on'],
} as const;

/** Parents of the lab's own driver, and the devices that each can have. */
export const PARENTS = 8;
export const INSTANCES = 16;

const DRIVER_SOURCES = fileURLToPath(new URL('../../kmod', import.meta.url));

/** An mdev type as [parent, type]. */
export type Type = readonly [parent: string, type: string];

export const MTTY: Type = ['mtty', 'mtty-1'];
const MDPY: Type = ['mdpy', 'mdpy-vga'];
export const SAMPLES: readonly Type[] = [MTTY, MDPY];

/** Whether a kernel of the lab has device cdevs. */
export function hasCdevs(kernel: string): boolean {
  return LAB_KERNELS[kernel].devicesHaveCdevs === true;
}

export class SoakSession {
  readonly vm: Vm;
  readonly qemu: QemuProgram;

  private constructor(vm: Vm, qemu: QemuProgram) {
    this.vm = vm;
    this.qemu = qemu;
  }

  /** Whether devices are opened by their cdevs: on a kernel that has them. */
  get byCdev(): boolean {
    return this.qemu.byCdev;
  }

  get path(): Path {
    return this.byCdev ? BY_CDEV : BY_GROUP;
  }

  static async open(kernel: string, timeoutMs: number): Promise<SoakSession> {
    const vm = await bootLab({ kernel, timeoutMs, memoryMiB: 2048, ...HARDWARE });
    const byCdev = hasCdevs(kernel);
    // bookworm's QEMU knows no iommufd.
    const root = byCdev ? await programsOf(vm, 'trixie', ['qemu-system-x86']) : [];
    return new SoakSession(vm, { words: [...root, 'qemu-system-x86_64'], byCdev });
  }

  /** Ends the processes and pins that a failed test would leave for the next one. */
  async clear(): Promise<void> {
    await clearAway(this.vm);
    await this.try(
      'pkill -KILL -f [v]mm.--comm; pkill -KILL qemu-system; rm -rf /sys/fs/bpf/vfioscope',
    );
  }

  /** Loads the modules of the kernel package. */
  async loadModules(): Promise<void> {
    for (const module of ['mdev', 'vfio_iommu_type1', 'kvm_amd', 'vfio-pci']) {
      await this.sh(`modprobe ${module}`);
    }
    await this.try('modprobe -q vfio_mdev');
    await this.sh('modprobe e1000e');
  }

  async loadSamples(): Promise<void> {
    await this.sh('modprobe mtty && modprobe mdpy count=64');
  }

  /** Loads the lab's own driver, without a fault. */
  async loadDriver(): Promise<void> {
    const directory = await buildDrivers(this.vm.kernel, DRIVER_SOURCES, ['faulty']);
    await this.sh(`insmod ${directory}/faulty.ko parents=${PARENTS}`);
  }

  /** The parents of the lab's own driver, with the type of which a device takes one instance. */
  async driverTypes(): Promise<Type[]> {
    const list = await this.sh('ls -d /sys/class/mdev_bus/*/mdev_supported_types/*single');
    return list.split('\n').map((path) => {
      const [parent, , type] = path.split('/').slice(-3);
      return [parent, type];
    });
  }

  /** Runs a shell command in the VM. @returns its output @throws when it fails */
  sh(command: string): Promise<string> {
    return this.vm.sh(command);
  }

  /** Whether a shell command succeeds in the VM. */
  async try(command: string): Promise<boolean> {
    return (await this.vm.run(['sh', '-c', command])).exitCode === 0;
  }

  /** @returns the uuid of a new device */
  async create([parent, type]: Type = MTTY, uuid: string = randomUUID()): Promise<string> {
    await this.sh(
      `echo ${uuid} > /sys/class/mdev_bus/${parent}/mdev_supported_types/${type}/create`,
    );
    return uuid;
  }

  /** The cdev of the card, such as "/dev/vfio/devices/vfio0". */
  async cdevOfCard(): Promise<string> {
    const name = await this.sh(`ls /sys/bus/pci/devices/${CARD}/vfio-dev`);
    return `/dev/vfio/devices/${name.trim()}`;
  }

  async remove(uuid: string): Promise<void> {
    await this.sh(`echo 1 > /sys/bus/mdev/devices/${uuid}/remove`);
  }

  vmm(comm: string): Vmm {
    return new Vmm(this.vm, comm);
  }

  /** Binds the card to a driver, and unbinds it from another one before. */
  async bindCard(driver: string): Promise<void> {
    const card = `/sys/bus/pci/devices/${CARD}`;
    if (await this.try(`test -e ${card}/driver`)) await this.unbindCard();
    await this.sh(`echo ${driver} > ${card}/driver_override`);
    await this.sh(`echo ${CARD} > /sys/bus/pci/drivers_probe && test -e ${card}/driver`);
  }

  /** Unbinds the card from its driver; returns when no process has it open. */
  async unbindCard(): Promise<void> {
    await this.sh(`echo ${CARD} > /sys/bus/pci/devices/${CARD}/driver/unbind`);
  }
}
