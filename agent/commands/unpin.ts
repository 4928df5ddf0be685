/** `vfioscope unpin`: removes what `vfioscope run --pin` has left in the kernel. */
import { removeStaleDefinitions } from '../../src/kernel/attach.ts';
import { Libbpf } from '../../src/kernel/libbpf.ts';
import { type Cleared, clear, ownOrExplain } from '../../src/kernel/pins.ts';
import { isPinned } from '../../src/kernel/pins-directory.ts';
import { loadConfig } from '../config/load.ts';

/** @returns what was removed, for people @throws {UserProblem} when an agent is at it */
export async function unpin(config: string | undefined): Promise<string> {
  const { directory: path } = (await loadConfig(config, [])).pin;
  if (!isPinned(path)) return `nothing is pinned in ${path}`;
  const cpus = Libbpf.get().check('cannot count CPUs', (calls) => calls.possibleCpus());
  const directory = ownOrExplain(path, cpus);
  try {
    const cleared = clear(directory, cpus);
    removeStaleDefinitions();
    directory.remove();
    return render(path, cleared);
  } finally {
    directory.release();
  }
}

function render(path: string, { links, unread, records, account }: Cleared): string {
  const lines = [`removed ${links} probes and the ring from ${path}`];
  if (account) {
    lines.push(
      `agents had read ${account.records} records of it and found ${account.lost} missing`,
    );
  }
  if (records > 0) {
    lines.push(`${records} records that nobody has read are lost (${unread} bytes in the ring)`);
  }
  return lines.join('\n');
}
