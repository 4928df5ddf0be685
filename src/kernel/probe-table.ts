/**
 * Which kernel function stands for which logical point: the one table.
 *
 * Points are kprobes at entry and kretprobes at return, never fentry and fexit: if a program is preempted
 * inside a BPF trampoline, the kernel silently skips it for another task on the same CPU, while a kprobe
 * runs with preemption off.
 *
 * `blocks` marks functions that sleep, for minutes or only for a lock. Each call in flight occupies one
 * instance of a kretprobe, and there are few by default, so these functions get a large number of them: a
 * hundred tools may create devices or VMs at the same time.
 */
import { IOMMUFD_POINTS } from './iommufd-points.ts';
import {
  atReturn,
  both,
  core,
  entry,
  inferred,
  type ProbeModule,
  type ProbePoint,
  single,
  spanned,
} from './probe-point.ts';

const blocks = { blocks: true };

/** In 5.10 devices are registered by their struct device. */
const OLD_REGISTER = { where: ['vfio.register', 'vfio_add_group_dev'] } as const;
/** Until 6.5 the core used only the group when it opened a device. */
const OLD_OPEN = { where: ['vfio.device.open', 'vfio_device_assign_container'] } as const;
/** Where no function of their own returns from all opens, the request for a file does. */
const NO_OPEN_END = { ...blocks, unless: 'opensAreOneFunction' } as const;

/** Returns from any request to a container, or to iommufd. */
const CONTAINER_MAP = atReturn('vfio_fops_unl_ioctl', 'container_map_end', true);
const IOMMUFD_MAP = { ...atReturn('iommufd_fops_ioctl', 'iommufd_map_end', true), of: 'iommufd' };

export const PROBE_TABLE: readonly ProbePoint[] = [
  {
    point: 'mdev.parent.register',
    module: 'mdev',
    description: 'a driver offers a device as parent of mdevs',
    candidates: [
      both('mdev_register_parent', 'parent_register'),
      spanned('mdev_register_device', 'device_register_begin', 'parent_register_end'),
    ],
  },
  {
    point: 'mdev.parent.unregister',
    module: 'mdev',
    description: 'a parent is unregistered, with all its mdevs',
    candidates: [
      both('mdev_unregister_parent', 'parent_unregister', blocks),
      spanned('mdev_unregister_device', 'device_unregister_begin', 'parent_unregister_end', blocks),
    ],
  },
  {
    point: 'mdev.create',
    module: 'mdev',
    description: 'a process wrote a UUID to create',
    candidates: [
      both('mdev_device_create', 'create', {
        ...blocks,
        where: ['mdev.parent.register', 'mdev_register_parent'],
      }),
      // The same name with other arguments, until mdevs got a bus that matches no driver (5.14).
      spanned('mdev_device_create', 'kobject_create_begin', 'create_end', {
        ...blocks,
        where: ['mdev.parent.register', 'mdev_register_device'],
        unless: 'mdevsStayUnbound',
      }),
      both('mdev_device_create', 'create', {
        ...blocks,
        where: ['mdev.parent.register', 'mdev_register_device'],
      }),
    ],
  },
  {
    point: 'mdev.probe',
    module: 'mdev',
    description: 'the driver sets up an mdev',
    candidates: [both('mdev_probe', 'probe', blocks)],
  },
  {
    point: 'mdev.remove',
    module: 'mdev',
    description: 'a process wrote to remove',
    candidates: [both('mdev_device_remove', 'remove', blocks)],
  },
  {
    point: 'mdev.remove_child',
    module: 'mdev',
    description: 'an mdev is removed because its parent is unregistered',
    candidates: [both('mdev_device_remove_cb', 'remove_child', blocks)],
  },
  {
    point: 'mdev.unbind',
    module: 'mdev',
    description: 'the driver is unbound from an mdev',
    candidates: [both('mdev_remove', 'unbind', blocks)],
  },
  {
    point: 'mdev.release',
    module: 'mdev',
    description: 'the last reference is gone and the mdev is freed',
    candidates: [both('mdev_device_release', 'release', blocks)],
  },
  {
    point: 'mdev.driver.unregister',
    module: 'mdev',
    description: 'a driver of mdevs is unregistered',
    candidates: [single('mdev_unregister_driver', 'driver_unregister')],
  },
  {
    point: 'vfio.register',
    module: 'vfio',
    description: 'a driver registers a device that has an IOMMU group',
    candidates: [
      // 5.10 has the other function as well, but calls it from this one.
      spanned('vfio_add_group_dev', 'add_begin', 'add_end', blocks),
      both('vfio_register_group_dev', 'register', blocks),
    ],
  },
  {
    point: 'vfio.init',
    module: 'vfio',
    description: 'a driver allocates a vfio_device',
    candidates: [
      inferred('vfio.register', 'this kernel allocates it when it is registered', OLD_REGISTER),
      both('vfio_init_device', 'init', blocks),
      // 6.2 and later: the other is inlined into this one.
      both('_vfio_alloc_device', 'alloc', blocks),
    ],
  },
  {
    point: 'vfio.register_emulated',
    module: 'vfio',
    description: 'a driver registers a device without an IOMMU of its own, an mdev above all',
    candidates: [
      both('vfio_register_emulated_iommu_dev', 'register_emulated', blocks),
      inferred(
        'vfio.register',
        'this kernel registers all devices by the same function',
        OLD_REGISTER,
      ),
    ],
  },
  {
    point: 'vfio.unregister',
    module: 'vfio',
    description: 'a device is unregistered; waits until no process has it open',
    candidates: [
      spanned('vfio_del_group_dev', 'del_begin', 'del_end', blocks),
      both('vfio_unregister_group_dev', 'unregister', blocks),
    ],
  },
  {
    point: 'vfio.release',
    module: 'vfio',
    description: 'the last reference is gone and the vfio_device is freed',
    candidates: [
      // First: older kernels may have the other function as well, with another argument.
      inferred('vfio.unregister', 'this kernel frees it as the last step of unregistering it', {
        where: ['vfio.unregister', 'vfio_del_group_dev'],
      }),
      both('vfio_device_release', 'vdev_release', blocks),
    ],
  },
  {
    point: 'vfio.group.open',
    module: 'vfio',
    description: 'a process opens /dev/vfio/GROUP',
    candidates: [both('vfio_group_fops_open', 'group_open', blocks)],
  },
  {
    point: 'vfio.group.close',
    module: 'vfio',
    description: 'the last descriptor of /dev/vfio/GROUP is closed',
    candidates: [single('vfio_group_fops_release', 'group_close')],
  },
  {
    point: 'vfio.group.set_kvm',
    module: 'vfio',
    description: 'the VM of a group is set or cleared',
    candidates: [
      spanned('vfio_group_set_kvm', 'group_set_kvm_begin', 'group_set_kvm_end', OLD_REGISTER),
      single('vfio_group_set_kvm', 'group_set_kvm'),
      // 6.1: the other is inlined into this one.
      single('vfio_file_set_kvm', 'file_set_kvm'),
    ],
  },
  {
    point: 'vfio.device.get_fd',
    module: 'vfio',
    description: 'a process requests a device file from a group',
    candidates: [
      spanned('vfio_group_fops_unl_ioctl', 'get_fd_begin', 'get_fd_and_open_end', NO_OPEN_END),
      both('vfio_group_fops_unl_ioctl', 'get_fd', blocks),
    ],
  },
  {
    point: 'vfio.group.unset_container',
    module: 'vfio',
    description: 'a process requests to detach a group from its container',
    candidates: [
      inferred('vfio.device.get_fd', 'all requests to a group pass through the same function', {}),
    ],
  },
  {
    point: 'vfio.group.detach',
    module: 'vfio',
    description: 'a group is detached from its container',
    candidates: [
      inferred('vfio.device.get_fd', 'this kernel inlines it into the request', OLD_REGISTER),
      single('vfio_group_detach_container', 'group_detach'),
    ],
  },
  {
    point: 'vfio.group.notify',
    module: 'vfio',
    description: 'drivers that registered for it are notified of the VM of a group',
    expendable: true,
    candidates: [
      // The same function notifies of much else, and may sleep.
      core(
        spanned('blocking_notifier_call_chain', 'notify_begin', 'notify_end', {
          ...blocks,
          ...OLD_REGISTER,
        }),
      ),
      inferred(
        'vfio.group.set_kvm',
        'this kernel does not notify drivers of the VM, but passes it at open',
        { unless: 'driversAreNotified' },
      ),
    ],
  },
  {
    point: 'vfio.device.open',
    module: 'vfio',
    description: 'a device file is opened',
    candidates: [
      both('vfio_df_open', 'open', blocks),
      // 6.1: vfio_device_open is inlined, and this is its first step.
      {
        hooks: [entry('vfio_device_assign_container', 'assign_begin')],
        inferredFrom: 'vfio.device.get_fd',
      },
      inferred(
        'vfio.device.get_fd',
        'this kernel inlines the open into the request for it, so it is emitted when that returns',
        OLD_REGISTER,
      ),
    ],
  },
  {
    point: 'vfio.device.close',
    module: 'vfio',
    description: 'a device file is closed',
    candidates: [
      both('vfio_df_close', 'close', blocks),
      {
        hooks: [
          entry('vfio_device_fops_release', 'file_close_begin'),
          entry('vfio_device_put_registration', 'close_end_at_put'),
        ],
      },
      spanned('vfio_device_fops_release', 'file_close_begin', 'file_close_end', blocks),
    ],
  },
  {
    point: 'vfio.device.kvm_capture',
    module: 'vfio',
    description: 'a device takes a reference on its VM, before its first open',
    candidates: [
      both('vfio_device_get_kvm_safe', 'kvm_capture'),
      inferred(
        'vfio.device.open',
        'the core of this kernel copies the VM of the group and takes no reference',
        OLD_OPEN,
      ),
      inferred(
        'vfio.group.set_kvm',
        'the core of this kernel keeps no VM for a device; its group has one',
        OLD_REGISTER,
      ),
    ],
  },
  {
    point: 'vfio.device.kvm_drop',
    module: 'vfio',
    description: 'a device drops its reference on its VM, after its last close',
    candidates: [
      single('vfio_device_put_kvm', 'kvm_drop'),
      inferred('vfio.device.close', 'the core of this kernel holds no reference', OLD_OPEN),
      inferred('vfio.device.close', 'the core of this kernel holds no reference', OLD_REGISTER),
    ],
  },
  {
    point: 'vfio.dma.map',
    module: 'vfio',
    description: 'memory of a process could not be mapped for DMA',
    expendable: true,
    // The type1 driver has no function of its own for it that all kernels keep. A kernel with iommufd may
    // have both, or no containers; VFIO depends on iommufd, so it is loaded whenever VFIO is.
    candidates: [
      { hooks: [CONTAINER_MAP, IOMMUFD_MAP] },
      { hooks: [CONTAINER_MAP] },
      { hooks: [IOMMUFD_MAP] },
    ],
  },
  ...IOMMUFD_POINTS,
  {
    point: 'kvm.vm.create',
    module: 'kvm',
    description: 'a process requests a VM',
    candidates: [both('kvm_dev_ioctl', 'vm_create', blocks)],
  },
  {
    point: 'kvm.vm.init',
    module: 'kvm',
    description: 'a VM is initialised',
    candidates: [both('kvm_arch_init_vm', 'vm_init', blocks)],
  },
  {
    point: 'kvm.vm.destroy',
    module: 'kvm',
    description: 'a VM lost its last reference and is torn down',
    candidates: [both('kvm_destroy_vm', 'vm_destroy', blocks)],
  },
  {
    point: 'kvm.vm.fd_close',
    module: 'kvm',
    description: 'the last descriptor of a VM is closed',
    candidates: [both('kvm_vm_release', 'vm_fd_close', blocks)],
  },
  {
    point: 'kvm.get',
    module: 'kvm',
    description: 'a reference on a VM is taken',
    expendable: true,
    candidates: [single('kvm_get_kvm', 'get')],
  },
  {
    point: 'kvm.get_safe',
    module: 'kvm',
    description: 'a reference is taken unless the VM is already going away',
    expendable: true,
    candidates: [
      both('kvm_get_kvm_safe', 'get_safe'),
      inferred('kvm.get', 'this kernel has no such function, so it is never called', {
        unless: 'kvmRefusesReferences',
      }),
    ],
  },
  {
    point: 'kvm.put',
    module: 'kvm',
    description: 'a reference on a VM is put',
    expendable: true,
    candidates: [single('kvm_put_kvm', 'put')],
  },
  {
    point: 'module.unload',
    module: 'vfio',
    description: 'a process requests to unload a kernel module',
    candidates: ['x64', 's390x', 'arm64'].map((arch) =>
      core(both(`__${arch}_sys_delete_module`, 'unload')),
    ),
  },
];

export const PROBE_MODULES: readonly ProbeModule[] = ['mdev', 'vfio', 'kvm'];
