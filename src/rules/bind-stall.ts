import type { Rule } from '../engine/rule.ts';
import { STALL_SEVERITY, stallOf } from '../engine/stall.ts';
import { bindPciBegins, bindPciEnds } from '../scenario/vfio.ts';

export const bindStall: Rule = {
  id: 'bind-stall',
  title: 'The binding of a device to its VFIO driver does not return',
  severity: 'warning',
  severityVaries: STALL_SEVERITY,
  description:
    'A driver such as vfio-pci is bound to a device, and its set-up does not return: it waits for ' +
    'hardware, for a lock, or for another device of the same IOMMU group. The process that wrote ' +
    'to `bind`, `drivers_probe` or `new_id` holds the lock of the device meanwhile, so everything ' +
    'else that is done to the device waits behind it. It is not the bind of a cdev to an iommufd: that is ' +
    '`open-stall`.',
  remediation:
    'Read where the thread is blocked, and what else is done to that device or its group at the same ' +
    'time. Do not unbind the device: that waits for the same lock. If the driver waits for the ' +
    'hardware, reset the slot or reboot the host.',
  references:
    'vfio_register_group_dev() in drivers/vfio/vfio_main.c, mdev_probe() in drivers/vfio/mdev/mdev_driver.c',
  evidence:
    'Which call has not returned, who made it, since when, and where its thread is blocked in the kernel; the events of the device.',
  blindSpot:
    'The part of the probe of a PCI driver before it allocates its vfio_device and after it has registered it.',
  provocation: {
    by: 'driver',
    how: 'A driver does not return while it allocates its vfio_device, when a PCI device is bound to it.',
  },
  basis: 'state',
  ...stallOf({ operations: ['bind'], threshold: 'bindStall' }),
  examples: {
    fires: [
      {
        title: 'the registration of a PCI device does not return',
        run(scenario) {
          bindPciBegins(scenario, '0000:01:00.0');
          scenario.wait(120);
        },
      },
      {
        title: 'it returns between two ticks, after longer than the threshold',
        run(scenario) {
          const device = bindPciBegins(scenario, '0000:01:00.0');
          scenario.pass(10.5);
          bindPciEnds(scenario, device);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'a binding of some seconds',
        run(scenario) {
          const device = bindPciBegins(scenario, '0000:01:00.0');
          scenario.wait(9);
          bindPciEnds(scenario, device);
          scenario.wait(60);
        },
      },
      {
        title: 'a driver that is slow within a creation: that is create-stall',
        also: ['create-stall'],
        run(scenario) {
          scenario.createBegins(scenario.parent());
          scenario.wait(20);
        },
      },
    ],
  },
};
