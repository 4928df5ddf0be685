/** `vfioscope record`: keeps what the kernel says, to be replayed later or elsewhere. */
import { arch, release } from 'node:os';
import type { Header } from '../../src/capture/format.ts';
import { Recorder } from '../../src/capture/recorder.ts';
import { isWatched, type PointStatus, type SourceListener } from '../../src/events/source.ts';
import { WIRE } from '../../src/events/wire.gen.ts';
import { bootId, bootTime, wallOffset } from '../../src/kernel/os.ts';
import { UserProblem } from '../../src/problem.ts';
import { loadConfig, type Override } from '../config/load.ts';
import { openSource } from '../runtime/live.ts';
import { besidePinned } from '../runtime/pinning.ts';
import { VERSION } from '../version.ts';

export interface RecordOptions {
  readonly file: string;
  /** Whether a file that is there may be replaced. */
  readonly force: boolean;
  readonly ringBytes: number;
}

/** A source that can be told to begin and to end. */
export interface Source {
  points(): readonly PointStatus[];
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

/** Records this host until it is told to stop. @throws {UserProblem} when that cannot be, or no more */
export async function recordHost(options: RecordHostOptions): Promise<void> {
  const { file, force, probeDirectory } = options;
  const read = await loadConfig(options.config, options.overrides);
  // A recording is of what happens meanwhile; a ring that others go on with has a past.
  const config = { ...read, pin: { ...read.pin, enabled: false } };
  const beside = besidePinned(config);
  if (beside) console.error(beside);
  await record({ file, force, ringBytes: config.ring.bytes }, () =>
    openSource(config, probeDirectory),
  );
}

/**
 * Resolves when it was told to stop.
 * @param open attaches the probes; called when the file's name is known to be possible
 * @throws {UserProblem} when nothing can be recorded, or no more
 */
export async function record(options: RecordOptions, open: () => Source): Promise<void> {
  const { file, force, ringBytes } = options;
  if (file === '-') {
    throw new UserProblem(
      'a recording cannot be written to the standard output',
      'give the name of a file',
    );
  }
  const source = open();
  let recorder: Recorder;
  try {
    const header = describe(source.points(), ringBytes);
    recorder = new Recorder({ path: file, header, overwrite: force });
  } catch (error) {
    source.close();
    throw error;
  }
  const began = recorder.until;
  const stopped = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.once(signal, () => resolve());
    }
    recorder.onProblem = () => resolve();
  });
  try {
    source.start(recorder);
    console.log(opening(file, source.points()));
    await stopped;
  } finally {
    await source.stop();
    source.close();
    recorder.end();
  }
  console.log(summary(file, recorder, bootTime() - began));
  if (recorder.problem) throw recorder.problem;
}

function describe(points: readonly PointStatus[], ringBytes: number): Header {
  const boot = bootTime();
  return {
    ...{ agent: VERSION, kernel: release(), arch: arch(), bootId: bootId() },
    clock: { boot, wall: boot + wallOffset() },
    startedAt: boot,
    ringBytes,
    points: [...points],
    wire: WIRE as Header['wire'],
  };
}

function opening(file: string, points: readonly PointStatus[]): string {
  const seen = points.filter(isWatched).length;
  const hint = seen < points.length ? ' (vfioscope doctor tells more)' : '';
  return `recording ${seen} of ${points.length} points${hint} to ${file} until SIGINT (Ctrl-C) or SIGTERM`;
}

/** @param duration ns */
function summary(file: string, recorder: Recorder, duration: number): string {
  const { records, bytes, ringFull, losses } = recorder;
  const lost = Object.entries({ ring_full: ringFull, ...losses })
    .filter(([, count]) => count > 0)
    .map(([reason, count]) => `${count} (${reason})`);
  return [
    `recorded ${records} records in ${(duration / 1e9).toFixed(1)} s: ${bytes} bytes in ${file}`,
    lost.length > 0 ? `lost ${lost.join(', ')}` : 'lost nothing',
  ].join('\n');
}
