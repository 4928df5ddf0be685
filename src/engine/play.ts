/** Runs a scenario through decoder, lifecycle and rules. */
import { EventCursor } from '../events/cursor.ts';
import type { GroupMember, Host } from '../events/host.ts';
import type { Traits } from '../events/traits.ts';
import { Dispatcher } from '../lifecycle/dispatcher.ts';
import type { Transition } from '../lifecycle/transition.ts';
import { World } from '../lifecycle/world.ts';
import { LINUX_5_10, LINUX_6_1, LINUX_6_12, WITH_IOMMUFD } from '../scenario/kernels.ts';
import { Scenario } from '../scenario/scenario.ts';
import type { Step } from '../scenario/types.ts';
import { RuleEngine } from './engine.ts';
import { type Example, isPossible, type Rule } from './rule.ts';
import type { Sink } from './sink.ts';
import type { Violation } from './violation.ts';

export interface Played {
  readonly world: World;
  readonly engine: RuleEngine;
  readonly violations: readonly Violation[];
}

/** A sink that also sees the steps of the scenario, in their order with what the rules find. */
export interface Witness extends Sink {
  /** @param transition of an event, as the rules will see it; keep nothing of it */
  step(step: Step, transition: Transition | undefined): void;
}

/**
 * The kernel that scenarios reproduce, older ones for what cannot happen there any more, and one with iommufd for what
 * happens only there.
 */
const KERNELS: readonly Traits[] = [LINUX_6_12, LINUX_6_1, LINUX_5_10, WITH_IOMMUFD];

/** The answer of a parent about which the scenario says nothing. */
const NO_OFFER: ReadonlyMap<string, number> = new Map();

/** The kernel on which the examples of a rule are played, by its traits. */
export function kernelOf(rule: Rule): Traits {
  return KERNELS.find((kernel) => isPossible(rule, kernel)) ?? KERNELS[0];
}

/** @param rules the rules that run; a scenario may break others than the one whose example it is */
export function play(
  run: Example['run'],
  rules: readonly Rule[],
  kernel: Traits = KERNELS[0],
  witness?: Witness,
): Played {
  const scenario = new Scenario();
  const world = new World();
  const dispatcher = new Dispatcher(world);
  let kvmPids: ReadonlySet<number> = new Set();
  const offers = new Map<string, ReadonlyMap<string, number>>();
  const groups = new Map<number, readonly GroupMember[]>();
  const host: Host = {
    traits: kernel,
    groupMembers: (group) => groups.get(group),
    pidsWithKvmFiles: () => kvmPids,
    availableInstances: (parent) => offers.get(parent) ?? NO_OFFER,
  };
  const engine = new RuleEngine(world, { rules, host, sinks: witness ? [witness] : [] });
  run(scenario);
  for (const step of scenario.steps) {
    const transition =
      step instanceof Uint8Array
        ? dispatcher.apply(new EventCursor(step.buffer as ArrayBuffer))
        : undefined;
    witness?.step(step, transition);
    if (transition) engine.check(transition);
    else if (typeof step === 'number') engine.tick(step);
    else if (step === 'loss') world.lose();
    else if (step instanceof Set) kvmPids = step;
    else if (step instanceof Map) for (const [name, offer] of step) offers.set(name, offer);
    else if (typeof step === 'object' && 'members' in step) groups.set(step.group, step.members);
  }
  return { world, engine, violations: engine.list() };
}
