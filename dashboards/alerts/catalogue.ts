/** Every alert, in the order of docs/alerts.md. */
import { AGENT } from './agent.ts';
import type { Alert, AlertGroup } from './alert.ts';
import { FLEET } from './fleet.ts';
import { OPERATIONS } from './operations.ts';
import { ORDERING } from './ordering.ts';
import { STALLS_AND_LEAKS } from './stalls-and-leaks.ts';

export const GROUPS: readonly AlertGroup[] = [ORDERING, STALLS_AND_LEAKS, OPERATIONS, AGENT, FLEET];

export const ALERTS: readonly Alert[] = GROUPS.flatMap(({ alerts }) => alerts);
