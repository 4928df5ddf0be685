/** What the settings mean for the rules, and which rules can work with what is watched. */
import { isWatched, type PointStatus } from '../../src/events/source.ts';
import { RULES } from '../../src/rules/catalogue.ts';
import type { EngineOptions } from '../../src/rules/engine.ts';
import {
  type Host,
  isPossible,
  type KernelVersion,
  pointsNeeded,
  type Rule,
  SECOND,
} from '../../src/rules/rule.ts';
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
      parentUnregisterStall: rules.parent_unregister_stall_seconds * SECOND,
      requestIgnored: rules.request_ignored_seconds * SECOND,
      neverRegistered: rules.never_registered_seconds * SECOND,
      createSerialised: rules.create_serialised_seconds * SECOND,
      vmPinned: rules.vm_pinned_seconds * SECOND,
      kvmRefLeak: rules.kvm_ref_leak_seconds * SECOND,
      grace: rules.grace_seconds * SECOND,
    },
    drivers: {
      needKvm: new Set(rules.drivers_needing_kvm),
      oneDevicePerVm: new Set(rules.drivers_one_device_per_vm),
    },
    limit: keep.violations,
  };
}

/**
 * Which rules can work on a kernel, with the points that are watched or told by others that are.
 */
export function ruleStates(
  points: readonly Pick<PointStatus, 'point' | 'state' | 'reason'>[],
  kernel: KernelVersion,
  rules = RULES,
): RuleState[] {
  const byName = new Map(points.map((point) => [point.point, point]));
  return rules.map((rule) => {
    const { id, title } = rule;
    const missing = pointsNeeded(rule).filter((name) => {
      const point = byName.get(name);
      return !point || !isWatched(point);
    });
    const impossible = isPossible(rule, kernel) ? missingStep(rule, byName) : rule.kernels?.because;
    const active = missing.length === 0 && !impossible;
    return { id, title, active, missing, ...(impossible ? { impossible } : {}) };
  });
}

/** Why a step that the rule is about is none of this kernel's. */
function missingStep(
  { needsStep = [] }: Rule,
  points: ReadonlyMap<string, Pick<PointStatus, 'state' | 'reason'>>,
): string | undefined {
  const step = needsStep.map((name) => points.get(name)).find((one) => one?.state === 'implied');
  return step && (step.reason ?? 'this kernel has no such step');
}
