import { BIND_ERRNOS, whyNotBound } from '../engine/bind-causes.ts';
import { cdevWords, WITH_CDEVS } from '../engine/cdev-bind.ts';
import {
  E2BIG,
  EACCES,
  EBADF,
  EBADFD,
  EBUSY,
  EFAULT,
  EINVAL,
  EIO,
  ENODEV,
  ENOMEM,
  EPERM,
  errnoName,
} from '../engine/errno.ts';
import { refusalOf } from '../engine/refusal.ts';
import type { Example, Rule } from '../engine/rule.ts';
import { siblingsWords } from '../engine/siblings.ts';
import { deviceWords, who } from '../engine/words.ts';
import { taskOf } from '../events/task.ts';
import { bindCdev, bindCdevFails, openCdev } from '../scenario/cdev.ts';
import { groupHas } from '../scenario/vfio.ts';

export const bindRefused: Rule = {
  id: 'bind-refused',
  title: 'A device cdev could not be bound to an iommufd',
  severity: 'warning',
  description:
    'A process has opened the cdev of a device, /dev/vfio/devices/vfioN, and the kernel refused to bind it ' +
    'to an iommufd. Before that the device is not open, so no VM gets it. The VMM shows one errno that can mean ' +
    'several things; the message says what it meant here, from how far the bind got.',
  remediation:
    'Fix the cause that the message gives, and bind it again. A file that is not bound keeps the ' +
    'device: close it if it is not bound again.',
  references:
    'vfio_df_ioctl_bind_iommufd() in drivers/vfio/device_cdev.c, vfio_df_open() in ' +
    'drivers/vfio/vfio_main.c, iommufd_device_bind() in drivers/iommu/iommufd/device.c',
  evidence:
    'Who tried to bind which cdev, how far that got, and the errno; who has it bound, if anybody.',
  occurrences: 'the device and the errno',
  errnos: BIND_ERRNOS,
  blindSpot:
    'Which iommufd was passed, and what of a malformed request is wrong. Whether the driver of the device or the ' +
    'kernel returned an errno that both return within the open.',
  provocation: {
    by: 'user',
    how: 'A cdev is bound a second time, with a descriptor that is no iommufd, or by a second file.',
  },
  kernels: WITH_CDEVS,
  basis: 'event',
  needs: ['vfio.device.open', 'vfio.cdev.block_group'],
  on: {
    'vfio.cdev.bind:end'(transition, context) {
      const { event, device, cdev, request } = transition;
      // What the group is in the way of is reported as cdev-group-conflict.
      if (event.ret >= 0 || !device || !cdev || request?.groupError) return;
      // Causes that have rules of their own are left to these.
      if (refusalOf(transition, context)) return;
      const task = taskOf(event);
      const others = request?.openError && device.isMdev;
      context.report({
        device,
        task,
        sameAs: `${device.name} ${event.ret}`,
        message:
          `${who(task)} could not bind ${deviceWords(device)} to an iommufd by ${cdevWords(cdev)}: ` +
          `${errnoName(-event.ret)}, ${whyNotBound(transition, cdev, context)}.` +
          (others ? siblingsWords(device, device) : ''),
      });
    },
  },
  examples: {
    fires: [
      refused('request', EINVAL, 'the request is too small'),
      refused('request', E2BIG, 'the request is of a newer kernel'),
      refused('request', EFAULT, 'the request is in memory that is not mapped'),
      refused('descriptor', EBADFD, 'the descriptor that is passed is no iommufd'),
      refused('descriptor', EBADF, 'the descriptor that is passed is not open'),
      refused('descriptor', EACCES, 'the VF token is missing'),
      refused('descriptor', EFAULT, 'the memory of the VF token is not mapped'),
      refused('descriptor', EINVAL, 'a VF token is passed for a device that uses none'),
      {
        title: 'the same file is bound twice',
        also: ['open-without-kvm'],
        run(scenario) {
          const cdev = openCdev(scenario, scenario.create(scenario.parent()));
          bindCdev(scenario, cdev);
          bindCdevFails(scenario, cdev, EINVAL, { at: 'descriptor' });
        },
      },
      {
        title: 'another process has bound the device',
        also: ['open-without-kvm'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          bindCdev(scenario, openCdev(scenario, device));
          const second = openCdev(scenario, device, { as: { pid: 601, comm: 'qemu' } });
          bindCdevFails(scenario, second, EINVAL, { at: 'device' });
        },
      },
      {
        title: 'the driver refuses',
        run(scenario) {
          const cdev = openCdev(scenario, scenario.create(scenario.parent()));
          bindCdevFails(scenario, cdev, EIO, { at: 'device' });
        },
      },
      refused('device', EINVAL, 'the IOMMU of a PCI device does not snoop the caches'),
      refused('device', EPERM, 'the interrupts of a PCI device are not isolated'),
      {
        title: 'a driver of the host has a device of the group',
        run(scenario) {
          const device = scenario.bindPci('0000:01:00.0');
          groupHas(scenario, device, [{ name: '0000:01:00.1', driver: 'snd_hda_intel' }]);
          bindCdevFails(scenario, openCdev(scenario, device), EPERM, { at: 'device' });
        },
      },
      refused('device', EBUSY, 'the group of a PCI device is attached to another address space'),
      refused('device', ENODEV, 'the driver is being unloaded'),
      refused('device', ENOMEM, 'the kernel has no memory left'),
      {
        title: 'the id of the device cannot be returned',
        also: ['open-without-kvm'],
        run(scenario) {
          const cdev = openCdev(scenario, scenario.create(scenario.parent()));
          bindCdevFails(scenario, cdev, EFAULT, { at: 'opened' });
        },
      },
    ],
    doesNotFire: [
      {
        title: 'opened by one process and bound by another',
        also: ['open-without-kvm'],
        run(scenario) {
          const cdev = openCdev(scenario, scenario.create(scenario.parent()), {
            as: { pid: 601, comm: 'launcher' },
          });
          bindCdev(scenario, cdev, { as: { pid: 602, comm: 'qemu' } });
        },
      },
      {
        title: 'the group is open: that is cdev-group-conflict',
        also: ['cdev-group-conflict'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          bindCdevFails(scenario, openCdev(scenario, device), 16, { at: 'group' });
        },
      },
    ],
  },
};

/** The bind of a PCI device that is refused, which its only event of interest shows. */
function refused(at: 'request' | 'descriptor' | 'device', error: number, title: string): Example {
  return {
    title,
    run(scenario) {
      const cdev = openCdev(scenario, scenario.bindPci('0000:01:00.0'));
      bindCdevFails(scenario, cdev, error, { at });
    },
  };
}
