/**
 * The part of the table of probe points that is about device cdevs and iommufd: drivers/vfio/device_cdev.c,
 * drivers/iommu/iommufd/main.c. Both are options of a kernel, and no kernel before 6.6 has cdevs.
 */
import { both, type Candidate, inferred, of, type ProbePoint, single } from './probe-point.ts';

const blocks = { blocks: true };

const NO_CDEVS = inferred('vfio.register', 'this kernel has no device cdevs', {
  unless: 'devicesHaveCdevs',
});
const NO_IOMMUFD = inferred('vfio.register', 'this kernel has no iommufd', {
  unless: 'vfioUsesIommufd',
});

/** A step of cdevs. A kernel without them may have the function all the same, as one that does nothing. */
function ofCdevs(candidate: Candidate): readonly Candidate[] {
  return [NO_CDEVS, candidate];
}

export const IOMMUFD_POINTS: readonly ProbePoint[] = [
  {
    point: 'vfio.cdev.open',
    module: 'vfio',
    description:
      'a process opens /dev/vfio/devices/vfioN, which holds the device but does not open it',
    candidates: ofCdevs(both('vfio_device_fops_cdev_open', 'cdev_open', blocks)),
  },
  {
    point: 'vfio.cdev.close',
    module: 'vfio',
    description: 'the last descriptor of a device cdev is closed',
    candidates: ofCdevs(both('vfio_device_fops_release', 'cdev_close', blocks)),
  },
  {
    point: 'vfio.cdev.set_kvm',
    module: 'vfio',
    description: 'the VM of a device cdev is set or cleared',
    candidates: ofCdevs(single('vfio_file_set_kvm', 'cdev_set_kvm')),
  },
  {
    point: 'vfio.cdev.bind',
    module: 'vfio',
    description: 'a process binds a device cdev to an iommufd context, which opens the device',
    candidates: ofCdevs(both('vfio_df_ioctl_bind_iommufd', 'cdev_bind', blocks)),
  },
  {
    point: 'vfio.cdev.block_group',
    module: 'vfio',
    description: 'a bind keeps the group of the device from being opened, or fails if it is open',
    candidates: ofCdevs(both('vfio_device_block_group', 'cdev_block_group', blocks)),
  },
  {
    point: 'vfio.cdev.unbind',
    module: 'vfio',
    description: 'the close of a device cdev unbinds it, which closes the device',
    candidates: ofCdevs(single('vfio_df_unbind_iommufd', 'cdev_unbind')),
  },
  {
    point: 'vfio.cdev.attach',
    module: 'vfio',
    description: 'a process attaches a bound device to an address space or page table',
    candidates: ofCdevs(both('vfio_df_ioctl_attach_pt', 'cdev_attach', blocks)),
  },
  {
    point: 'vfio.cdev.detach',
    module: 'vfio',
    description: 'a process detaches a bound device from its address space or page table',
    candidates: ofCdevs(both('vfio_df_ioctl_detach_pt', 'cdev_detach', blocks)),
  },
  {
    point: 'iommufd.open',
    module: 'vfio',
    description: 'a process opens /dev/iommu, which makes an iommufd context',
    candidates: [NO_IOMMUFD, of('iommufd', both('iommufd_fops_open', 'iommufd_open', blocks))],
  },
  {
    point: 'iommufd.close',
    module: 'vfio',
    description: 'the last reference on the file of an iommufd context is put',
    candidates: [NO_IOMMUFD, of('iommufd', single('iommufd_fops_release', 'iommufd_close'))],
  },
];
