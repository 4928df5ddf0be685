/** What a replay found: for people as text, for machines as one document with the API's views. */
import type { Header } from '../../src/capture/format.ts';
import type { Player } from '../../src/capture/player.ts';
import { Views } from '../../src/http/views.ts';
import type { Device, Life, Quality, Vm } from '../../src/lifecycle/objects.ts';
import type { Timeline, TimelineEntry } from '../../src/lifecycle/timeline.ts';
import { entryText } from '../../src/rules/evidence.ts';
import type { Host } from '../../src/rules/rule.ts';
import {
  behindLines,
  deviceWords,
  openers,
  seconds,
  vmId,
  vmWords,
} from '../../src/rules/words.ts';
import type { Pipeline } from '../runtime/pipeline.ts';
import type { Playback } from '../runtime/playback.ts';

export interface Replayed {
  readonly file: string;
  readonly header: Header;
  readonly host: Host;
  readonly player: Player;
  readonly playback: Playback;
  readonly pipeline: Pipeline;
}

const QUALITY: Readonly<Record<Quality, string>> = {
  observed: 'observed: seen from its beginning, nothing lost since',
  late: 'late: it was there before it was first seen',
  tainted: 'tainted: events were lost during its life',
};

/** One document; the order in it is that in which things began. */
export function documentOf({ file, header, host, player, playback, pipeline }: Replayed) {
  const { world, rules } = pipeline;
  const views = new Views(world, () => header.clock.wall - header.clock.boot, host, pipeline.ids);
  const { agent, kernel, arch, bootId, ringBytes } = header;
  const { problem, records } = player;
  return {
    recording: {
      ...{ file, agent, kernel, arch, bootId, ringBytes },
      started: views.time(header.startedAt),
      ended: views.time(playback.now),
      records,
      whole: problem === undefined,
      problem: problem && { what: problem.message, next: problem.next },
    },
    parents: inOrder(world.parents).map((parent) => views.parent(parent)),
    devices: inOrder(world.devices).map((device) => views.deviceWithTimeline(device)),
    endedDevices: inOrder(world.endedDevices.list()).map((one) => views.deviceWithTimeline(one)),
    vms: inOrder(world.vms).map((vm) => views.vm(vm)),
    endedVms: inOrder(world.endedVms.list()).map((vm) => views.vm(vm)),
    violations: rules.list().map((violation) => views.violation(violation)),
    heldBack: Object.fromEntries(rules.heldBack),
    lost: { ...pipeline.losses, last: views.time(pipeline.lastLossAt) },
    points: playback.sight.points,
    unseen: playback.sight.unseen(playback.now).map(({ point, reason, lasted }) => ({
      ...{ point, reason, seconds: lasted / 1e9 },
    })),
    rules: pipeline.ruleStates(seenAllTheTime(playback)),
  };
}

/** For people: lives, violations, and what may be missing. */
export function textOf(replayed: Replayed): string {
  return [
    ...opening(replayed),
    ...lives(replayed),
    ...violations(replayed),
    ...losses(replayed),
    ...blindness(replayed),
  ].join('\n');
}

/** A time of a recording, by its beginning. */
export function since(time: number, start: number): string {
  return `+${((time - start) / 1e9).toFixed(6)} s`;
}

function opening({ file, header, player, playback }: Replayed): string[] {
  const { agent, kernel, arch, startedAt, clock } = header;
  const began = new Date((startedAt + clock.wall - clock.boot) / 1e6).toISOString();
  const length = seconds(playback.now - startedAt);
  return [
    `${file}: ${player.records} records in ${length}, from ${began}`,
    `  of kernel ${kernel} (${arch}), by vfioscope ${agent}`,
    player.problem ? `  NOT WHOLE: ${player.problem.message}` : '  whole',
  ];
}

function lives({ header, pipeline }: Replayed): string[] {
  const { world } = pipeline;
  const { startedAt } = header;
  const { endedDevices, endedVms } = world;
  const devices = inOrder([...endedDevices.list(), ...world.devices]);
  const vms = inOrder([...endedVms.list(), ...world.vms]);
  const lines: string[] = [];
  for (const device of devices) {
    lines.push('', `device ${deviceWords(device)}${origin(device)}: ${deviceState(device)}`);
    lines.push(`  ${QUALITY[world.qualityOf(device)]}`, ...timeline(device.timeline, startedAt));
  }
  for (const vm of vms) {
    lines.push('', `${vmId(vm)}, ${vmWords(vm)}: ${vmState(vm)}`);
    lines.push(`  ${QUALITY[world.qualityOf(vm)]}`, ...timeline(vm.timeline, startedAt));
  }
  if (lines.length === 0) lines.push('', 'no device and no VM was seen');
  for (const [what, { limit }, count] of [
    ['devices', endedDevices, endedDevices.list().length],
    ['VMs', endedVms, endedVms.list().length],
  ] as const) {
    if (count < limit) continue;
    lines.push('', `only the last ${limit} ended ${what} are shown: raise keep.ended for more`);
  }
  return lines;
}

function origin({ parentName, driver }: Device): string {
  return `${parentName ? ` on ${parentName}` : ''}${driver ? ` by ${driver}` : ''}`;
}

function deviceState(device: Device): string {
  const users = device.openCount > 0 ? `, open by ${openers(device)}` : '';
  return `${device.state}${device.isWaiting ? ', waiting for its users' : ''}${users}`;
}

function vmState({ state, devices }: Vm): string {
  const names = [...devices].map(({ name }) => name).join(', ');
  return names ? `${state}, with ${names}` : state;
}

function timeline(timeline: Timeline, start: number): string[] {
  const lines = entryLines(timeline.entries(), start);
  if (timeline.omitted > 0) {
    lines.push(`  ${timeline.omitted} events in the middle of this life were not kept`);
  }
  return lines;
}

/** One line an event: when, who, what. */
function entryLines(entries: readonly TimelineEntry[], start: number): string[] {
  return entries.map((entry) => {
    const task = `${entry.comm}[${entry.pid}]`.padEnd(20);
    return `  ${since(entry.time, start).padStart(15)}  ${task} ${entryText(entry)}`;
  });
}

function violations({ header, pipeline }: Replayed): string[] {
  const { startedAt } = header;
  const found = pipeline.rules.list();
  if (found.length === 0) return ['', 'no violations'];
  return found.flatMap((violation) => {
    const { id, rule, severity, title, firstSeen, resolvedAt, lasting, count } = violation;
    const end = resolvedAt ? `resolved ${since(resolvedAt, startedAt)}` : lasting ? 'open' : '';
    const often = count > 1 ? `${count} times` : '';
    const facts = [severity, end, often, violation.quality].filter((fact) => fact !== '');
    return [
      '',
      `VIOLATION ${id} ${rule} (${facts.join(', ')}): ${title}`,
      `  found ${since(firstSeen, startedAt)}: ${violation.explanation}`,
      ...behindLines(violation).map((line) => `  ${line}`),
      ...entryLines(violation.evidence, startedAt),
    ];
  });
}

function losses({ pipeline }: Replayed): string[] {
  const lost = Object.entries(pipeline.losses).filter(([, count]) => count > 0);
  const lines = lost.map(([reason, count]) => `  ${count} ${reason}`);
  for (const [rule, count] of pipeline.rules.heldBack) {
    lines.push(`  ${count} findings of ${rule} were held back: no life was seen whole`);
  }
  return lines.length > 0 ? ['', 'lost events', ...lines] : ['', 'no events were lost'];
}

/** What could not be seen, and who may have missed something for it. */
function blindness({ playback, pipeline }: Replayed): string[] {
  const unseen = playback.sight.unseen(playback.now);
  if (unseen.length === 0) return ['', 'every point was watched all the time'];
  const lines = unseen.map(
    ({ point, reason, lasted }) => `  ${point.padEnd(26)} for ${seconds(lasted)}: ${reason}`,
  );
  const rules = pipeline
    .ruleStates(seenAllTheTime(playback))
    .filter(({ active, impossible }) => !active && impossible === undefined)
    .map(({ id, missing }) => `  ${id.padEnd(26)} needs ${missing.join(', ')}`);
  return [
    ...['', 'points that were not watched all the time', ...lines],
    ...(rules.length > 0 ? ['', 'rules that may have missed something', ...rules] : []),
  ];
}

function seenAllTheTime({ sight, now }: Playback) {
  const unseen = new Set(sight.unseen(now).map(({ point }) => point));
  return sight.points.filter(({ point }) => !unseen.has(point));
}

/** By when they were first seen. */
function inOrder<T extends Life>(lives: Iterable<T>): T[] {
  return [...lives].sort((a, b) => a.serial - b.serial);
}
