/** Steps that several runbooks share. Commands that need root say sudo: without it, they would find nothing. */
import { API, type Step } from './alert.ts';

/** The kernel log since the host was booted. */
const KERNEL_LOG = 'sudo journalctl --no-pager -k -b';

export const DRIVER_LOG: Step = {
  shows: 'What the driver and the kernel log.',
  command: `${KERNEL_LOG} --since -30m`,
  nothing: 'the kernel has logged nothing for half an hour',
};

export const AVAILABLE_INSTANCES: Step = {
  shows: 'How many devices each parent can still create, by mdev type.',
  command: 'grep . /sys/class/mdev_bus/*/mdev_supported_types/*/available_instances',
};

/** @param pattern for `grep -E` @param shows a sentence */
export function kernelLog(shows: string, pattern: string): Step {
  return {
    shows,
    command: `${KERNEL_LOG} | grep -E '${pattern}'`,
    nothing: 'the kernel has logged nothing of the kind since it was booted',
  };
}

/** What the agent logged. @param events names of log events, for `grep -E` @param since such as `-1h` */
export function agentLog(shows: string, events: string, since: string): Step {
  return {
    shows,
    command: `sudo journalctl --no-pager -u vfioscope --since ${since} | grep -E '${events}'`,
    nothing: 'the agent has not logged it in that time',
  };
}

/**
 * The whole stacks of all threads in a function: stacks begin with the innermost function, so what blocks is
 * above the line that matches. /proc/PID/stack would show the main thread only.
 * @param pattern for `grep -E`
 */
export function stacks(shows: string, pattern: string): Step {
  return {
    shows: `${shows} The first line of a stack is where the thread is blocked.`,
    command: `sudo sh -c 'for t in /proc/[0-9]*/task/[0-9]*; do if grep -qsE "${pattern}" $t/stack; then echo "$t $(cat $t/comm)"; cat $t/stack; fi; done'`,
    nothing: 'no thread is in such a call any more',
  };
}

/**
 * Calls of mdev, VFIO and KVM, and what waits for the lock of a device behind them: unbinding and binding through
 * sysfs, virtual functions that are switched on or off, modules that are unloaded.
 */
export const STALLED_CALLS: Step = stacks(
  'The same without the agent: threads in mdev, VFIO or iommufd, VMs being created or destroyed, and drivers being bound, unbound or unloaded, which may wait for the lock of the same device.',
  'mdev_|vfio_|iommufd_|kvm_(create|destroy)_vm|kvm_dev_ioctl|(un)?bind_store|driver_(at|de)tach|remove_store|sriov_numvfs_store|delete_module',
);

/** Open files by what they are links to, as a process that exits meanwhile is no error. */
export function openFiles(shows: string, ...targets: readonly string[]): Step {
  const tests = targets.map((target) => `-lname "${target}"`).join(' -o ');
  return {
    shows,
    command: `sudo sh -c 'find /proc/[0-9]*/fd -ignore_readdir_race "(" ${tests} ")" -printf "%p %l\\n"'`,
    nothing: 'no process has such a file open; it may still have the device mapped',
  };
}

/** After a live update the old VM is a zombie, whose device the new VMM has. */
export const ITS_HOLDER_MAY_RUN_A_GUEST =
  'Do not end the holder of a device (`GET /api/v1/devices/UUID`) before you know that it runs no other ' +
  'guest: after a live update it is the VMM of the running guest, and nothing has to be done.';

export const KEEP_KVM_LOADED = 'Do not unload KVM or the module of the CPU (kvm_intel, kvm_amd).';

/** VMs in debugfs whose process has exited. */
export const VMS_WITHOUT_PROCESS: Step = {
  shows:
    'The same without the agent: directories of VMs (PID-FD) in debugfs whose process no longer exists.',
  command: `sudo ls /sys/kernel/debug/kvm | grep - | while IFS=- read -r pid fd; do [ -d /proc/$pid ] || echo $pid-$fd; done`,
  nothing:
    'each VM still has the process that created it, which may have closed the VM all the same',
};

/** Every call in flight. */
export const OPERATIONS_IN_FLIGHT: Step = {
  shows: 'The calls in flight, oldest first, with the kernel stack of each.',
  command: `curl -sS ${API}/api/v1/operations | jq '.operations | sort_by(.since.ns)[]'`,
  nothing: 'all calls have returned',
};

export const DEFINED_DEVICES: readonly Step[] = [
  {
    shows: 'Which devices mdevctl defines, and creates by itself at boot (`auto`).',
    command: 'sudo mdevctl list --defined',
    nothing: 'mdevctl defines no device',
  },
  {
    shows: 'Which devices libvirt knows.',
    command: 'sudo virsh -c qemu:///system nodedev-list --cap mdev',
    nothing: 'libvirt knows no device',
  },
];

export const VERSIONS: Step = {
  shows: 'The versions of the kernel and of its drivers.',
  command: 'uname -r; grep -s . /sys/module/*/version',
};
