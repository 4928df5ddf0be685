/** `vfioscope replay`: runs a recording through the same pipeline as a live agent. */
import { setTimeout as later } from 'node:timers/promises';
import { inspect } from 'node:util';
import type { Header } from '../../src/capture/format.ts';
import { Player } from '../../src/capture/player.ts';
import { RecordingReader } from '../../src/capture/reader.ts';
import { recordedTraits } from '../../src/capture/traits.ts';
import type { Rule } from '../../src/engine/rule.ts';
import { runOf } from '../../src/engine/run.ts';
import type { Sink } from '../../src/engine/sink.ts';
import type { Host } from '../../src/events/host.ts';
import type { PointStatus } from '../../src/events/source.ts';
import { problemText } from '../../src/problem.ts';
import { loadConfig } from '../config/load.ts';
import { IngestState } from '../runtime/ingest-state.ts';
import { Pipeline } from '../runtime/pipeline.ts';
import { Playback } from '../runtime/playback.ts';
import { engineOptions } from '../runtime/rule-options.ts';
import { jsonLines, output, printLines } from './output.ts';
import { documentOf, textLines } from './replay-report.ts';

/** Exit code: the output is valid, but the recording is truncated or damaged. */
export const EXIT_PARTIAL = 3;

/** The longest time of one timer, ms. */
const LONGEST_WAIT = 2 ** 30;

export interface ReplayOptions {
  readonly file: string;
  readonly config: string | undefined;
  readonly json: boolean;
  /** At the recorded speed, with a line for each step of a lifecycle. */
  readonly realtime: boolean;
}

/** @returns the exit code @throws {UserProblem} when nothing of the file can be replayed */
export async function replay({ file, config, json, realtime }: ReplayOptions): Promise<number> {
  const settings = await loadConfig(config, []);
  const reader = new RecordingReader(file);
  try {
    const player = new Player(reader);
    const { header } = reader;
    const host = hostOf(header, () => playback.coverage.points);
    const state = new IngestState({
      bootId: header.bootId,
      endedObjects: settings.retention.ended,
    });
    const sinks: Sink[] = [{ ruleError: reportRuleError }];
    if (realtime) {
      const { liveSinks } = await import('./replay-live.ts');
      sinks.push(...liveSinks(state, header.startedAt, header.clock.wall - header.clock.boot));
    }
    const run = runOf(header.bootId, header.startedAt);
    const pipeline = new Pipeline(state, {
      rules: { ...engineOptions(settings, host), run },
      sinks,
    });
    const playback = new Playback(pipeline, header.startedAt);
    let pausesSkippedAt: number | undefined;
    const step = () => {
      const { offset } = player;
      const continues = player.step(playback);
      if (playback.skippedFrom !== undefined) pausesSkippedAt ??= offset;
      return continues;
    };
    if (realtime) await playInTime(player, step, header.startedAt);
    else while (step());
    await pipeline.end();
    const replayed = { file, header, host, player, playback, pipeline, pausesSkippedAt };
    printLines(json ? jsonLines(documentOf(replayed)) : textLines(replayed));
    if (!player.problem) return 0;
    output.complain(problemText(player.problem));
    return EXIT_PARTIAL;
  } finally {
    reader.close();
  }
}

function reportRuleError({ id }: Rule, error: unknown): void {
  output.complain(
    `the rule ${id} failed and may miss violations. This is a bug: please report it. ${inspect(error)}`,
  );
}

/**
 * The host of a recording: its processes are gone, so their files cannot be asked for.
 * @param points those that are watched at the time that is played
 */
export function hostOf(header: Pick<Header, 'traits'>, points: () => readonly PointStatus[]): Host {
  let from: readonly PointStatus[] = [];
  let traits = recordedTraits(header, from);
  return {
    get traits() {
      if (points() !== from) {
        from = points();
        traits = recordedTraits(header, from);
      }
      return traits;
    },
    pidsWithKvmFiles: () => undefined,
  };
}

/** @param start ns on the recording's boot-time clock */
async function playInTime(player: Player, step: () => boolean, start: number): Promise<void> {
  const began = performance.now();
  do {
    const due = ((player.upcoming ?? start) - start) / 1e6;
    for (;;) {
      const wait = due - (performance.now() - began);
      if (wait < 1) break;
      await later(Math.min(wait, LONGEST_WAIT));
    }
  } while (step());
}
