/** The VMs that KVM still has, as debugfs shows them. */
import { readdirSync } from 'node:fs';

/** A VM's debugfs directory: there until the VM is destroyed, whoever still holds it. */
export interface DebugVm {
  /** The thread that created it, in the initial pid namespace. */
  readonly tid: number;
  /** Its descriptor at that time. */
  readonly fd: number;
}

const VM_DIRECTORY = /^(\d+)-(\d+)$/;

/**
 * @returns 'no kvm' when KVM is not loaded, undefined when debugfs cannot be read: not mounted, locked down, or
 *   no rights. A thread that creates a second VM at the same descriptor while the first still exists is listed once.
 */
export function readDebugVms(root = ''): DebugVm[] | 'no kvm' | undefined {
  const debug = `${root}/sys/kernel/debug`;
  try {
    // Where debugfs is not mounted, its mount point is empty. KVM's directory comes with its module.
    const names = readdirSync(debug);
    if (names.length === 0) return undefined;
    return names.includes('kvm') ? vmsOf(readdirSync(`${debug}/kvm`)) : 'no kvm';
  } catch {
    return undefined;
  }
}

function vmsOf(names: readonly string[]): DebugVm[] {
  return names
    .map((name) => VM_DIRECTORY.exec(name))
    .filter((match) => match !== null)
    .map(([, tid, fd]) => ({ tid: Number(tid), fd: Number(fd) }));
}
