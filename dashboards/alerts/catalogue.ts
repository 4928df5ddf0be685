/** Every alert, in the order of docs/alerts.md. */
import { AGENT } from './agent.ts';
import type { Alert, AlertGroup } from './alert.ts';
import { HOST } from './host.ts';
import { ORDERS } from './orders.ts';
import { STUCK } from './stuck.ts';

export const GROUPS: readonly AlertGroup[] = [ORDERS, STUCK, HOST, AGENT];

export const ALERTS: readonly Alert[] = GROUPS.flatMap(({ alerts }) => alerts);
