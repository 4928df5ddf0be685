/** `vfioscope replay`: runs a recording through everything that a live agent runs it through. */
import { setTimeout as later } from 'node:timers/promises';
import { Player } from '../../src/capture/player.ts';
import { RecordingReader } from '../../src/capture/reader.ts';
import type { UserProblem } from '../../src/problem.ts';
import type { Host } from '../../src/rules/rule.ts';
import { runOf } from '../../src/rules/run.ts';
import { loadConfig } from '../config/load.ts';
import { Pipeline } from '../runtime/pipeline.ts';
import { Playback } from '../runtime/playback.ts';
import { engineOptions } from '../runtime/rule-options.ts';
import { documentOf, textOf } from './replay-report.ts';

/** Exit code: what is shown is true, but the recording is not whole. */
export const EXIT_PARTIAL = 3;

/** No timer waits for longer, ms. */
const LONGEST_WAIT = 2 ** 30;

export interface ReplayOptions {
  readonly file: string;
  readonly config: string | undefined;
  readonly json: boolean;
  /** As fast as it happened, with a line for each step of a life. */
  readonly realtime: boolean;
}

/** @returns the exit code @throws {UserProblem} when nothing of the file can be replayed */
export async function replay({ file, config, json, realtime }: ReplayOptions): Promise<number> {
  const settings = await loadConfig(config, []);
  const reader = new RecordingReader(file);
  try {
    const player = new Player(reader);
    const { header } = reader;
    const host = hostOf(header.kernel);
    const pipeline = new Pipeline(
      { endedLives: settings.keep.ended },
      { ...engineOptions(settings, host), run: runOf(header.bootId, header.startedAt) },
      header.bootId,
    );
    pipeline.rules.onMistake = (rule, error) => {
      console.error(
        `vfioscope: the rule ${rule.id} failed, which is a bug: please report it`,
        error,
      );
    };
    const playback = new Playback(pipeline, header.startedAt);
    if (realtime) {
      const { tellLive } = await import('./replay-live.ts');
      tellLive(pipeline, header.startedAt);
      await playInTime(player, playback, header.startedAt);
    } else {
      while (player.step(playback));
    }
    const replayed = { file, header, host, player, playback, pipeline };
    console.log(json ? JSON.stringify(documentOf(replayed), null, 2) : textOf(replayed));
    return player.problem ? tell(player.problem) : 0;
  } finally {
    reader.close();
  }
}

/** Its processes are long gone, so nobody can tell what files they have. */
export function hostOf(kernel: string): Host {
  const [major = 0, minor = 0] = kernel.split('.').map((part) => Number.parseInt(part, 10) || 0);
  return { kernel: [major, minor], pidsWithKvmFiles: () => undefined };
}

/** @param start ns on the recording's boot-time clock */
async function playInTime(player: Player, playback: Playback, start: number): Promise<void> {
  const began = performance.now();
  do {
    const due = ((player.upcoming ?? start) - start) / 1e6;
    for (;;) {
      const wait = due - (performance.now() - began);
      if (wait < 1) break;
      await later(Math.min(wait, LONGEST_WAIT));
    }
  } while (player.step(playback));
}

/** @returns the exit code */
function tell({ message, next }: UserProblem): number {
  console.error(`vfioscope: ${message}`);
  console.error(`  what to do: ${next}`);
  return EXIT_PARTIAL;
}
