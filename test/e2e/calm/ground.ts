// SPDX-License-Identifier: Apache-2.0
/** A VM with everything that devices and VMs can be made of, and the hands to do it by the rules. */
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { bootLab, buildDrivers, type Vm } from '../../lab/lab.ts';
import { Vmm } from '../../lab/vmm.ts';
import { clearAway } from '../storms.ts';

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

export class Ground {
  readonly vm: Vm;

  private constructor(vm: Vm) {
    this.vm = vm;
  }

  static async open(kernel: string, timeoutMs: number): Promise<Ground> {
    return new Ground(await bootLab({ kernel, timeoutMs, memoryMiB: 2048, ...HARDWARE }));
  }

  /** Ends what a failed test would leave to the next. */
  async clear(): Promise<void> {
    await clearAway(this.vm);
    await this.try(
      'pkill -KILL -f [v]mm.--comm; pkill -KILL qemu-system; rm -rf /sys/fs/bpf/vfioscope',
    );
  }

  /** What the kernel comes with. */
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

  /** The lab's own driver, without a fault. */
  async loadDriver(): Promise<void> {
    const directory = await buildDrivers(this.vm.kernel, DRIVER_SOURCES, ['faulty']);
    await this.sh(`insmod ${directory}/faulty.ko parents=${PARENTS}`);
  }

  /** The parents of the lab's own driver, by the type that takes one place of them. */
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

  async remove(uuid: string): Promise<void> {
    await this.sh(`echo 1 > /sys/bus/mdev/devices/${uuid}/remove`);
  }

  vmm(comm: string): Vmm {
    return new Vmm(this.vm, comm);
  }

  /** Gives the card to a driver, from none or from another. */
  async bindCard(driver: string): Promise<void> {
    const card = `/sys/bus/pci/devices/${CARD}`;
    if (await this.try(`test -e ${card}/driver`)) await this.unbindCard();
    await this.sh(`echo ${driver} > ${card}/driver_override`);
    await this.sh(`echo ${CARD} > /sys/bus/pci/drivers_probe && test -e ${card}/driver`);
  }

  /** Waits until nobody has it open. */
  async unbindCard(): Promise<void> {
    await this.sh(`echo ${CARD} > /sys/bus/pci/devices/${CARD}/driver/unbind`);
  }
}
