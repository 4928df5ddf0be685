/** `vfioscope record`: writes events to a file, to be replayed later or elsewhere. */
import { arch, release } from 'node:os';
import { type Header, RECORDED_WIRE } from '../../src/capture/format.ts';
import { Recorder } from '../../src/capture/recorder.ts';
import { isWatched, type PointStatus, type SourceListener } from '../../src/events/source.ts';
import type { Traits } from '../../src/events/traits.ts';
import { bootId, bootTime, wallOffset } from '../../src/kernel/os.ts';
import { plain } from '../../src/plain.ts';
import { UserProblem } from '../../src/problem.ts';
import { SECOND } from '../../src/units.ts';
import { loadConfig, type Override } from '../config/load.ts';
import { openSource } from '../runtime/live.ts';
import { besidePinned } from '../runtime/pinning.ts';
import { stopSignal } from '../signals.ts';
import { VERSION } from '../version.ts';
import { output } from './output.ts';

export interface RecordOptions {
  readonly file: string;
  /** Whether an existing file may be replaced. */
  readonly force: boolean;
  readonly ringBytes: number;
}

/** A source of records that is started and stopped. */
export interface Source {
  points(): readonly PointStatus[];
  readonly traits: { readonly values: Traits };
  start(listener: SourceListener): void;
  stop(): Promise<void>;
  close(): void;
}

export interface RecordHostOptions {
  readonly file: string;
  readonly force: boolean;
  readonly config: string | undefined;
  readonly overrides: readonly Override[];
  readonly probeDirectory: string;
}

/** Records this host until a signal stops it. @throws {UserProblem} when it cannot record, or cannot continue */
export async function recordHost(options: RecordHostOptions): Promise<void> {
  const { file, force, probeDirectory } = options;
  const read = await loadConfig(options.config, options.overrides);
  // A recording contains what happens while it runs; a pinned ring contains earlier events.
  // It is complete or says what it lacks: nothing is detached while it is made.
  const budget = { ...read.budget, enabled: false };
  const config = { ...read, budget, pin: { ...read.pin, enabled: false } };
  const beside = besidePinned(config);
  if (beside) output.complain(beside);
  await record({ file, force, ringBytes: config.ring.bytes }, () =>
    openSource(config, probeDirectory),
  );
}

/**
 * Resolves when a signal stops it.
 * @param open attaches the probes
 * @throws {UserProblem} when nothing can be recorded, or writing fails later
 */
export async function record(options: RecordOptions, open: () => Source): Promise<void> {
  const { file, force, ringBytes } = options;
  if (file === '-') {
    throw new UserProblem(
      'recording.not-a-file',
      'a recording cannot be written to the standard output',
      'name a file',
    );
  }
  // A signal must not end the process while probes are attached: what tracefs has of them would stay.
  const signalled = stopSignal();
  const source = open();
  let recorder: Recorder;
  try {
    const header = describe(source, ringBytes);
    recorder = new Recorder({ path: file, header, overwrite: force });
  } catch (error) {
    source.close();
    throw error;
  }
  const began = recorder.until;
  const failed = new Promise<void>((resolve) => {
    recorder.onProblem = () => resolve();
  });
  try {
    source.start(recorder);
    output.print(opening(file, source.points()));
    await Promise.race([signalled, failed]);
  } finally {
    await source.stop();
    source.close();
    recorder.end();
  }
  const text = summary(file, recorder, bootTime() - began);
  if (!recorder.problem) {
    output.print(text);
    return;
  }
  output.complain(text);
  throw recorder.problem;
}

function describe(source: Source, ringBytes: number): Header {
  const boot = bootTime();
  return {
    ...{ agent: VERSION, kernel: release(), arch: arch(), bootId: bootId() },
    clock: { boot, wall: boot + wallOffset() },
    startedAt: boot,
    ringBytes,
    points: [...source.points()],
    // JSON leaves out what is not known.
    traits: { ...source.traits.values } as Required<Header>['traits'],
    wire: RECORDED_WIRE,
  };
}

function opening(file: string, points: readonly PointStatus[]): string {
  const attached = points.filter(isWatched).length;
  const hint = attached < points.length ? ' (vfioscope doctor says why)' : '';
  return `recording ${attached} of ${points.length} points${hint} to ${plain(file)} until SIGINT (Ctrl-C) or SIGTERM`;
}

/** @param duration ns */
function summary(file: string, recorder: Recorder, duration: number): string {
  const { records, unwritten, bytes, ringFull, losses } = recorder;
  const lost = Object.entries({ unwritten, ring_full: ringFull, ...losses })
    .filter(([, count]) => count > 0)
    .map(([reason, count]) => `${count} (${reason})`);
  return [
    `recorded ${records - unwritten} records in ${(duration / SECOND).toFixed(1)} s: ${bytes} bytes in ${plain(file)}`,
    lost.length > 0 ? `lost events: ${lost.join(', ')}` : 'no events were lost',
  ].join('\n');
}
