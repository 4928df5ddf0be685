/** All metrics, in the order in which they are shown and documented. */
import { AGENT, WATCHING } from './agent.ts';
import { BUDGET } from './budget.ts';
import { EVENTS } from './events.ts';
import { HOST } from './host.ts';
import type { Described, MetricGroup, ObjectMetricGroup } from './metric.ts';
import { OBJECTS } from './objects.ts';
import { OPERATIONS } from './operations.ts';
import { PROCESS } from './process.ts';
import { VIOLATIONS } from './violations.ts';

export const GROUPS: readonly (MetricGroup | ObjectMetricGroup)[] = [
  HOST,
  OPERATIONS,
  VIOLATIONS,
  OBJECTS,
  EVENTS,
  WATCHING,
  BUDGET,
  AGENT,
  PROCESS,
];

export const METRICS = GROUPS.flatMap(({ metrics }): readonly Described[] => metrics);
