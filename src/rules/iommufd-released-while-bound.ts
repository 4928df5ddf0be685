import { boundCdev, WITH_CDEVS } from '../engine/cdev-bind.ts';
import { heldOpen } from '../engine/holder-words.ts';
import type { Finding, Rule } from '../engine/rule.ts';
import { deviceWords, hadIt, who } from '../engine/words.ts';
import type { IommufdContext } from '../lifecycle/iommufd-context.ts';
import type { Cdev } from '../lifecycle/objects.ts';
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
    'driver until it is fixed. The message says who released the context.',
  references:
    'vfio_df_ioctl_bind_iommufd() in drivers/vfio/device_cdev.c, which takes the reference, and ' +
    'iommufd_fops_release() in drivers/iommu/iommufd/main.c',
  evidence: 'Who bound the device and who released the context, and who has the device open.',
  kernels: WITH_CDEVS,
  blindSpot:
    'A group can use an iommufd context instead of a container. To which one its devices are bound is not observed.',
  provocation: {
    by: 'nothing',
    how: 'A bound device has a reference on the file of its context, so no order of closes releases that before.',
  },
  basis: 'state',
  needs: ['vfio.cdev.bind', 'vfio.cdev.close'],
  on: {
    'iommufd.close:begin'({ iommufd }, { world, now, report }) {
      if (!iommufd) return;
      for (const cdev of world.cdevs) {
        if (cdev.iommufd === iommufd && cdev.isBound) report(findingOf(cdev, iommufd, now));
      }
    },
  },
  // Also where the close of the device is not observed, but a host snapshot does not find it any more.
  onClock({ world, now, report, resolve }) {
    for (const device of world.devices) {
      const cdev = boundCdev(device);
      if (cdev?.iommufd?.closer) report(findingOf(cdev, cdev.iommufd, now));
      else resolve(device);
    }
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

function findingOf(cdev: Cdev, { opener, openedAt, closer }: IommufdContext, now: number): Finding {
  const { device } = cdev;
  const opened = opener ? ` of ${who(opener)}, ${hadIt(openedAt)},` : '';
  return {
    device,
    task: cdev.binder ?? cdev.opener,
    ongoing: true,
    message: ({ holders }) =>
      `The iommufd context${opened} was released by ${who(closer)}, although ${deviceWords(device)} is bound to ` +
      `it, which ${heldOpen(device, holders, now)}. Its DMA uses page tables that are freed.`,
  };
}
