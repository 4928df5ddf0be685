/**
 * Which kernel function stands for which logical point: the one table.
 *
 * Points are kprobes at entry and kretprobes at return, never fentry and fexit: a BPF trampoline skips a program in silence when it is preempted inside
 * it and another task on the same CPU comes by (9 to 18 % of events lost under
 * load on preemptible kernels, measured), while a kprobe runs with preemption
 * off. Kprobes also attach ten times faster, need no module BTF to attach, and
 * do not hold the module that they probe.
 *
 * `blocks` marks functions that may wait for minutes. Each call in flight
 * occupies one instance of a kretprobe, and the default number of instances is
 * small, so those get their own, large number of them.
 */
import type { PointName } from '../lifecycle/points.ts';

export type ProbeModule = 'mdev' | 'vfio' | 'kvm';

export interface Candidate {
  /** The kernel function. */
  readonly symbol: string;
  /** Program for its entry. */
  readonly begin: string;
  /** Program for its return. */
  readonly end?: string;
  readonly blocks?: boolean;
}

export interface ProbePoint {
  readonly point: PointName;
  /** The kernel module that the function lives in, and the object that has the programs. */
  readonly module: ProbeModule;
  readonly meaning: string;
  /** In order of preference; the first that the running kernel has is used. */
  readonly candidates: readonly Candidate[];
}

function both(symbol: string, stem: string, options: { blocks?: boolean } = {}): Candidate[] {
  return [{ symbol, begin: `${stem}_begin`, end: `${stem}_end`, ...options }];
}

function entry(symbol: string, program: string): Candidate[] {
  return [{ symbol, begin: program }];
}

const blocks = { blocks: true };

export const PROBE_TABLE: readonly ProbePoint[] = [
  {
    point: 'mdev.parent.register',
    module: 'mdev',
    meaning: 'a driver offers a device as parent of mdevs',
    candidates: both('mdev_register_parent', 'parent_register'),
  },
  {
    point: 'mdev.parent.unregister',
    module: 'mdev',
    meaning: 'a parent is withdrawn, with all its mdevs',
    candidates: both('mdev_unregister_parent', 'parent_unregister', blocks),
  },
  {
    point: 'mdev.create',
    module: 'mdev',
    meaning: 'somebody wrote a UUID to create',
    candidates: both('mdev_device_create', 'create', blocks),
  },
  {
    point: 'mdev.probe',
    module: 'mdev',
    meaning: 'the driver sets an mdev up',
    candidates: both('mdev_probe', 'probe', blocks),
  },
  {
    point: 'mdev.remove',
    module: 'mdev',
    meaning: 'somebody wrote to remove',
    candidates: both('mdev_device_remove', 'remove', blocks),
  },
  {
    point: 'mdev.remove_child',
    module: 'mdev',
    meaning: 'an mdev is removed because its parent is withdrawn',
    candidates: both('mdev_device_remove_cb', 'remove_child', blocks),
  },
  {
    point: 'mdev.unbind',
    module: 'mdev',
    meaning: 'the driver lets go of an mdev',
    candidates: both('mdev_remove', 'unbind', blocks),
  },
  {
    point: 'mdev.release',
    module: 'mdev',
    meaning: 'the last reference is gone and the mdev is freed',
    candidates: both('mdev_device_release', 'release'),
  },
  {
    point: 'vfio.register',
    module: 'vfio',
    meaning: 'a driver registers a device that has an IOMMU group',
    candidates: both('vfio_register_group_dev', 'register'),
  },
  {
    point: 'vfio.register_emulated',
    module: 'vfio',
    meaning: 'a driver registers a device without an IOMMU of its own, an mdev above all',
    candidates: both('vfio_register_emulated_iommu_dev', 'register_emulated'),
  },
  {
    point: 'vfio.unregister',
    module: 'vfio',
    meaning: 'a device is withdrawn; waits until nobody has it open',
    candidates: both('vfio_unregister_group_dev', 'unregister', blocks),
  },
  {
    point: 'vfio.release',
    module: 'vfio',
    meaning: 'the last reference is gone and the vfio_device is freed',
    candidates: both('vfio_device_release', 'release'),
  },
  {
    point: 'vfio.group.open',
    module: 'vfio',
    meaning: 'a process opens /dev/vfio/GROUP',
    candidates: both('vfio_group_fops_open', 'group_open'),
  },
  {
    point: 'vfio.group.set_kvm',
    module: 'vfio',
    meaning: 'a group is told its VM, or that it has none any more',
    candidates: entry('vfio_group_set_kvm', 'group_set_kvm'),
  },
  {
    point: 'vfio.device.get_fd',
    module: 'vfio',
    meaning: 'a process asks a group for a device file',
    candidates: both('vfio_group_fops_unl_ioctl', 'get_fd', blocks),
  },
  {
    point: 'vfio.device.open',
    module: 'vfio',
    meaning: 'a device file is opened',
    candidates: both('vfio_df_open', 'open', blocks),
  },
  {
    point: 'vfio.device.close',
    module: 'vfio',
    meaning: 'a device file is closed',
    candidates: both('vfio_df_close', 'close', blocks),
  },
  {
    point: 'vfio.device.kvm_capture',
    module: 'vfio',
    meaning: 'a device takes a reference on its VM, before its first open',
    candidates: both('vfio_device_get_kvm_safe', 'kvm_capture'),
  },
  {
    point: 'vfio.device.kvm_drop',
    module: 'vfio',
    meaning: 'a device gives its VM back, after its last close',
    candidates: entry('vfio_device_put_kvm', 'kvm_drop'),
  },
  {
    point: 'kvm.vm.create',
    module: 'kvm',
    meaning: 'a process asks for a VM',
    candidates: both('kvm_dev_ioctl', 'vm_create'),
  },
  {
    point: 'kvm.vm.init',
    module: 'kvm',
    meaning: 'a VM comes to be',
    candidates: both('kvm_arch_init_vm', 'vm_init'),
  },
  {
    point: 'kvm.vm.destroy',
    module: 'kvm',
    meaning: 'a VM lost its last reference and is torn down',
    candidates: both('kvm_destroy_vm', 'vm_destroy', blocks),
  },
  {
    point: 'kvm.vm.fd_close',
    module: 'kvm',
    meaning: 'the last descriptor of a VM is closed',
    candidates: both('kvm_vm_release', 'vm_fd_close', blocks),
  },
  {
    point: 'kvm.get',
    module: 'kvm',
    meaning: 'a reference on a VM is taken',
    candidates: entry('kvm_get_kvm', 'get'),
  },
  {
    point: 'kvm.get_safe',
    module: 'kvm',
    meaning: 'a reference is taken unless the VM is already going away',
    candidates: both('kvm_get_kvm_safe', 'get_safe'),
  },
  {
    point: 'kvm.put',
    module: 'kvm',
    meaning: 'a reference on a VM is given back',
    candidates: entry('kvm_put_kvm', 'put'),
  },
];

export const PROBE_MODULES: readonly ProbeModule[] = ['mdev', 'vfio', 'kvm'];
