/** `vfioscope unpin`: detaches and removes what `vfioscope run --pin` left in the kernel. */
import { removeStaleDefinitions } from '../../src/kernel/attach.ts';
import { Libbpf } from '../../src/kernel/libbpf.ts';
import { type Cleared, clear, ownOrExplain } from '../../src/kernel/pins.ts';
import { isPinned } from '../../src/kernel/pins-directory.ts';
import { loadConfig } from '../config/load.ts';

/** @returns what was removed, as text @throws {UserProblem} when a running agent uses it */
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
    lines.push(`agents had read ${account.records} records from it, and ${account.lost} were lost`);
  }
  if (records > 0) {
    lines.push(`${records} unread records are lost (${unread} bytes in the ring)`);
  }
  return lines.join('\n');
}
