/** The traits of the kernel that a recording was made on. */
import type { PointStatus } from '../events/source.ts';
import { deriveTrait, type Evidence, type Traits, traitsOf } from '../events/traits.ts';
import type { Header } from './format.ts';

/**
 * What the header has; the others, as of a module that was loaded later or of an older recording, are derived
 * from the functions that points were watched by. These show what the kernel has, and never what it lacks.
 */
export function recordedTraits(
  { traits = {} }: Pick<Header, 'traits'>,
  points: readonly Pick<PointStatus, 'symbol'>[],
): Traits {
  const symbols = new Set(points.flatMap(({ symbol }) => symbol?.split(', ') ?? []));
  const kernel = {
    unknown: () => undefined,
    ways: [
      (_module: unknown, evidence: Evidence) =>
        evidence.kind === 'symbol' && evidence.exists && symbols.has(evidence.name),
    ],
  };
  return traitsOf((name) => traits[name] ?? deriveTrait(name, kernel).value);
}
