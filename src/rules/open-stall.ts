import type { Rule } from '../engine/rule.ts';
import { STALL_SEVERITY, stallOf } from '../engine/stall.ts';
import { bindCdev, bindCdevBegins, openCdev } from '../scenario/cdev.ts';

export const openStall: Rule = {
  id: 'open-stall',
  title: 'The open of a device does not return',
  severity: 'warning',
  severityVaries: STALL_SEVERITY,
  description:
    'A process opens a device, and the kernel does not return from it; also the bind of a cdev to an ' +
    'iommufd (VFIO_DEVICE_BIND_IOMMUFD), which opens the device. The process, usually a VMM ' +
    'that starts a VM, cannot be killed while it is blocked in state D. Mostly a driver waits for ' +
    'hardware: a function-level reset that the device never answers (blocked in pci_dev_wait, which ' +
    'gives up after a minute) or firmware of a vendor driver. ' +
    'Others that open, unbind or reset the device wait behind it.',
  remediation:
    'Read where the thread is blocked. In pci_dev_wait the device does not come back from a reset: ' +
    'the kernel gives up after a minute for each way to reset it that it tries. Wait until the open returns, then power-cycle the device or the host, and do not retry ' +
    'in a loop. In a vendor driver, check its log and the state of the firmware. Do not unbind the ' +
    'device meanwhile: that waits for the same lock.',
  references:
    'vfio_df_open() in drivers/vfio/vfio_main.c, which calls the open_device callback of the driver with the ' +
    'lock of its device set held; vfio_df_ioctl_bind_iommufd() in drivers/vfio/device_cdev.c, which waits for that lock ' +
    'first; pci_dev_wait() in drivers/pci/pci.c',
  evidence:
    'Which call has not returned, who made it, since when, and where its thread is blocked in the kernel; the events of the device.',
  blindSpot:
    'An open of /dev/vfio/devices/vfioN waits before VFIO is reached; what the device itself does meanwhile.',
  provocation: {
    by: 'driver',
    how: 'A driver sleeps in its open_device callback.',
  },
  basis: 'state',
  ...stallOf({ operations: ['open'], threshold: 'openStall' }),
  examples: {
    fires: [
      {
        title: 'the driver does not return from an open',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.openBegins(device, { vm: scenario.createVm() });
          scenario.wait(120);
        },
      },
      {
        title: 'it returns between two ticks, after longer than the threshold',
        run(scenario) {
          const device = scenario.bindPci('0000:01:00.0');
          const opening = scenario.openBegins(device, { vm: scenario.createVm() });
          scenario.pass(10.5);
          scenario.openEnds(opening);
        },
      },
      {
        title: 'the bind of a cdev to an iommufd waits for the lock before it opens the device',
        run(scenario) {
          bindCdevBegins(scenario, openCdev(scenario, scenario.bindPci('0000:01:00.0')));
          scenario.wait(1200);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'a cdev that was bound long ago',
        also: ['open-without-kvm'],
        run(scenario) {
          bindCdev(scenario, openCdev(scenario, scenario.create(scenario.parent())));
          scenario.wait(1200);
        },
      },
      {
        title: 'the driver is slow, but not that slow',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const opening = scenario.openBegins(device, { vm: scenario.createVm() });
          scenario.wait(9);
          scenario.openEnds(opening);
          scenario.wait(60);
        },
      },
    ],
  },
};
