// SPDX-License-Identifier: Apache-2.0
/** What tests compare instead of a severity that depends on how slow the machine is. */
import { RULES } from '../../src/catalogue.ts';
import { STALL_SEVERITY } from '../../src/engine/stall.ts';

const GROWING: ReadonlySet<unknown> = new Set(
  RULES.filter(({ severityVaries }) => severityVaries === STALL_SEVERITY).map(({ id }) => id),
);

/**
 * The severity that a violation was raised with: that of a stall grows while it lasts, and on a slow
 * machine it lasts for long.
 */
export function severityWhenRaised<Severity>(rule: unknown, severity: Severity) {
  return GROWING.has(rule) ? 'warning' : severity;
}

/** A violation with the severity that it was raised with. */
export function asRaised<Violation extends { readonly rule: string; readonly severity: string }>(
  violation: Violation,
): Violation {
  return { ...violation, severity: severityWhenRaised(violation.rule, violation.severity) };
}
