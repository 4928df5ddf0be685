/** What one rule has found: its violations while they may still repeat or end. */

import { Device, Parent, Vm } from '../lifecycle/objects.ts';
import type { TrackedObject } from '../lifecycle/tracked-object.ts';
import { SECOND } from '../units.ts';
import type { Finding, Rule } from './rule.ts';
import type { Violation } from './violation.ts';
import { vmId } from './words.ts';

/**
 * Findings of the same one-shot violation are occurrences of one violation while each comes within
 * this time after the one before; ns.
 */
export const OCCURRENCE_WINDOW = 3600 * SECOND;

/** A violation, and what the engine has to know of it besides. */
export interface Found {
  readonly violation: Violation;
  readonly by: FoundByRule;
  /** The object that an ongoing violation is about; undefined for the host as a whole. */
  readonly subject: TrackedObject | undefined;
  /** Of a one-shot violation: what its occurrences have in common. */
  readonly occurrence: string | undefined;
  /** When the host was last asked about it. */
  askedAt: number;
  /** Whether it has been reported with those who wait behind it. */
  hadWaiters: boolean;
  /** Where the store has it. */
  shelf: number;
}

/** The tables of one rule. An ongoing violation is found by its object, so that no event makes a text. */
export class FoundByRule {
  readonly rule: Rule;
  readonly ongoing = new Map<TrackedObject | undefined, Found>();
  readonly oneShot = new Map<string, Found>();
  /**
   * Objects about which an ongoing finding is being suppressed, and when that was last found, ns: it is
   * counted once, not at each tick.
   */
  readonly suppressed = new Map<TrackedObject | undefined, number>();
  /**
   * Since when the points that the rule needs have been watched again, after they had been detached for
   * their cost; ns on the boot-time clock. What it concludes from earlier events is suppressed.
   */
  since = 0;

  constructor(rule: Rule) {
    this.rule = rule;
  }

  forget({ subject, occurrence }: Found): void {
    if (occurrence === undefined) this.ongoing.delete(subject);
    else this.oneShot.delete(occurrence);
  }

  /** Forgets objects that have ended, and one-shot violations that will not be counted up any more. */
  dropOver(now: number): void {
    for (const [occurrence, { violation }] of this.oneShot) {
      if (now - violation.lastSeen > OCCURRENCE_WINDOW) this.oneShot.delete(occurrence);
    }
    // What an object left behind may still be found when the object has ended.
    for (const [subject, foundAt] of this.suppressed) {
      if (subject?.isOver && foundAt < now) this.suppressed.delete(subject);
    }
  }
}

/** When the earliest event occurred that a finding may rest on, ns on the boot-time clock. */
export function restsOn({ since, device, vm, parent }: Finding): number {
  if (since !== undefined) return since;
  let earliest = Number.POSITIVE_INFINITY;
  for (const object of [device, vm, parent]) {
    if (object) earliest = Math.min(earliest, object.firstSeen);
  }
  return earliest;
}

/** What a finding or a call is about: the first object that it names, or undefined for the host as a whole. */
export function subjectOf({
  device,
  vm,
  parent,
}: Pick<Finding, 'device' | 'vm' | 'parent'>): Device | Vm | Parent | undefined {
  return device ?? vm ?? parent;
}

/**
 * What the occurrences of a one-shot violation have in common: what the rule says, or the name of the
 * object. Incarnations of a name are not distinguished: a tool that tries a UUID again and again
 * makes one each time. Without an object it is the program, which gets a new pid for each attempt.
 */
export function occurrenceOf(finding: Finding): string {
  if (finding.sameAs !== undefined) return finding.sameAs;
  const subject = subjectOf(finding);
  if (subject instanceof Device) return `device ${subject.bus} ${subject.name}`;
  if (subject instanceof Parent) return `parent ${subject.name}`;
  if (subject instanceof Vm) return `VM ${vmId(subject)}`;
  const { task, message } = finding;
  if (task) return `program ${task.comm} of ${task.uid}`;
  return typeof message === 'string' ? message : '';
}
