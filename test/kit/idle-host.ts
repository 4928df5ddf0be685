/** A host on which nothing happens, as the metrics show it. */

import { RULES } from '../../src/catalogue.ts';
import { POINT_NAMES } from '../../src/events/points.ts';
import { Measured } from './measured.ts';

/** The lines of all series of an agent whose points are all attached and whose rules are all active. */
export async function idleSeries(): Promise<readonly string[]> {
  const probes = POINT_NAMES.map((point) => ({
    ...{ point, state: 'attached' as const, missed: 0, symbol: 'f', method: 'kprobe' },
  }));
  const ruleStates = () => RULES.map(({ id }) => ({ id, active: true }));
  const idle = new Measured({ source: { probes: () => probes, ruleStates } });
  return (await idle.text()).match(/^[a-z].* \S+$/gm) ?? [];
}
