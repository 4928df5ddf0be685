/** Evidence as lines of text. */

import { pointName } from '../events/points.ts';
import { FLAG } from '../events/wire.gen.ts';
import type { TimelineEntry } from '../lifecycle/timeline.ts';
import { SECOND } from '../units.ts';
import { errnoName } from './errno.ts';

/** An event for people: `mdev.create` → `begin`, or `= -EEXIST` when it ended. */
export function entryText(entry: TimelineEntry): string {
  const parts = [`${pointName(entry.point)} ${entry.flags & FLAG.EVENT_END ? 'end' : 'begin'}`];
  if (entry.flags & FLAG.EVENT_END && entry.ret !== 0) {
    parts.push(entry.ret < 0 ? `= -${errnoName(-entry.ret)}` : `= ${entry.ret}`);
  }
  if (entry.openCount >= 0) parts.push(`open_count ${entry.openCount}`);
  if (entry.usersCount >= 0) parts.push(`users_count ${entry.usersCount}`);
  if (entry.vm > 0) parts.push(`vm${entry.vm}`);
  if (entry.flags & FLAG.EVENT_EXITING) parts.push('exiting');
  return parts.join('  ');
}

/** One line an event: time since the first, who, what. */
export function evidenceLines(evidence: readonly TimelineEntry[]): string[] {
  const start = evidence[0]?.time ?? 0;
  return evidence.map((entry) => {
    const since = ((entry.time - start) / SECOND).toFixed(6).padStart(12);
    const task = `${entry.comm}[${entry.pid}]`.padEnd(20);
    return `+${since} s  ${task} ${entryText(entry)}`;
  });
}
