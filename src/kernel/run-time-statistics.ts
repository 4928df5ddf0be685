/**
 * The kernel's statistics of BPF programs: how often each ran and for how long. The kernel keeps them only
 * while somebody asks for it, because that takes time at each run of every program of the host, whoever
 * loaded it (docs/design/budget.md has figures).
 */
import { readFileSync } from 'node:fs';
import { messageOf } from '../errors.ts';
import { Libbpf } from './libbpf.ts';
import { closeFd } from './os.ts';

/** BPF_STATS_RUN_TIME of include/uapi/linux/bpf.h; since Linux 5.8. */
const BPF_STATS_RUN_TIME = 0;
const SETTING = '/proc/sys/kernel/bpf_stats_enabled';

export class RunTimeStatistics {
  #fd: number | undefined;

  /**
   * Makes the kernel count from now on.
   * @returns why it does not, in words; undefined when it does
   */
  enable(): string | undefined {
    if (this.#fd !== undefined) return undefined;
    try {
      this.#fd = Libbpf.get().check('the kernel keeps no statistics of BPF programs', (calls) =>
        calls.enableStats(BPF_STATS_RUN_TIME),
      );
      return undefined;
    } catch (error) {
      return areEnabled() ? undefined : messageOf(error);
    }
  }

  /** Lets the kernel stop, unless somebody else wants them too. Counts stay. */
  disable(): void {
    if (this.#fd !== undefined) closeFd(this.#fd);
    this.#fd = undefined;
  }
}

/** Whether the operator has enabled them for good, as sysctl kernel.bpf_stats_enabled. */
function areEnabled(): boolean {
  try {
    return readFileSync(SETTING, 'utf8').trim() === '1';
  } catch {
    return false;
  }
}
