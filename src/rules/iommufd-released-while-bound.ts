import { heldOpen } from '../engine/holder-words.ts';
import type { Rule } from '../engine/rule.ts';
import { deviceWords, who } from '../engine/words.ts';
import { taskOf } from '../events/task.ts';
import { bindCdev, closeCdev, closeIommufd, openCdev, openIommufd } from '../scenario/cdev.ts';

export const iommufdReleasedWhileBound: Rule = {
  id: 'iommufd-released-while-bound',
  title: 'An iommufd context was released while a device was bound to it',
  severity: 'critical',
  description:
    'A device that is bound to an iommufd context has a reference on its file, so that the address space ' +
    'of the device exists until the device is closed, also when the VMM closes its own descriptor of /dev/iommu ' +
    'first, or is killed. The file was released all the same: somebody put a reference that was not theirs. The device ' +
    'is still open, its DMA uses page tables that are freed, and its close will use the context again.',
  remediation:
    'Move the other guests away first: closing the device may crash the host. Then reboot, and stop using that ' +
    'driver until it is fixed. The evidence shows who released the context.',
  references:
    'vfio_df_ioctl_bind_iommufd() in drivers/vfio/device_cdev.c, which takes the reference, and ' +
    'iommufd_fops_release() in drivers/iommu/iommufd/main.c',
  evidence:
    'Who opened the context and who released it, who bound the device, and who has it open.',
  kernels: {
    where: { devicesHaveCdevs: true },
    because: 'a device is bound to an iommufd context by its cdev alone',
  },
  provocation: {
    by: 'nothing',
    how: 'A bound device has a reference on the file of its context, so no order of closes releases that before.',
  },
  basis: 'state',
  needs: ['vfio.cdev.bind', 'vfio.cdev.close', 'iommufd.close'],
  on: {
    'iommufd.close:begin'({ iommufd, event }, { world, now, report }) {
      if (!iommufd) return;
      const by = who(taskOf(event));
      for (const cdev of world.cdevs) {
        if (cdev.iommufd !== iommufd || !cdev.isBound) continue;
        const { device } = cdev;
        const opener = iommufd.opener ? `, opened by ${who(iommufd.opener)},` : '';
        report({
          device,
          task: cdev.binder ?? cdev.opener,
          ongoing: true,
          message: ({ holders }) =>
            `The iommufd context of ${deviceWords(device)}${opener} was released by ${by}, although the device is ` +
            `bound to it and ${heldOpen(device, holders, now)}. Its DMA uses page tables that are freed.`,
        });
      }
    },
    'vfio.cdev.close:end'({ device }, { resolve }) {
      if (device && !device.isOpen) resolve(device);
    },
  },
  examples: {
    fires: [
      {
        title: 'the file is released as if no device had a reference on it',
        also: ['open-without-kvm'],
        run(scenario) {
          const iommufd = openIommufd(scenario);
          bindCdev(scenario, openCdev(scenario, scenario.create(scenario.parent())), { iommufd });
          closeIommufd(scenario, iommufd);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'released after the device is closed',
        also: ['open-without-kvm'],
        run(scenario) {
          const iommufd = openIommufd(scenario);
          const cdev = openCdev(scenario, scenario.create(scenario.parent()));
          bindCdev(scenario, cdev, { iommufd });
          closeCdev(scenario, cdev);
          closeIommufd(scenario, iommufd);
        },
      },
      {
        title: 'another context is released',
        also: ['open-without-kvm'],
        run(scenario) {
          const iommufd = openIommufd(scenario);
          const other = openIommufd(scenario, { as: { pid: 601, comm: 'qemu' } });
          bindCdev(scenario, openCdev(scenario, scenario.create(scenario.parent())), { iommufd });
          closeIommufd(scenario, other);
        },
      },
    ],
  },
};
