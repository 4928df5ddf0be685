/** Runs a story through decoder, lifecycle and rules. */
import { EventCursor } from '../events/cursor.ts';
import type { Moment } from '../lifecycle/moment.ts';
import { World } from '../lifecycle/world.ts';
import { RuleEngine } from './engine.ts';
import { type Example, isPossible, type KernelVersion, type Rule } from './rule.ts';
import { Story } from './story.ts';
import type { Step } from './told.ts';
import type { Violation } from './violation.ts';

export interface Played {
  readonly world: World;
  readonly engine: RuleEngine;
  readonly violations: readonly Violation[];
}

/** Is there while a story is lived: at each step, and when a rule speaks about it. */
export interface Witness {
  /** @param moment of an event, as the rules will see it; keep nothing of it */
  step(step: Step, moment: Moment | undefined): void;
  violation: RuleEngine['onViolation'];
}

/** What stories are told of, and older ones for what does not happen there any more. */
const KERNELS: readonly KernelVersion[] = [
  [6, 12],
  [6, 1],
  [5, 10],
];

/** The kernel on which the examples of a rule are played. */
export function kernelOf(rule: Rule): KernelVersion {
  return KERNELS.find((kernel) => isPossible(rule, kernel)) ?? KERNELS[0];
}

/** @param rules the rules that watch; a story may well break others than the one it is told for */
export function play(
  tell: Example['tell'],
  rules: readonly Rule[],
  kernel: KernelVersion = KERNELS[0],
  witness?: Witness,
): Played {
  const story = new Story();
  const world = new World();
  let kvmPids: ReadonlySet<number> = new Set();
  const offers = new Map<string, ReadonlyMap<string, number>>();
  const host = {
    kernel,
    pidsWithKvmFiles: () => kvmPids,
    availableInstances: (parent: string) => offers.get(parent),
  };
  const engine = new RuleEngine(world, { rules, host });
  if (witness) engine.onViolation = witness.violation;
  tell(story);
  for (const step of story.steps) {
    const moment =
      step instanceof Uint8Array
        ? world.apply(new EventCursor(step.buffer as ArrayBuffer))
        : undefined;
    witness?.step(step, moment);
    if (moment) engine.check(moment);
    else if (typeof step === 'number') engine.tick(step);
    else if (step === 'loss') world.lose();
    else if (step instanceof Set) kvmPids = step;
    else if (step instanceof Map) for (const [name, offer] of step) offers.set(name, offer);
  }
  return { world, engine, violations: engine.list() };
}
