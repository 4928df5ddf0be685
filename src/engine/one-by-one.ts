/** Work that a batch of events has led to: done after the batch, one piece after the other. */
export class OneByOne {
  readonly #most: number;
  readonly #waiting: (() => void | Promise<void>)[] = [];
  #isWorking = false;

  /** @param most how many pieces may wait */
  constructor(most: number) {
    this.#most = most;
  }

  /** @param work must not throw @returns whether it will be done: not if too many wait */
  add(work: () => void | Promise<void>): boolean {
    if (this.#waiting.length >= this.#most) return false;
    this.#waiting.push(work);
    if (!this.#isWorking) this.#work();
    return true;
  }

  async #work(): Promise<void> {
    this.#isWorking = true;
    // The rest of the batch is processed first.
    await undefined;
    for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) await next();
    this.#isWorking = false;
  }
}
