/** Which files of VFIO and KVM a process has mapped, from /proc/PID/maps. */
import { type FileHandle, open } from 'node:fs/promises';
import { PatientAsker } from './patience.ts';

/** The kernel prints as many lines as fit, so a process with many mappings is read in many turns. */
const CHUNK = 64 * 1024;
/** address, permissions, offset, device, inode; the path follows. */
const LINE = /^([0-9a-f]+-[0-9a-f]+) \S+ [0-9a-f]+ \S+ \d+ +(.*)$/;
/** A vcpu is mapped by whoever runs it. A path begins with "/", so no user can make a file that is shown like this. */
const KVM_FILE = 'anon_inode:kvm-';
/** Whoever is stuck with the lock of its address space lets nobody read its mappings. */
const processes = new PatientAsker(2);

/** A mapping of a file whose path names VFIO or KVM; what the file is remains to be asked. */
export interface Mapping {
  /** As a file of /proc/PID/map_files is named. */
  readonly range: string;
  /** As the kernel prints its path. */
  readonly link: string;
}

/**
 * The mappings of a process whose paths name VFIO or KVM; none when it is gone or must not be read, or when
 * it keeps the lock of its address space: whoever is stuck with that must not stop the agent.
 */
export async function namedMappings(file: string): Promise<readonly Mapping[]> {
  return (await processes.ask(file, read)) ?? [];
}

async function read(file: string): Promise<Mapping[]> {
  const handle = await open(file);
  try {
    return await linesOf(handle);
  } finally {
    await handle.close();
  }
}

async function linesOf(handle: FileHandle): Promise<Mapping[]> {
  const found: Mapping[] = [];
  const buffer = Buffer.alloc(CHUNK);
  let rest = '';
  for (;;) {
    const { bytesRead } = await handle.read(buffer, 0, CHUNK, null);
    if (bytesRead === 0) return found;
    const text = buffer.subarray(0, bytesRead);
    const isNamed = rest !== '' || text.includes('vfio') || text.includes(KVM_FILE);
    const lastEnd = buffer.subarray(0, bytesRead).lastIndexOf(10);
    if (!isNamed && lastEnd === bytesRead - 1) continue;
    const lines = (rest + buffer.toString('utf8', 0, bytesRead)).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const [, range, link] = LINE.exec(line) ?? [];
      if (link?.includes('vfio') || link?.startsWith(KVM_FILE)) found.push({ range, link });
    }
  }
}
