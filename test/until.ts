// SPDX-License-Identifier: Apache-2.0
/** Waiting for a condition, however slow the machine is. */
import { setTimeout as pause } from 'node:timers/promises';
import { messageOf } from '../src/errors.ts';

/**
 * Limits only against hangs, ms: a busy machine needs several times as long as an idle one, and no test
 * judges by that. A VM has a shorter limit than its suite, because it then reports what it was running.
 */
export const PATIENCE_MS = 300_000;
export const SUITE_MS = 1_800_000;
export const VM_MS = SUITE_MS - 30_000;

/** Between two checks of the condition, ms. */
const PAUSE_MS = 50;

export interface Waiting {
  /** Details to add to the error of a timeout. */
  readonly more?: () => string;
  /** Why the condition can no longer become true; undefined while it can. */
  readonly over?: () => string | undefined;
}

/**
 * Checks the condition until it holds. A check that throws counts as not yet.
 * @throws after five minutes, with the error of the last check, or as soon as `over` gives a reason
 */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  { more = () => '', over = () => undefined }: Waiting = {},
): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  let failure = '';
  for (;;) {
    const reason = over();
    try {
      if (await holds()) return;
      failure = '';
    } catch (error) {
      failure = `; last error: ${messageOf(error)}`;
    }
    if (reason !== undefined || performance.now() > deadline) {
      const why = reason ?? `after ${PATIENCE_MS / 1000} s`;
      throw new Error(`timed out waiting until ${what} (${why})${failure}${more()}`);
    }
    await pause(PAUSE_MS);
  }
}
