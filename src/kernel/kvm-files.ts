/** Who holds KVM files, read from /proc. */
import { readdirSync, readlinkSync } from 'node:fs';

/** A KVM file, or an open file of a VM's debugfs directory. */
const KVM_FILE = /^anon_inode:kvm-|\/debug\/kvm\/\d+-\d+\//;

/** include/linux/proc_ns.h: the inode of the first pid namespace, in which every process shows. */
const INITIAL_PID_NAMESPACE = 'pid:[4026531836]';

/**
 * The processes that hold a KVM file.
 * @returns undefined when some process cannot be looked into, because no answer is
 *   better than one that takes a hidden holder for none
 */
export function pidsWithKvmFiles(proc = '/proc'): ReadonlySet<number> | undefined {
  const pids = new Set<number>();
  try {
    if (readlinkSync(`${proc}/self/ns/pid`) !== INITIAL_PID_NAMESPACE) return undefined;
    for (const entry of readdirSync(proc)) {
      const pid = Number(entry);
      if (
        Number.isInteger(pid) &&
        openFiles(`${proc}/${pid}/fd`).some((file) => KVM_FILE.test(file))
      ) {
        pids.add(pid);
      }
    }
  } catch {
    return undefined;
  }
  return pids;
}

/** Where the descriptors of a process lead; empty when it is gone. @throws when that is not to be seen */
function openFiles(directory: string): string[] {
  return unlessGone(() => readdirSync(directory), []).map((fd) =>
    unlessGone(() => readlinkSync(`${directory}/${fd}`), ''),
  );
}

function unlessGone<T>(look: () => T, gone: T): T {
  try {
    return look();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return gone;
    throw error;
  }
}
