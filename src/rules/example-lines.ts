/** An example as lines for people: what the kernel did, and where in it the rule speaks. */
import type { EventCursor } from '../events/cursor.ts';
import type { Moment } from '../lifecycle/moment.ts';
import type { TimelineEntry } from '../lifecycle/timeline.ts';
import { evidenceLines } from './evidence.ts';
import { kernelOf, play } from './play.ts';
import { type Example, type Rule, SECOND } from './rule.ts';

/** Of a longer example, so many lines of its beginning and of its end are shown. */
const HEAD = 40;
const TAIL = 12;

/** An event, or a line in between; `names` when there are several such objects. */
interface Row {
  readonly entry?: TimelineEntry;
  readonly device?: string | undefined;
  readonly parent?: string | undefined;
  readonly text?: string;
}

/** One line an event: time, who, what; in between what else matters, and with => what the rule says. */
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
  play(example.tell, [rule], kernelOf(rule), {
    step(step, moment) {
      if (typeof step === 'number') {
        waited += step - last;
        last = step;
      } else if (moment) {
        endWait();
        last = moment.event.time;
        rows.push(rowOf(moment, vms));
      } else if (step instanceof Set) {
        endWait();
        if (step.size < holders)
          rows.push({ text: '… a process is gone, and its KVM files with it' });
        holders = step.size;
      } else if (step instanceof Map) {
        endWait();
        rows.push(...[...step].map(([name, offer]) => ({ text: `… ${offerWords(name, offer)}` })));
      }
    },
    violation({ severity, explanation }, change) {
      endWait();
      const says = change === 'resolved' ? 'resolved' : `${severity}: ${explanation}`;
      rows.push({ text: `=> ${says}` });
    },
  });
  endWait();
  return shortened(linesOf(rows));
}

function offerWords(name: string, offer: ReadonlyMap<string, number>): string {
  const words = [...offer].map(([type, count]) => `${count} of ${type}`);
  return `${name} now offers ${words.join(', ')}`;
}

/** Numbers VMs by their first event, whatever came before this story. */
function rowOf({ event, device, parent, vm }: Moment, vms: Map<number, number>): Row {
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

/** Enough of a UUID to tell those of one story apart. */
function short(name: string): string {
  return name.length > 16 ? `…${name.slice(-4)}` : name;
}

function shortened(lines: readonly string[]): string[] {
  const middle = lines.slice(HEAD, -TAIL);
  if (middle.length < 2) return [...lines];
  const told = middle.filter((line) => line.startsWith('=>'));
  const omitted = `… ${middle.length - told.length} more lines`;
  return [...lines.slice(0, HEAD), omitted, ...told, ...lines.slice(-TAIL)];
}
