/** The latest answer to a question that takes long to find out, for all who ask. */
import { bootTime } from './os.ts';

/** How long an answer is given again before the host is read again, ns. */
const FRESH = 5e9;
/** Between two readings is a pause of so many times as long: a busy host is read less often. */
const PAUSE = 10;
/** But no pause is longer, ns: on a busy machine a reading takes long without costing much. */
const LONGEST_PAUSE = 20e9;

export class AnswerCache<Answer> {
  readonly #read: () => Promise<Answer | undefined>;
  readonly #now: () => number;
  #answer: Answer | undefined;
  /** When the reading of the latest answer began, and when that ended. */
  #begun = Number.NEGATIVE_INFINITY;
  #ended = Number.NEGATIVE_INFINITY;
  #reading: Promise<void> | undefined;

  /** @param read reads the host beside the event loop; undefined or an error when that is not possible */
  constructor(read: () => Promise<Answer | undefined>, now = bootTime) {
    this.#read = read;
    this.#now = now;
  }

  /**
   * The latest answer, unless its reading began before `notBefore`. Reads the host again where that
   * is due, and gives no answer of before that in the meantime.
   */
  since(notBefore: number): Answer | undefined {
    const now = this.#now();
    const isOld = this.#begun < notBefore || now - this.#begun > FRESH;
    if (isOld && !this.#reading && now >= this.#due()) this.#renew(now);
    return this.#begun >= notBefore ? this.#answer : undefined;
  }

  /** As {@link since}, once the reading has ended that is under way or that this begins. */
  async next(notBefore: number): Promise<Answer | undefined> {
    if (this.since(notBefore) === undefined) await this.#reading;
    return this.since(notBefore);
  }

  #due(): number {
    if (this.#ended < 0) return this.#ended;
    return this.#ended + Math.min((this.#ended - this.#begun) * PAUSE, LONGEST_PAUSE);
  }

  #renew(begun: number): void {
    this.#reading = this.#read()
      .catch(() => undefined)
      .then((answer) => {
        this.#answer = answer;
        this.#begun = begun;
        this.#ended = this.#now();
        this.#reading = undefined;
      });
  }
}
