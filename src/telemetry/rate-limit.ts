/** Limits the log lines of each rule per minute and counts the rest: one rule must not drown the log. */

/** Lines that a rule may write in a window. */
const LINES = 30;
/** ns. */
const WINDOW = 60e9;

interface Window {
  /** ns on the boot-time clock. */
  readonly began: number;
  lines: number;
  suppressed: number;
}

/** The number of lines of one rule that were suppressed in a window that is over. */
export interface Suppressed {
  readonly rule: string;
  readonly lines: number;
}

export class RateLimit {
  /** All lines suppressed so far, by rule. */
  readonly suppressed = new Map<string, number>();
  readonly #windows = new Map<string, Window>();

  /** Whether another line may be written about a rule. @param now ns on the boot-time clock */
  admits(rule: string, now: number): boolean {
    let window = this.#windows.get(rule);
    if (!window) {
      window = { began: now, lines: 0, suppressed: 0 };
      this.#windows.set(rule, window);
    }
    if (window.lines < LINES) {
      window.lines++;
      return true;
    }
    window.suppressed++;
    this.suppressed.set(rule, (this.suppressed.get(rule) ?? 0) + 1);
    return false;
  }

  /** Ends the windows that are over. @returns what was suppressed in them */
  end(now: number): Suppressed[] {
    const ended: Suppressed[] = [];
    for (const [rule, { began, suppressed }] of this.#windows) {
      if (now - began < WINDOW) continue;
      this.#windows.delete(rule);
      if (suppressed > 0) ended.push({ rule, lines: suppressed });
    }
    return ended;
  }
}
