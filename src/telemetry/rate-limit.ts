/** So that a rule that is broken all the time does not drown the log: few lines a minute, and a count. */

/** Lines about one rule in a window. */
const LINES = 30;
/** ns. */
const WINDOW = 60e9;

interface Window {
  /** ns on the boot-time clock. */
  readonly began: number;
  lines: number;
  heldBack: number;
}

/** What was held back about one rule in a window that has ended. */
export interface HeldBack {
  readonly rule: string;
  readonly lines: number;
}

export class RateLimit {
  /** Lines ever held back, by rule. */
  readonly heldBack = new Map<string, number>();
  readonly #windows = new Map<string, Window>();

  /** Whether one more line may be written about a rule. @param now ns on the boot-time clock */
  admits(rule: string, now: number): boolean {
    let window = this.#windows.get(rule);
    if (!window) {
      window = { began: now, lines: 0, heldBack: 0 };
      this.#windows.set(rule, window);
    }
    if (window.lines < LINES) {
      window.lines++;
      return true;
    }
    window.heldBack++;
    this.heldBack.set(rule, (this.heldBack.get(rule) ?? 0) + 1);
    return false;
  }

  /** Ends the windows that are over. @returns what was held back in them */
  end(now: number): HeldBack[] {
    const ended: HeldBack[] = [];
    for (const [rule, { began, heldBack }] of this.#windows) {
      if (now - began < WINDOW) continue;
      this.#windows.delete(rule);
      if (heldBack > 0) ended.push({ rule, lines: heldBack });
    }
    return ended;
  }
}
