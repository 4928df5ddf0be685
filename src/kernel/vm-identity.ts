/**
 * Who a VM is for its operator: the guest's name and UUID from the command line of its creator, and the
 * creator's control group. Read once for each VM, beside the event loop.
 */
import { readlinkSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { CommandLineState, ControlGroup, VmCreator, VmIdentity } from '../events/host.ts';
import type { Task } from '../events/task.ts';
import { PatientAsker } from './patience.ts';
import { isSameProcess, mayBeHidden, namesIn, unlessGone } from './proc.ts';
import { type Guest, guestIn } from './vmm-command-line.ts';

/** Bytes of a command line that are read; libvirt's have about 20,000, and the name is at the beginning. */
const LONGEST = 2 ** 18;
/** Descriptors of an adopted VM's probable creator that are searched for the file of a VM. */
const MOST_FILES = 4096;
const VM_FILE = 'anon_inode:kvm-vm';
/**
 * How long an answer is awaited, ms: long, because only the names of other VMs wait meanwhile, and a name is
 * asked for once, perhaps while the agent is busy with its first host snapshot.
 */
const PATIENCE = 30_000;

/** Reading it takes the lock of an address space, which a stuck process may keep. */
const commandLines = new PatientAsker(1, PATIENCE);

export interface IdentityOptions {
  /** The control group of a task, or of the process with that id. */
  readonly groupOf: (creator: Task | number) => ControlGroup | undefined;
  /** Whether command lines may be read. */
  readonly readsCommandLine: boolean;
  readonly proc?: string;
  readonly asker?: PatientAsker;
}

/** As {@link Host.identifyVm}; never throws. */
export async function identifyVm(
  { pid, task, at }: VmCreator,
  { groupOf, readsCommandLine, proc = '/proc', asker = commandLines }: IdentityOptions,
): Promise<VmIdentity> {
  const directory = `${proc}/${pid}`;
  const isSame = () => isSameProcess(directory, at);
  const hidden = mayBeHidden(proc);
  const isCreator = !hidden && isSame() && (task !== undefined || hasVmFile(directory));
  const group = task ? groupOf(task) : isCreator ? groupOf(pid) : undefined;
  const identity = (commandLine: CommandLineState, guest: Guest = {}): VmIdentity => {
    const name = guest.name ?? group?.guest;
    return { commandLine, ...(group ? { group } : {}), ...guest, ...(name ? { name } : {}) };
  };
  if (!readsCommandLine) return identity('disabled');
  if (hidden) return identity('not_visible');
  if (!isCreator) return identity('exited');
  const guest = await asker.ask(`${directory}/cmdline`, guestOf);
  if (!guest) return identity(isSame() ? 'no_answer' : 'exited');
  // The memory of a process that exits is gone before its id is.
  return guest === 'empty' || !isSame() ? identity('exited') : identity('read', guest);
}

function hasVmFile(directory: string): boolean {
  try {
    let left = MOST_FILES;
    for (const fd of namesIn(`${directory}/fd`)) {
      if (unlessGone(() => readlinkSync(`${directory}/fd/${fd}`), '') === VM_FILE) return true;
      if (--left === 0) return false;
    }
  } catch {
    // Files that must not be read prove nothing.
  }
  return false;
}

/** @throws when the file is gone or must not be read */
async function guestOf(file: string): Promise<Guest | 'empty'> {
  const handle = await open(file);
  const bytes = Buffer.alloc(LONGEST);
  try {
    let length = 0;
    while (length < LONGEST) {
      const { bytesRead } = await handle.read(bytes, length, LONGEST - length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    if (length === 0) return 'empty';
    const args = bytes.toString('utf8', 0, length).split('\0');
    // The last one is not whole.
    return guestIn(length === LONGEST ? args.slice(0, -1) : args);
  } finally {
    bytes.fill(0);
    await handle.close();
  }
}
