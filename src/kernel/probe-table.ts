/**
 * Which kernel function stands for which logical point: the one table.
 *
 * Points are kprobes at entry and kretprobes at return, never fentry and fexit: a BPF trampoline skips
 * a program in silence when it is preempted inside it and another task on the same CPU comes by, while
 * a kprobe runs with preemption off. docs/architecture.md compares them.
 *
 * `blocks` marks functions that sleep, for minutes or only for a lock. Each call in flight occupies one
 * instance of a kretprobe, and there are few by default, so those get their own, large number of them: a
 * hundred tools that create devices or VMs at the same time are all in there at once.
 */
import type { PointName } from '../lifecycle/points.ts';

export type ProbeModule = 'mdev' | 'vfio' | 'kvm';

/** A program at a function's entry or return. */
export interface Hook {
  /** The kernel function. */
  readonly symbol: string;
  readonly program: string;
  readonly atReturn: boolean;
  /** Many calls may be in flight. */
  readonly blocks: boolean;
  /** It is a function of the kernel itself, not of the point's module. */
  readonly core?: true;
}

/** A way to see a point. */
export interface Candidate {
  /** The end last: it is attached first, so that there is never a begin whose end goes unseen. */
  readonly hooks: readonly Hook[];
  /** Only where that point, which stands before this one in the table, uses that function. */
  readonly where?: readonly [point: PointName, symbol: string];
  /** Only on kernels before this version. */
  readonly before?: readonly [major: number, minor: number];
  /** The point whose programs tell this one, or its end. */
  readonly toldBy?: PointName;
  /** Why this kernel has no such step of its own; only where there are no hooks. */
  readonly because?: string;
}

export interface ProbePoint {
  readonly point: PointName;
  /** The kernel module that the functions live in. */
  readonly module: ProbeModule;
  readonly meaning: string;
  /** In order of preference; the first that the running kernel has is used. */
  readonly candidates: readonly Candidate[];
}

interface Options extends Pick<Candidate, 'where' | 'before'> {
  readonly blocks?: boolean;
}

function entry(symbol: string, program: string): Hook {
  return { symbol, program, atReturn: false, blocks: false };
}

function atReturn(symbol: string, program: string, blocks: boolean): Hook {
  return { symbol, program, atReturn: true, blocks };
}

/** Entry and return of one function, by programs whose names end in _begin and _end. */
function both(symbol: string, stem: string, options: Options = {}): Candidate {
  return spanned(symbol, `${stem}_begin`, `${stem}_end`, options);
}

function spanned(
  symbol: string,
  begin: string,
  end: string,
  { blocks = false, ...rest }: Options = {},
): Candidate {
  return { hooks: [entry(symbol, begin), atReturn(symbol, end, blocks)], ...rest };
}

function single(symbol: string, program: string): Candidate {
  return { hooks: [entry(symbol, program)] };
}

/** No step of its own: another point tells it, because of how that kernel is built. */
function told(toldBy: PointName, because: string, only: Partial<Candidate>): Candidate {
  return { hooks: [], toldBy, because, ...only };
}

/** A function of the kernel itself. */
function core(candidate: Candidate): Candidate {
  return { ...candidate, hooks: candidate.hooks.map((hook) => ({ ...hook, core: true })) };
}

const blocks = { blocks: true };

/** In 5.10 devices are registered by their struct device. */
const OLD_REGISTER = { where: ['vfio.register', 'vfio_add_group_dev'] } as const;
/** Until 6.5 the core looked no further than the group when it opened a device. */
const OLD_OPEN = { where: ['vfio.device.open', 'vfio_device_assign_container'] } as const;
/** Later ones have a function that every open returns from. */
const NO_OPEN_END = { ...blocks, before: [6, 6] } as const;

export const PROBE_TABLE: readonly ProbePoint[] = [
  {
    point: 'mdev.parent.register',
    module: 'mdev',
    meaning: 'a driver offers a device as parent of mdevs',
    candidates: [
      both('mdev_register_parent', 'parent_register'),
      spanned('mdev_register_device', 'device_register_begin', 'parent_register_end'),
    ],
  },
  {
    point: 'mdev.parent.unregister',
    module: 'mdev',
    meaning: 'a parent is withdrawn, with all its mdevs',
    candidates: [
      both('mdev_unregister_parent', 'parent_unregister', blocks),
      spanned('mdev_unregister_device', 'device_unregister_begin', 'parent_unregister_end', blocks),
    ],
  },
  {
    point: 'mdev.create',
    module: 'mdev',
    meaning: 'somebody wrote a UUID to create',
    candidates: [
      both('mdev_device_create', 'create', {
        ...blocks,
        where: ['mdev.parent.register', 'mdev_register_parent'],
      }),
      // The same name with other arguments.
      spanned('mdev_device_create', 'kobject_create_begin', 'create_end', {
        ...blocks,
        where: ['mdev.parent.register', 'mdev_register_device'],
      }),
    ],
  },
  {
    point: 'mdev.probe',
    module: 'mdev',
    meaning: 'the driver sets an mdev up',
    candidates: [both('mdev_probe', 'probe', blocks)],
  },
  {
    point: 'mdev.remove',
    module: 'mdev',
    meaning: 'somebody wrote to remove',
    candidates: [both('mdev_device_remove', 'remove', blocks)],
  },
  {
    point: 'mdev.remove_child',
    module: 'mdev',
    meaning: 'an mdev is removed because its parent is withdrawn',
    candidates: [both('mdev_device_remove_cb', 'remove_child', blocks)],
  },
  {
    point: 'mdev.unbind',
    module: 'mdev',
    meaning: 'the driver lets go of an mdev',
    candidates: [both('mdev_remove', 'unbind', blocks)],
  },
  {
    point: 'mdev.release',
    module: 'mdev',
    meaning: 'the last reference is gone and the mdev is freed',
    candidates: [both('mdev_device_release', 'release', blocks)],
  },
  {
    point: 'mdev.driver.unregister',
    module: 'mdev',
    meaning: 'a driver of mdevs goes',
    candidates: [single('mdev_unregister_driver', 'driver_unregister')],
  },
  {
    point: 'vfio.register',
    module: 'vfio',
    meaning: 'a driver registers a device that has an IOMMU group',
    candidates: [
      // 5.10 has the other function as well, but calls it from this one.
      spanned('vfio_add_group_dev', 'add_begin', 'add_end', blocks),
      both('vfio_register_group_dev', 'register', blocks),
    ],
  },
  {
    point: 'vfio.init',
    module: 'vfio',
    meaning: 'a driver makes a vfio_device',
    candidates: [
      told('vfio.register', 'it comes to be when it is registered on this kernel', OLD_REGISTER),
      both('vfio_init_device', 'init', blocks),
      // 6.2 and later: the other is inlined into this one.
      both('_vfio_alloc_device', 'alloc', blocks),
    ],
  },
  {
    point: 'vfio.register_emulated',
    module: 'vfio',
    meaning: 'a driver registers a device without an IOMMU of its own, an mdev above all',
    candidates: [
      both('vfio_register_emulated_iommu_dev', 'register_emulated', blocks),
      told('vfio.register', 'all devices register alike on this kernel', OLD_REGISTER),
    ],
  },
  {
    point: 'vfio.unregister',
    module: 'vfio',
    meaning: 'a device is withdrawn; waits until nobody has it open',
    candidates: [
      spanned('vfio_del_group_dev', 'del_begin', 'del_end', blocks),
      both('vfio_unregister_group_dev', 'unregister', blocks),
    ],
  },
  {
    point: 'vfio.release',
    module: 'vfio',
    meaning: 'the last reference is gone and the vfio_device is freed',
    candidates: [
      both('vfio_device_release', 'vdev_release', blocks),
      told('vfio.unregister', 'to free it is the last act of withdrawing it on this kernel', {
        where: ['vfio.unregister', 'vfio_del_group_dev'],
      }),
    ],
  },
  {
    point: 'vfio.group.open',
    module: 'vfio',
    meaning: 'a process opens /dev/vfio/GROUP',
    candidates: [both('vfio_group_fops_open', 'group_open', blocks)],
  },
  {
    point: 'vfio.group.close',
    module: 'vfio',
    meaning: 'the last descriptor of /dev/vfio/GROUP is closed',
    candidates: [single('vfio_group_fops_release', 'group_close')],
  },
  {
    point: 'vfio.group.set_kvm',
    module: 'vfio',
    meaning: 'a group is told its VM, or that it has none any more',
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
    meaning: 'a process asks a group for a device file',
    candidates: [
      spanned('vfio_group_fops_unl_ioctl', 'get_fd_begin', 'get_fd_and_open_end', NO_OPEN_END),
      both('vfio_group_fops_unl_ioctl', 'get_fd', blocks),
    ],
  },
  {
    point: 'vfio.group.unset_container',
    module: 'vfio',
    meaning: 'a process asks for a group to leave its container',
    candidates: [
      told('vfio.device.get_fd', 'all that is asked of a group comes by the same function', {}),
    ],
  },
  {
    point: 'vfio.group.detach',
    module: 'vfio',
    meaning: 'a group leaves its container',
    candidates: [
      told(
        'vfio.device.get_fd',
        'to leave it is inlined into the request for that on this kernel',
        OLD_REGISTER,
      ),
      single('vfio_group_detach_container', 'group_detach'),
    ],
  },
  {
    point: 'vfio.group.notify',
    module: 'vfio',
    meaning: 'drivers that asked to be told the VM of a group are told',
    candidates: [
      // Much else is told by the same function, and may sleep in it.
      core(
        spanned('blocking_notifier_call_chain', 'notify_begin', 'notify_end', {
          ...blocks,
          ...OLD_REGISTER,
        }),
      ),
      told('vfio.group.set_kvm', 'this kernel tells a driver no VM, it gives it one at open', {}),
    ],
  },
  {
    point: 'vfio.device.open',
    module: 'vfio',
    meaning: 'a device file is opened',
    candidates: [
      both('vfio_df_open', 'open', blocks),
      // 6.1: vfio_device_open is inlined, and this is its first step.
      {
        hooks: [entry('vfio_device_assign_container', 'assign_begin')],
        toldBy: 'vfio.device.get_fd',
      },
      told(
        'vfio.device.get_fd',
        'opening is inlined into the request for it on this kernel, so it is told when that returns',
        OLD_REGISTER,
      ),
    ],
  },
  {
    point: 'vfio.device.close',
    module: 'vfio',
    meaning: 'a device file is closed',
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
    meaning: 'a device takes a reference on its VM, before its first open',
    candidates: [
      both('vfio_device_get_kvm_safe', 'kvm_capture'),
      told(
        'vfio.device.open',
        'the core copies the VM of the group and takes no reference on this kernel',
        OLD_OPEN,
      ),
      told(
        'vfio.group.set_kvm',
        'the core keeps no VM for a device on this kernel; its group has one',
        OLD_REGISTER,
      ),
    ],
  },
  {
    point: 'vfio.device.kvm_drop',
    module: 'vfio',
    meaning: 'a device gives its VM back, after its last close',
    candidates: [
      single('vfio_device_put_kvm', 'kvm_drop'),
      told('vfio.device.close', 'the core holds no reference on this kernel', OLD_OPEN),
      told('vfio.device.close', 'the core holds no reference on this kernel', OLD_REGISTER),
    ],
  },
  {
    point: 'kvm.vm.create',
    module: 'kvm',
    meaning: 'a process asks for a VM',
    candidates: [both('kvm_dev_ioctl', 'vm_create', blocks)],
  },
  {
    point: 'kvm.vm.init',
    module: 'kvm',
    meaning: 'a VM comes to be',
    candidates: [both('kvm_arch_init_vm', 'vm_init', blocks)],
  },
  {
    point: 'kvm.vm.destroy',
    module: 'kvm',
    meaning: 'a VM lost its last reference and is torn down',
    candidates: [both('kvm_destroy_vm', 'vm_destroy', blocks)],
  },
  {
    point: 'kvm.vm.fd_close',
    module: 'kvm',
    meaning: 'the last descriptor of a VM is closed',
    candidates: [both('kvm_vm_release', 'vm_fd_close', blocks)],
  },
  {
    point: 'kvm.get',
    module: 'kvm',
    meaning: 'a reference on a VM is taken',
    candidates: [single('kvm_get_kvm', 'get')],
  },
  {
    point: 'kvm.get_safe',
    module: 'kvm',
    meaning: 'a reference is taken unless the VM is already going away',
    candidates: [
      both('kvm_get_kvm_safe', 'get_safe'),
      told('kvm.get', 'this kernel has no such function, so nobody calls it', { before: [5, 17] }),
    ],
  },
  {
    point: 'kvm.put',
    module: 'kvm',
    meaning: 'a reference on a VM is given back',
    candidates: [single('kvm_put_kvm', 'put')],
  },
  {
    point: 'module.unload',
    module: 'vfio',
    meaning: 'somebody wants a kernel module to go',
    candidates: ['x64', 's390x', 'arm64'].map((arch) =>
      core(both(`__${arch}_sys_delete_module`, 'unload')),
    ),
  },
];

export const PROBE_MODULES: readonly ProbeModule[] = ['mdev', 'vfio', 'kvm'];
