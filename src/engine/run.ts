/** The id of a run of the agent. */
import { createHash } from 'node:crypto';

/**
 * A short text for a run or a recording, as its violations have it in their ids: always the same for
 * the same run, and with 40 bits hardly that of another, on this host or elsewhere.
 * @param bootId of the kernel, as /proc/sys/kernel/random/boot_id has it
 * @param startedAt ns on the boot-time clock
 */
export function runOf(bootId: string, startedAt: number): string {
  return createHash('sha256').update(`${bootId} ${startedAt}`).digest('hex').slice(0, 10);
}
