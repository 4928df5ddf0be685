/** When something last happened: what alerts compare with the time, because a counter may be read too late. */
import type { Violation } from '../../engine/violation.ts';
import type { LossReason } from '../../events/source.ts';

/** Seconds since 1970; what never happened is not in a map. */
export class LatestTimes {
  /** By "rule severity". */
  readonly violations = new Map<string, number>();
  readonly losses = new Map<LossReason, number>();

  violation({ rule, severity }: Pick<Violation, 'rule' | 'severity'>, at: number): void {
    this.violations.set(`${rule} ${severity}`, at);
  }

  loss(reason: LossReason, at: number): void {
    this.losses.set(reason, at);
  }
}
