/** Translates settings into options of the rule engine, and finds the rules that can work. */

import { RULES } from '../../src/catalogue.ts';
import type { EngineOptions } from '../../src/engine/engine.ts';
import { isPossible, pointsNeeded, type Rule, unknownTraits } from '../../src/engine/rule.ts';
import type { Host } from '../../src/events/host.ts';
import { isWatched, type PointStatus } from '../../src/events/source.ts';
import { TRAITS, type TraitName, type Traits } from '../../src/events/traits.ts';
import { SECOND } from '../../src/units.ts';
import type { Config } from '../config/schema.ts';

export interface RuleState {
  readonly id: string;
  readonly title: string;
  readonly active: boolean;
  /** Points that the rule needs and that are not watched. */
  readonly missing: readonly string[];
  /** Those of them that the agent has detached because of their cost. */
  readonly detached: readonly string[];
  /** What has to be known of the kernel and is not, as clauses; empty where it is impossible. */
  readonly unknown: readonly string[];
  /** Why the violation cannot happen on this kernel. */
  readonly impossible?: string;
}

export function engineOptions({ rules, retention }: Config, host: Host): EngineOptions {
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
      neverOpened: rules.never_opened_seconds * SECOND,
      cdevUnbound: rules.cdev_unbound_seconds * SECOND,
      openStall: rules.open_stall_seconds * SECOND,
      closeStall: rules.close_stall_seconds * SECOND,
      createStall: rules.create_stall_seconds * SECOND,
      bindStall: rules.bind_stall_seconds * SECOND,
      vmDestroyStall: rules.vm_destroy_stall_seconds * SECOND,
      callStall: rules.call_stall_seconds * SECOND,
      grace: rules.grace_seconds * SECOND,
    },
    drivers: {
      needKvm: new Set(rules.drivers_needing_kvm),
      oneDevicePerVm: new Set(rules.drivers_one_device_per_vm),
    },
    limit: retention.violations,
  };
}

/** Which rules can work on a kernel, with the points that are watched or inferred from watched ones. */
export function ruleStates(
  points: readonly Pick<PointStatus, 'point' | 'state' | 'reason'>[],
  traits: Traits,
  rules = RULES,
): RuleState[] {
  const byName = new Map(points.map((point) => [point.point, point]));
  return rules.map((rule) => {
    const { id, title } = rule;
    const missing = pointsNeeded(rule).filter((name) => {
      const point = byName.get(name);
      return !point || !isWatched(point);
    });
    const isExcluded = isPossible(rule, traits) === false;
    const impossible = isExcluded ? rule.kernels?.because : missingStep(rule, byName);
    const unknown = impossible ? [] : unknownTraits(rule, traits).map(statementOf);
    const detached = missing.filter((name) => byName.get(name)?.state === 'detached');
    const active = missing.length === 0 && unknown.length === 0 && !impossible;
    const state = { id, title, active, missing, detached, unknown };
    return { ...state, ...(impossible ? { impossible } : {}) };
  });
}

function statementOf(name: TraitName): string {
  return TRAITS[name].statement;
}

/** What a rule that is inactive, and not impossible, lacks. */
export function whyInactive({
  missing,
  detached,
  unknown,
}: Pick<RuleState, 'missing' | 'detached' | 'unknown'>): string {
  // Traits of a module that is not loaded are not known either.
  if (missing.length === 0) {
    return `it is not known whether ${unknown.join(', and whether ')}`;
  }
  const needs = `needs ${missing.join(', ')}`;
  if (detached.length === 0) return needs;
  return `${needs}; detached, because the cost was over the budget: ${detached.join(', ')}`;
}

/** Why this kernel does not have a step that the rule needs. */
function missingStep(
  { needsStep = [] }: Rule,
  points: ReadonlyMap<string, Pick<PointStatus, 'state' | 'reason'>>,
): string | undefined {
  const step = needsStep.map((name) => points.get(name)).find((one) => one?.state === 'inferred');
  return step && (step.reason ?? 'this kernel has no such step');
}
