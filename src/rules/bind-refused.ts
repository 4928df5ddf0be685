import { cdevWords, WITH_CDEVS, whyNotBound } from '../engine/cdev-bind.ts';
import { EBADFD, EINVAL, EIO, EPERM, errnoName } from '../engine/errno.ts';
import { refusalOf } from '../engine/refusal.ts';
import type { Rule } from '../engine/rule.ts';
import { siblingsWords } from '../engine/siblings.ts';
import { deviceWords, who } from '../engine/words.ts';
import { taskOf } from '../events/task.ts';
import { bindCdev, bindCdevFails, openCdev } from '../scenario/cdev.ts';

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
  blindSpot:
    'Which iommufd was passed. A request of a size or with flags that the kernel does not know looks like any ' +
    'other malformed one.',
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
      {
        title: 'the descriptor that is passed is no iommufd',
        run(scenario) {
          const cdev = openCdev(scenario, scenario.create(scenario.parent()));
          bindCdevFails(scenario, cdev, EBADFD, { at: 'request' });
        },
      },
      {
        title: 'the same file is bound twice',
        also: ['open-without-kvm'],
        run(scenario) {
          const cdev = openCdev(scenario, scenario.create(scenario.parent()));
          bindCdev(scenario, cdev);
          bindCdevFails(scenario, cdev, EINVAL, { at: 'request' });
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
      {
        title: 'the interrupts of a PCI device are not isolated',
        run(scenario) {
          const cdev = openCdev(scenario, scenario.bindPci('0000:01:00.0'));
          bindCdevFails(scenario, cdev, EPERM, { at: 'device' });
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
