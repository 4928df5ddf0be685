/** For tests: recorded scenarios, and a listener that writes down every call. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Header, RECORDED_WIRE } from '../../src/capture/format.ts';
import { Player } from '../../src/capture/player.ts';
import { RecordingReader } from '../../src/capture/reader.ts';
import { Recorder } from '../../src/capture/recorder.ts';
import { EventCursor } from '../../src/events/cursor.ts';
import type { PointStatus, SourceListener, UncountedLoss } from '../../src/events/source.ts';
import { EVENT, FLAG, WIRE } from '../../src/events/wire.gen.ts';
import type { UserProblem } from '../../src/problem.ts';
import { LINUX_6_12 } from '../../src/scenario/kernels.ts';
import { Scenario } from '../../src/scenario/scenario.ts';

export type { Scenario };

/** When scenarios begin, ns on the boot-time clock. */
export const START = 1000e9;

export const POINTS: readonly PointStatus[] = [
  {
    ...{ point: 'mdev.create', module: 'mdev', description: 'made', state: 'attached' },
    ...{ symbol: 'mdev_device_create', method: 'kprobe', missed: 0, limited: false },
  },
  {
    ...{ point: 'kvm.get', module: 'kvm', description: 'a reference', state: 'failed' },
    ...{ reason: 'this kernel has no function kvm_get_kvm', missed: 0, limited: false },
  },
];

export const HEADER: Header = {
  traits: LINUX_6_12 as Required<Header>['traits'],
  ...{ agent: '0.1.0', kernel: '6.12.57+deb13-amd64', arch: 'x64' },
  bootId: '00112233-4455-6677-8899-aabbccddeeff',
  clock: { boot: START, wall: 1.763e18 },
  startedAt: START,
  ringBytes: 1 << 20,
  points: [...POINTS],
  wire: structuredClone(RECORDED_WIRE),
};

/** Calls as text, with the bytes of records. */
export class Notes implements SourceListener {
  readonly calls: string[] = [];

  record(event: EventCursor): void {
    const from = event.words.byteOffset + event.word * 4;
    const length = event.isNamed ? WIRE.namedSize : WIRE.eventSize;
    const bytes = Buffer.from(event.words.buffer, from, length);
    this.calls.push(`record ${bytes.toString('hex')}`);
  }

  lost(reason: UncountedLoss, count: number): void {
    this.calls.push(`lost ${count} ${reason}`);
  }

  caughtUp(now: number, attempts: readonly number[]): void {
    this.calls.push(`caughtUp ${now} ${attempts}`);
  }

  watching(points: readonly PointStatus[]): void {
    this.calls.push(`watching ${JSON.stringify(points)}`);
  }

  /** Records only. */
  get records(): string[] {
    return this.calls.filter((call) => call.startsWith('record'));
  }
}

/** A directory that is gone when the tests of a file are through. */
export function scratch(): string {
  const directory = mkdtempSync(join(tmpdir(), 'vfioscope-'));
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** A recorder of a file that may be there already. */
export function recorderOf(path: string, header: Partial<Header> = {}): Recorder {
  return new Recorder({ path, header: { ...HEADER, ...header }, overwrite: true });
}

/** Gives a scenario to a listener as a live source would. */
export function playTo(listener: SourceListener, run: (scenario: Scenario) => void): void {
  const scenario = new Scenario();
  run(scenario);
  let attempts = 0;
  for (const step of scenario.steps) {
    if (typeof step === 'number') listener.caughtUp(step, [attempts]);
    else if (step instanceof Uint8Array) {
      const event = new EventCursor(step.buffer as ArrayBuffer);
      if ((event.flags & FLAG.EVENT_SNAPSHOT) === 0) attempts++;
      listener.record(event);
    } else if (step === 'loss') listener.lost('probe_missed', 1);
  }
}

/** Records a scenario, with a clean end. */
export function recordScenario(
  path: string,
  run: (scenario: Scenario) => void,
  header: Partial<Header> = {},
): Recorder {
  const recorder = recorderOf(path, header);
  playTo(recorder, run);
  recorder.end();
  return recorder;
}

/** Plays a file to its end. */
export function played(path: string): { readonly notes: Notes; readonly problem?: UserProblem } {
  const reader = new RecordingReader(path);
  try {
    const player = new Player(reader);
    const notes = new Notes();
    while (player.step(notes));
    return player.problem ? { notes, problem: player.problem } : { notes };
  } finally {
    reader.close();
  }
}

/** The n-th of many records that come at the same pace. */
export function recordNumber(n: number, cursor: EventCursor): EventCursor {
  const time = START + n * 1000;
  const { words } = cursor;
  words[EVENT.time >> 2] = time % 2 ** 32;
  words[(EVENT.time >> 2) + 1] = time / 2 ** 32;
  words[EVENT.seq >> 2] = n;
  return cursor;
}
