import { cdevWords, WITH_CDEVS } from '../engine/cdev-bind.ts';
import {
  EADDRINUSE,
  EBUSY,
  EFAULT,
  EINVAL,
  ENODEV,
  ENOENT,
  ENOMEM,
  errnoName,
} from '../engine/errno.ts';
import { driverOf } from '../engine/refusal.ts';
import type { Rule } from '../engine/rule.ts';
import { deviceWords, inParens, who } from '../engine/words.ts';
import { taskOf } from '../events/task.ts';
import type { Device } from '../lifecycle/objects.ts';
import { attachCdev, bindCdev, detachCdev, openCdev } from '../scenario/cdev.ts';

export const attachFailed: Rule = {
  id: 'attach-failed',
  title: 'A device could not be attached to an address space',
  severity: 'warning',
  description:
    'A device that is bound to an iommufd has to be attached to an address space (IOAS) or a hardware page ' +
    'table of it before it can do DMA. The kernel refused that, so the VM either does not start, or works ' +
    'with a device whose DMA fails.',
  remediation: 'Fix the cause that the message gives, and attach it again.',
  references:
    'vfio_df_ioctl_attach_pt() in drivers/vfio/device_cdev.c, iommufd_device_attach() and ' +
    'iommufd_access_attach() in drivers/iommu/iommufd/device.c',
  evidence: 'Who tried to attach which device to which object of the iommufd, and the errno.',
  occurrences: 'the device and the errno',
  blindSpot:
    'An attach of a cdev that is not bound: the kernel refuses it with EINVAL before the function is reached ' +
    'that is probed.',
  provocation: {
    by: 'user',
    how: 'A device is attached to an address space that its iommufd does not have.',
  },
  kernels: WITH_CDEVS,
  basis: 'event',
  on: {
    'vfio.cdev.attach:end'({ event, device, cdev }, { report }) {
      if (event.ret >= 0 || !device || !cdev) return;
      const task = taskOf(event);
      const errno = -event.ret;
      report({
        device,
        task,
        sameAs: `${device.name} ${event.ret}`,
        message:
          `${who(task)} could not attach ${deviceWords(device)} to an address space by ${cdevWords(cdev)}: ` +
          `${errnoName(errno)}, ${reasonOf(errno, device)}.`,
      });
    },
  },
  examples: {
    fires: [
      {
        title: 'the iommufd has no such address space',
        also: ['open-without-kvm'],
        run(scenario) {
          const cdev = openCdev(scenario, scenario.create(scenario.parent()));
          bindCdev(scenario, cdev);
          attachCdev(scenario, cdev, { error: ENOENT });
        },
      },
      {
        title: 'what is mapped there is where the device has its interrupts',
        also: ['open-without-kvm'],
        run(scenario) {
          const cdev = openCdev(scenario, scenario.bindPci('0000:01:00.0'));
          bindCdev(scenario, cdev);
          attachCdev(scenario, cdev, { error: EADDRINUSE });
        },
      },
    ],
    doesNotFire: [
      {
        title: 'attached, detached and attached again',
        also: ['open-without-kvm'],
        run(scenario) {
          const cdev = openCdev(scenario, scenario.create(scenario.parent()));
          bindCdev(scenario, cdev);
          attachCdev(scenario, cdev);
          detachCdev(scenario, cdev);
          attachCdev(scenario, cdev);
        },
      },
    ],
  },
};

function reasonOf(errno: number, device: Device): string {
  const driver = `its driver${inParens(driverOf(device))}`;
  switch (errno) {
    case EFAULT:
      return 'because memory that it passed to the kernel was not accessible';
    case ENOENT:
      return 'because the iommufd has no object of the id that was passed, or one of another type';
    case EINVAL:
      return (
        'because the object of the id that was passed is neither an address space nor a page table, does ' +
        'not fit the IOMMU of the device, or another device of its group is attached to another page table'
      );
    case EADDRINUSE:
      return 'because something is mapped there where the device or its interrupts need the addresses';
    case EBUSY:
      return `because its group is attached to something else, or returned by ${driver}`;
    case ENODEV:
      return `because the device is going away, or returned by ${driver}`;
    case ENOMEM:
      return 'because the kernel has no memory left for it, or the process may not pin what is mapped there';
    default:
      return `returned by ${driver}${device.isMdev ? '' : ' or by its IOMMU'}`;
  }
}
