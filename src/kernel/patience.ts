/** Questions to the kernel that may never be answered. */

/** How long an answer may take, ms. */
const PATIENCE = 1000;

/**
 * Asks in libuv's threads, of which there are four, and gives up on whoever does not answer in time:
 * a user's filesystem may have hung, and a stuck process may keep the lock of its address space.
 */
export class PatientAsker {
  readonly #most: number;
  readonly #patience: number;
  /** What has not been answered yet: each keeps a thread, and is not asked again. */
  readonly #unanswered = new Set<string>();

  /** @param most how many threads those who do not answer may keep; then nothing is asked */
  constructor(most: number, patience = PATIENCE) {
    this.#most = most;
    this.#patience = patience;
  }

  /** @returns undefined when there is no answer in time, or an error instead of one */
  async ask<T>(file: string, question: (file: string) => Promise<T>): Promise<T | undefined> {
    if (this.#unanswered.size >= this.#most || this.#unanswered.has(file)) return undefined;
    this.#unanswered.add(file);
    const answer = question(file)
      .catch(() => undefined)
      .finally(() => this.#unanswered.delete(file));
    let timer: NodeJS.Timeout | undefined;
    const tooLate = new Promise<undefined>((resolve) => {
      timer = setTimeout(resolve, this.#patience, undefined).unref();
    });
    try {
      return await Promise.race([answer, tooLate]);
    } finally {
      clearTimeout(timer);
    }
  }
}
