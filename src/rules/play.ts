/** Runs a story through decoder, lifecycle and rules. */
import { EventCursor } from '../events/cursor.ts';
import { World } from '../lifecycle/world.ts';
import { RuleEngine } from './engine.ts';
import type { Example, Rule } from './rule.ts';
import { Story } from './story.ts';
import type { Violation } from './violation.ts';

export interface Played {
  readonly world: World;
  readonly engine: RuleEngine;
  readonly violations: readonly Violation[];
}

/** @param rules the rules that watch; a story may well break others than the one it is told for */
export function play(
  tell: Example['tell'],
  rules: readonly Rule[],
  kernel: readonly [number, number] = [6, 12],
): Played {
  const story = new Story();
  const world = new World();
  let kvmPids: ReadonlySet<number> = new Set();
  const host = { kernel, pidsWithKvmFiles: () => kvmPids };
  const engine = new RuleEngine(world, { rules, host });
  tell(story);
  for (const step of story.steps) {
    if (typeof step === 'number') engine.tick(step);
    else if (!(step instanceof Uint8Array)) kvmPids = step;
    else engine.check(world.apply(new EventCursor(step.buffer as ArrayBuffer)));
  }
  return { world, engine, violations: engine.list() };
}
