/** What a rule reports only when the host has answered, which takes a while. */
import type { TrackedObject } from '../lifecycle/tracked-object.ts';
import type { ObjectMemory } from './memory.ts';

/**
 * Goes through what waits, at each tick, and leaves in the memory what has to wait longer.
 * @param isPending whether the host may still answer
 */
export function reportAnswered<Subject extends TrackedObject, One>(
  memory: ObjectMemory<Subject, One[]>,
  isPending: (one: One) => boolean,
  report: (one: One, about: Subject) => void,
): void {
  for (const [subject, waiting] of memory.entries()) {
    for (const one of waiting.splice(0)) {
      if (isPending(one)) waiting.push(one);
      else report(one, subject);
    }
    if (waiting.length === 0) memory.forget(subject);
  }
}
