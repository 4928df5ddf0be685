/** Which way to see a point the running kernel offers. */
import type { PointName } from '../lifecycle/points.ts';
import { isMissing, type Place } from './attach.ts';
import type { Candidate, Hook, ProbeModule, ProbePoint } from './probe-table.ts';

/** What has to be known of a kernel to choose. */
export interface Functions {
  readonly version: readonly [major: number, minor: number];
  /** @throws with code ENOENT when there is no such function */
  open(module: ProbeModule, hook: Hook): Place;
  close(place: Place): void;
}

export type Choice =
  | { readonly candidate: Candidate; readonly places: readonly Place[] }
  | { readonly reason: string };

/**
 * The first candidate that the kernel has.
 * @param using what the points before this one in the table use
 */
export function choose(
  { module, candidates }: ProbePoint,
  using: ReadonlyMap<PointName, Candidate>,
  kernel: Functions,
): Choice {
  const reasons: string[] = [];
  for (const candidate of candidates) {
    if (!applies(candidate, using, kernel.version)) continue;
    const places: Place[] = [];
    try {
      for (const hook of candidate.hooks) places.push(kernel.open(module, hook));
      return { candidate, places };
    } catch (error) {
      for (const place of places) kernel.close(place);
      const { symbol } = candidate.hooks[places.length];
      reasons.push(
        isMissing(error)
          ? `this kernel has no function ${symbol}: it was renamed, or inlined by the compiler`
          : reasonOf(error),
      );
    }
  }
  return { reason: reasons.join('; ') || 'nothing is known of how this kernel does it' };
}

function applies(
  { where, before, toldBy }: Candidate,
  using: ReadonlyMap<PointName, Candidate>,
  version: Functions['version'],
): boolean {
  if (toldBy && !using.has(toldBy)) return false;
  if (before && !isBefore(version, before)) return false;
  if (!where) return true;
  const [point, symbol] = where;
  return using.get(point)?.hooks.some((hook) => hook.symbol === symbol) ?? false;
}

function isBefore([major, minor]: Functions['version'], wanted: Functions['version']): boolean {
  return major < wanted[0] || (major === wanted[0] && minor < wanted[1]);
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
