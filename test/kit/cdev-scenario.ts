/**
 * A scenario in which every device is opened by its cdev, bound to an iommufd, where it would be opened by its
 * group: so that the examples of rules can be played on both paths.
 */
import { openCdev, type ScenarioCdev, setCdevKvm } from '../../src/scenario/cdev.ts';
import { namedVfio, plainVfio } from '../../src/scenario/fields.ts';
import { Scenario } from '../../src/scenario/scenario.ts';
import type { Actor, Opening, ScenarioDevice, ScenarioVm } from '../../src/scenario/types.ts';

const VMM: Actor = { pid: 600, comm: 'qemu' };

/** A step that the kernel does not allow by a cdev. */
export class NotByCdev extends Error {}

export class CdevScenario extends Scenario {
  /** The open cdev of each device. */
  readonly #cdevs = new Map<ScenarioDevice, ScenarioCdev>();

  override setKvm(device: ScenarioDevice, vm: ScenarioVm): void {
    setCdevKvm(this, this.#cdevOf(device, vm.task), vm);
  }

  override clearKvm(device: ScenarioDevice, { as = VMM } = {}): void {
    setCdevKvm(this, this.#cdevOf(device, as), undefined, { as });
  }

  override openBegins(
    device: ScenarioDevice,
    { vm, as = VMM, isInDevice = true }: { vm?: ScenarioVm; as?: Actor; isInDevice?: boolean } = {},
  ): Opening {
    if (device.openCount > 0) throw new NotByCdev('only one file of a device can be bound');
    const cdev = this.#cdevOf(device, as);
    if (vm && device.groupVm !== vm) this.setKvm(device, vm);
    this.event('vfio.cdev.bind:begin', as, { ...namedVfio(device), file: cdev.key });
    this.event('vfio.cdev.block_group:begin', as, plainVfio(device));
    this.event('vfio.cdev.block_group:end', as, plainVfio(device));
    cdev.opening = { device, key: cdev.key, task: as };
    if (isInDevice) this.openReaches(cdev.opening);
    return cdev.opening;
  }

  override openEnds(opening: Opening, { error = 0 } = {}): Opening {
    const { device, key: file, task } = opening;
    this.openReturns(opening, error);
    this.event('vfio.cdev.bind:end', task, { ...plainVfio(device), file, ret: -error });
    return opening;
  }

  override closeBegins(opening: Opening, options: { exiting?: boolean } = {}): void {
    const { device, key: file, task } = opening;
    this.event('vfio.cdev.close:begin', task, { ...namedVfio(device), file });
    this.event('vfio.cdev.unbind:begin', task, { ...plainVfio(device), file });
    super.closeBegins(opening, options);
  }

  override closeEnds(opening: Opening, options: { exiting?: boolean } = {}): void {
    const { device, key: file, task } = opening;
    super.closeEnds(opening, options);
    this.event('vfio.cdev.close:end', task, { ...plainVfio(device), file });
    this.#cdevs.delete(device);
  }

  override getFdFails(): void {
    throw new NotByCdev('a cdev has no request for a device');
  }

  #cdevOf(device: ScenarioDevice, as: Actor): ScenarioCdev {
    const known = this.#cdevs.get(device);
    if (known) return known;
    const cdev = openCdev(this, device, { as });
    this.#cdevs.set(device, cdev);
    return cdev;
  }
}
