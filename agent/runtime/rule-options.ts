/** What the settings mean for the rules, and which rules can work with what is watched. */
import type { PointStatus } from '../../src/events/source.ts';
import { RULES } from '../../src/rules/catalogue.ts';
import type { EngineOptions } from '../../src/rules/engine.ts';
import { type Host, pointsNeeded, SECOND } from '../../src/rules/rule.ts';
import type { Config } from '../config/schema.ts';

export interface RuleState {
  readonly id: string;
  readonly title: string;
  readonly active: boolean;
  /** Points that it needs and that are not watched. */
  readonly missing: readonly string[];
  /** Why what it looks for cannot happen on this kernel. */
  readonly impossible?: string;
}

export function engineOptions({ rules, keep }: Config, host: Host): EngineOptions {
  return {
    host,
    rules: RULES.filter((rule) => !rules.disabled.includes(rule.id)),
    thresholds: {
      removeStall: rules.remove_stall_seconds * SECOND,
      vmPinned: rules.vm_pinned_seconds * SECOND,
      kvmRefLeak: rules.kvm_ref_leak_seconds * SECOND,
      grace: rules.grace_seconds * SECOND,
    },
    limit: keep.violations,
  };
}

/** Which rules can work with the points that are watched, or told by others that are. */
export function ruleStates(
  points: readonly Pick<PointStatus, 'point' | 'state' | 'reason'>[],
  rules = RULES,
): RuleState[] {
  const byName = new Map(points.map((point) => [point.point, point]));
  return rules.map((rule) => {
    const { id, title } = rule;
    const missing = pointsNeeded(rule).filter((name) => {
      const state = byName.get(name)?.state;
      return state !== 'attached' && state !== 'implied';
    });
    const step = rule.needsStep
      ?.map((name) => byName.get(name))
      .find((p) => p?.state === 'implied');
    const impossible = step?.reason ?? (step && 'this kernel has no such step');
    const active = missing.length === 0 && !impossible;
    return { id, title, active, missing, ...(impossible ? { impossible } : {}) };
  });
}
