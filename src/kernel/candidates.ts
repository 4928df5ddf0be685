/** Which way to see a point the running kernel offers. */
import { messageOf } from '../errors.ts';
import type { PointName } from '../events/points.ts';
import type { Traits } from '../events/traits.ts';
import { isMissing, type ProbeSite } from './attach.ts';
import type { Candidate, Hook, ProbeModule, ProbePoint } from './probe-point.ts';
import { isShortage } from './shortage.ts';

/** What has to be known of a kernel to choose. */
export interface Functions {
  readonly traits: Traits;
  /** @throws with code ENOENT when there is no such function */
  open(module: ProbeModule, hook: Hook): ProbeSite;
  close(site: ProbeSite): void;
}

export type Choice =
  | { readonly candidate: Candidate; readonly sites: readonly ProbeSite[] }
  | {
      readonly reason: string /** Whether it may be different later. */;
      readonly isShort: boolean;
    };

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
    if (!applies(candidate, using, kernel.traits)) continue;
    const sites: ProbeSite[] = [];
    try {
      for (const hook of candidate.hooks) sites.push(kernel.open(module, hook));
      return { candidate, sites };
    } catch (error) {
      for (const site of sites) kernel.close(site);
      // Another candidate would be refused as well, or be chosen for no good reason.
      if (isShortage(error)) return { reason: messageOf(error), isShort: true };
      const { symbol } = candidate.hooks[sites.length];
      reasons.push(
        isMissing(error)
          ? `this kernel has no function ${symbol}: it was renamed, or inlined by the compiler`
          : messageOf(error),
      );
    }
  }
  const reason = reasons.join('; ') || 'nothing is known of how this kernel does it';
  return { reason, isShort: false };
}

function applies(
  { where, unless, inferredFrom }: Candidate,
  using: ReadonlyMap<PointName, Candidate>,
  traits: Traits,
): boolean {
  if (inferredFrom && !using.has(inferredFrom)) return false;
  if (unless && traits[unless] !== false) return false;
  if (!where) return true;
  const [point, symbol] = where;
  return using.get(point)?.hooks.some((hook) => hook.symbol === symbol) ?? false;
}
