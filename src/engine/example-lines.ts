/** An example as lines of text: the events, and where among them the rule fires. */

import type { EventCursor } from '../events/cursor.ts';
import type { GroupMember } from '../events/host.ts';
import type { TimelineEntry } from '../lifecycle/timeline.ts';
import type { Transition } from '../lifecycle/transition.ts';
import { SECOND } from '../units.ts';
import { evidenceLines } from './evidence.ts';
import { kernelOf, play } from './play.ts';
import { type Example, pointsNeeded, type Rule } from './rule.ts';

/** Of a longer excerpt, so many lines of its beginning and of its end are shown. */
const HEAD = 40;
const TAIL = 12;

/** An event, or a line in between; `names` when there are several such objects. */
interface Row {
  readonly entry?: TimelineEntry;
  readonly device?: string | undefined;
  readonly parent?: string | undefined;
  readonly text?: string;
}

/** How many events an example shares at its beginning with another one, to be compared with that. */
const ALIKE = 5;

/** The part of an example that shows why the rule fires, or does not. */
export interface Excerpt {
  /** One line for each event: time, process, event; with => the message of the rule. */
  readonly lines: readonly string[];
  /** How many lines were left out at the beginning. */
  readonly omitted: number;
  /** The title of the example that begins with the same lines. */
  readonly sameAs?: string;
}

/**
 * An example from the first line on that differs from its nearest counterpart: a near miss for one
 * that fires, and the other way round. Without a counterpart that begins alike, it begins at the
 * first event of a point that the rule needs.
 */
export function excerptOf(example: Example, rule: Rule): Excerpt {
  const { fires, doesNotFire } = rule.examples;
  const lines = exampleLines(example, rule);
  let [omitted, sameAs] = [0, ''];
  for (const other of fires.includes(example) ? doesNotFire : fires) {
    const shared = sharedLines(lines, exampleLines(other, rule));
    if (shared > omitted) [omitted, sameAs] = [shared, other.title];
  }
  if (omitted < ALIKE) return fromFirstNeeded(lines, rule);
  // Where nothing differs but that the other continues, the last line is left; and a wait that
  // differs is shown with the event after which it comes.
  omitted = Math.min(omitted, lines.length - 1);
  if (!lines[omitted].startsWith('+')) omitted--;
  return { lines: shortened(lines.slice(omitted)), omitted, sameAs };
}

function fromFirstNeeded(lines: readonly string[], rule: Rule): Excerpt {
  const points = pointsNeeded(rule);
  const first = lines.findIndex((line) => points.some((point) => line.includes(` ${point} `)));
  const omitted = Math.max(0, first);
  return { lines: shortened(lines.slice(omitted)), omitted };
}

function sharedLines(lines: readonly string[], others: readonly string[]): number {
  const differing = lines.findIndex((line, i) => line !== others[i]);
  return differing < 0 ? lines.length : differing;
}

/** All lines of an example, however many. */
export function exampleLines(example: Example, rule: Rule): string[] {
  const rows: Row[] = [];
  const vms = new Map<number, number>();
  let waited = 0;
  let last = 0;
  let holders = 0;
  const endWait = () => {
    if (waited > 0) rows.push({ text: `… ${Math.round(waited / SECOND)} s pass` });
    waited = 0;
  };
  play(example.run, [rule], kernelOf(rule), {
    step(step, transition) {
      if (typeof step === 'number') {
        waited += step - last;
        last = step;
      } else if (transition) {
        endWait();
        last = transition.event.time;
        rows.push(rowOf(transition, vms));
      } else if (step instanceof Set) {
        endWait();
        if (step.size < holders)
          rows.push({ text: '… a process is gone, and its KVM files with it' });
        holders = step.size;
      } else if (step instanceof Map) {
        endWait();
        rows.push(...[...step].map(([name, offer]) => ({ text: `… ${offerWords(name, offer)}` })));
      } else if (typeof step === 'object' && 'members' in step) {
        endWait();
        rows.push({ text: `… IOMMU group ${step.group} has ${membersWords(step.members)}` });
      }
    },
    violation({ severity, message }, change) {
      endWait();
      rows.push({ text: `=> ${change === 'resolved' ? 'resolved' : `${severity}: ${message}`}` });
    },
  });
  endWait();
  return linesOf(rows);
}

function membersWords(members: readonly GroupMember[]): string {
  return members.map(({ name, driver }) => `${name} (${driver ?? 'no driver'})`).join(', ');
}

function offerWords(name: string, offer: ReadonlyMap<string, number>): string {
  const words = [...offer].map(([type, count]) => `${count} of ${type}`);
  return `${name} now offers ${words.join(', ')}`;
}

/** Numbers VMs by their first event, so that each example begins at 1. */
function rowOf({ event, device, parent, vm }: Transition, vms: Map<number, number>): Row {
  if (vm && !vms.has(vm.serial)) vms.set(vm.serial, vms.size + 1);
  return {
    entry: entryOf(event, vm ? (vms.get(vm.serial) ?? 0) : 0),
    device: device?.name,
    parent: (device?.parent ?? parent)?.name,
  };
}

function entryOf(event: EventCursor, vm: number): TimelineEntry {
  const { time, point, flags, pid, tid, ret, openCount, usersCount } = event;
  return { time, point, flags, pid, tid, comm: event.comm(), ret, openCount, usersCount, vm };
}

function linesOf(rows: readonly Row[]): string[] {
  const entries = rows.flatMap(({ entry }) => entry ?? []);
  const events = evidenceLines(entries);
  const hasMany = (name: 'device' | 'parent') =>
    new Set(rows.map((row) => row[name]).filter(Boolean)).size > 1;
  const [devices, parents] = [hasMany('device'), hasMany('parent')];
  let next = 0;
  return rows.map(({ entry, device, parent, text = '' }) => {
    if (!entry) return text;
    const names = [devices && device && short(device), parents && parent].filter(Boolean);
    return [events[next++], ...names].join('  ');
  });
}

/** Enough of a UUID to distinguish the devices of one scenario. */
function short(name: string): string {
  return name.length > 16 ? `…${name.slice(-4)}` : name;
}

function shortened(lines: readonly string[]): string[] {
  const middle = lines.slice(HEAD, -TAIL);
  if (middle.length < 2) return [...lines];
  const fired = middle.filter((line) => line.startsWith('=>'));
  const omitted = `… ${middle.length - fired.length} more lines`;
  return [...lines.slice(0, HEAD), omitted, ...fired, ...lines.slice(-TAIL)];
}
