/**
 * Where the spans of long lifecycles are cut. The cuts of one trace are a fixed time apart, and where they are
 * follows from the trace id and the clock alone: an agent that starts later, and knows no beginning, cuts at the
 * same times and gives the same ids. The traces of a host are cut at different times, so that their spans are
 * not sent all at once. All is calculated in whole seconds, which are exact where ns no longer are.
 */
import { SECOND } from '../units.ts';

/** ns: no span is longer; see docs/traces.md for the reasons. */
export const DEFAULT_MAX_SPAN_AGE = 12 * 3600 * SECOND;
/** ns: a lifecycle that is younger is not cut. */
const LONGEST_UNCUT = 3600 * SECOND;
/** Hexadecimal digits of the trace id from which the time of its cuts is made. */
const DIGITS = 8;

export class Segments {
  /** Seconds between two cuts. */
  readonly #period: number;
  /** ns: a lifecycle is cut once it is as old as this, at the latest cut before. */
  readonly #uncut: number;

  /** @param maxAge ns, at least 1 s */
  constructor(maxAge: number = DEFAULT_MAX_SPAN_AGE) {
    this.#period = Math.max(1, Math.floor(maxAge / SECOND));
    this.#uncut = Math.min(LONGEST_UNCUT, maxAge / 2);
  }

  /** The number of the segment that a time is in, counted from the boot. @param at ns on the boot-time clock */
  at(traceId: string, at: number): number {
    return Math.floor((Math.floor(at / SECOND) - this.#firstCut(traceId)) / this.#period) + 1;
  }

  /**
   * The segment that an event of a lifecycle belongs to, where it is known by now whether the lifecycle is cut.
   * @param began when the lifecycle began, ns @param at ns on the boot-time clock
   */
  of(traceId: string, began: number, at: number): number {
    return this.at(traceId, at - began < this.#uncut ? began : at);
  }

  /** When a segment begins, ns on the boot-time clock. */
  beginOf(traceId: string, segment: number): number {
    return (this.#firstCut(traceId) + (segment - 1) * this.#period) * SECOND;
  }

  /** From when on a lifecycle is cut at the end of a segment, ns. @param began when the lifecycle began, ns */
  dueAt(traceId: string, began: number, segment: number): number {
    return Math.max(this.beginOf(traceId, segment + 1), began + this.#uncut);
  }

  /** Seconds after the boot; before that is segment 0. */
  #firstCut(traceId: string): number {
    return Number.parseInt(traceId.slice(0, DIGITS), 16) % this.#period;
  }
}
