/** The result of a replay: as text, or as one JSON document with the views of the API. */

import type { Header } from '../../src/capture/format.ts';
import type { Player } from '../../src/capture/player.ts';
import { attributionLines } from '../../src/engine/attribution-lines.ts';
import { entryText } from '../../src/engine/evidence.ts';
import {
  deviceWords,
  occurrenceWords,
  openers,
  seconds,
  vmId,
  vmWords,
} from '../../src/engine/words.ts';
import type { Host } from '../../src/events/host.ts';
import { Views } from '../../src/http/views.ts';
import type { Device, Vm } from '../../src/lifecycle/objects.ts';
import type { Timeline, TimelineEntry } from '../../src/lifecycle/timeline.ts';
import type { Quality, TrackedObject } from '../../src/lifecycle/tracked-object.ts';
import { plain } from '../../src/plain.ts';
import { problemData } from '../../src/problem.ts';
import { SECOND } from '../../src/units.ts';
import type { Pipeline } from '../runtime/pipeline.ts';
import type { Playback } from '../runtime/playback.ts';
import { whyInactive } from '../runtime/rule-options.ts';

export interface Replayed {
  readonly file: string;
  readonly header: Header;
  readonly host: Host;
  readonly player: Player;
  readonly playback: Playback;
  readonly pipeline: Pipeline;
  /** Byte of the block from which on pauses were passed at once; undefined where none was. */
  readonly pausesSkippedAt: number | undefined;
}

const QUALITY: Readonly<Record<Quality, string>> = {
  observed: 'observed: seen from its begin, with no event lost since',
  partial: 'partial: it existed before it was first observed, or its history has a gap',
  unverified: 'unverified: events were lost during its lifecycle',
};

/**
 * One document; objects are in the order in which they were first seen. Its lists are made while they are
 * walked: together they may be longer than a string can be.
 */
export function documentOf(replayed: Replayed) {
  const { file, header, host, player, playback, pipeline, pausesSkippedAt } = replayed;
  const { state, rules } = pipeline;
  const { world, ids } = state;
  const views = new Views(world, () => header.clock.wall - header.clock.boot, host, ids);
  const { agent, kernel, arch, bootId, ringBytes } = header;
  const { problem, records } = player;
  return {
    recording: {
      ...{ file: plain(file), agent, kernel, arch, bootId, ringBytes },
      started: views.time(header.startedAt),
      ended: views.time(playback.now),
      records,
      complete: problem === undefined,
      problem: problem && problemData(problem),
      pausesSkippedAt,
    },
    parents: each(inOrder(world.parents), (parent) => views.parent(parent)),
    devices: each(inOrder(world.devices), (device) => views.deviceWithTimeline(device)),
    endedDevices: each(inOrder(world.devices.ended.list()), (one) => views.deviceWithTimeline(one)),
    vms: each(inOrder(world.vms), (vm) => views.vm(vm)),
    endedVms: each(inOrder(world.vms.ended.list()), (vm) => views.vm(vm)),
    violations: each(rules.list(), (violation) => views.violation(violation)),
    suppressed: Object.fromEntries(rules.suppressed),
    lost: { ...state.losses, last: views.time(state.lastLossAt) },
    points: playback.coverage.points,
    unwatched: playback.coverage.unwatched(playback.now).map(({ point, reason, lasted }) => ({
      ...{ point, reason, seconds: lasted / SECOND },
    })),
    rules: pipeline.ruleStates(alwaysWatched(playback)),
  };
}

/** Lines of text: objects, violations, and what may be missing. */
export function* textLines(replayed: Replayed): Generator<string> {
  yield* opening(replayed);
  yield* objects(replayed);
  yield* violations(replayed);
  yield* losses(replayed);
  yield* blindSpots(replayed);
}

/** A time, relative to the start of the recording. */
export function since(time: number, start: number): string {
  return `+${((time - start) / SECOND).toFixed(6)} s`;
}

function opening({ file, header, player, playback, pausesSkippedAt }: Replayed): string[] {
  const { agent, kernel, arch, startedAt, clock } = header;
  const began = new Date((startedAt + clock.wall - clock.boot) / 1e6).toISOString();
  const length = seconds(playback.now - startedAt);
  return [
    `${plain(file)}: ${player.records} records in ${length}, from ${began}`,
    `  kernel ${kernel} (${arch}), recorded by vfioscope ${agent}`,
    player.problem ? `  INCOMPLETE: ${player.problem.message}` : '  complete',
    ...(pausesSkippedAt === undefined
      ? []
      : [
          `  its pauses are too long to be passed in steps: from byte ${pausesSkippedAt} on, what is found because time`,
          '  passes may be dated late, or be missing',
        ]),
  ];
}

function objects({ header, pipeline }: Replayed): string[] {
  const { world } = pipeline.state;
  const { startedAt } = header;
  const devices = inOrder([...world.devices.ended.list(), ...world.devices]);
  const vms = inOrder([...world.vms.ended.list(), ...world.vms]);
  const lines: string[] = [];
  for (const device of devices) {
    lines.push('', `device ${deviceWords(device)}${references(device)}: ${deviceState(device)}`);
    lines.push(`  ${QUALITY[world.qualityOf(device)]}`, ...timeline(device.timeline, startedAt));
  }
  for (const vm of vms) {
    lines.push('', `${vmId(vm)}, ${vmWords(vm)}: ${vmState(vm)}`);
    lines.push(`  ${QUALITY[world.qualityOf(vm)]}`, ...timeline(vm.timeline, startedAt));
  }
  if (lines.length === 0) lines.push('', 'no device and no VM was observed');
  for (const [what, ended] of [
    ['devices', world.devices.ended],
    ['VMs', world.vms.ended],
  ] as const) {
    if (ended.list().length < ended.limit) continue;
    lines.push(
      '',
      `only the last ${ended.limit} ended ${what} are shown: raise retention.ended for more`,
    );
  }
  return lines;
}

function references({ parentName, driver }: Device): string {
  return `${parentName ? ` on ${parentName}` : ''}${driver ? ` by ${driver}` : ''}`;
}

function deviceState(device: Device): string {
  const users = device.openCount > 0 ? `, open by ${openers(device)}` : '';
  return `${device.state}${device.isWaiting ? ', removal waiting for users' : ''}${users}`;
}

function vmState({ state, devices }: Vm): string {
  const names = [...devices].map(({ name }) => name).join(', ');
  return names ? `${state}, with ${names}` : state;
}

function timeline(timeline: Timeline, start: number): string[] {
  const lines = entryLines(timeline.entries(), start);
  if (timeline.omitted > 0) {
    lines.push(`  ${timeline.omitted} events in the middle of this lifecycle were not kept`);
  }
  return lines;
}

/** One line for each event: time, process, event. */
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
    const { id, rule, severity, title, firstSeen, resolvedAt, ongoing, count } = violation;
    const end = resolvedAt ? `resolved ${since(resolvedAt, startedAt)}` : ongoing ? 'open' : '';
    const often = count > 1 ? occurrenceWords(violation) : '';
    const facts = [severity, end, often, violation.quality].filter((fact) => fact !== '');
    return [
      '',
      `VIOLATION ${id} ${rule} (${facts.join(', ')}): ${title}`,
      `  found ${since(firstSeen, startedAt)}: ${violation.message}`,
      ...attributionLines(violation).map((line) => `  ${line}`),
      ...entryLines(violation.evidence, startedAt),
    ];
  });
}

function losses({ pipeline }: Replayed): string[] {
  const lost = Object.entries(pipeline.state.losses).filter(([, count]) => count > 0);
  const lines = lost.map(([reason, count]) => `  ${count} ${reason}`);
  for (const [rule, count] of pipeline.rules.suppressed) {
    lines.push(
      `  ${count} findings of ${rule} were suppressed: the history of the object is incomplete`,
    );
  }
  return lines.length > 0 ? ['', 'lost events', ...lines] : ['', 'no events were lost'];
}

/** Points that were not watched, and the rules that may have missed something because of it. */
function blindSpots({ playback, pipeline }: Replayed): string[] {
  const unwatched = playback.coverage.unwatched(playback.now);
  const lines = unwatched.map(
    ({ point, reason, lasted }) => `  ${point.padEnd(26)} for ${seconds(lasted)}: ${reason}`,
  );
  const rules = pipeline
    .ruleStates(alwaysWatched(playback))
    .filter(({ active, impossible }) => !active && impossible === undefined)
    .map((rule) => `  ${rule.id.padEnd(26)} ${whyInactive(rule)}`);
  return [
    ...(lines.length > 0
      ? ['', 'points that were not watched all the time', ...lines]
      : ['', 'every point was watched all the time']),
    ...(rules.length > 0 ? ['', 'rules that may have missed something', ...rules] : []),
  ];
}

function alwaysWatched({ coverage, now }: Playback) {
  const unwatched = new Set(coverage.unwatched(now).map(({ point }) => point));
  return coverage.points.filter(({ point }) => !unwatched.has(point));
}

function* each<T, U>(objects: Iterable<T>, view: (object: T) => U): Generator<U> {
  for (const object of objects) yield view(object);
}

/** In the order in which they were first seen. */
function inOrder<T extends TrackedObject>(objects: Iterable<T>): T[] {
  return [...objects].sort((a, b) => a.serial - b.serial);
}
