// SPDX-License-Identifier: Apache-2.0
/** A recording of a real kernel, sent to a collector as a running agent sends its observations. */
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { hostOf } from '../../agent/commands/replay.ts';
import { loadConfig } from '../../agent/config/load.ts';
import { IngestState } from '../../agent/runtime/ingest-state.ts';
import { type OtlpExport, startOtlpExport } from '../../agent/runtime/otlp-export.ts';
import { Pipeline } from '../../agent/runtime/pipeline.ts';
import { Playback } from '../../agent/runtime/playback.ts';
import { engineOptions } from '../../agent/runtime/rule-options.ts';
import { Player } from '../../src/capture/player.ts';
import { RecordingReader } from '../../src/capture/reader.ts';
import type { LifecycleTraces } from '../../src/telemetry/traces.ts';

const DIRECTORY = fileURLToPath(new URL('../recordings', import.meta.url));

export interface Line {
  readonly event?: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

/** The export under these variables and no others, and what it logs. */
export async function exportUnder(
  variables: Readonly<Record<string, string>>,
  file: Readonly<Record<string, unknown>> = {},
): Promise<{ readonly otlp: OtlpExport | undefined; readonly lines: Line[] }> {
  const { env } = process;
  for (const name of Object.keys(env)) if (name.startsWith('OTEL_')) delete env[name];
  Object.assign(env, variables);
  const lines: Line[] = [];
  const write = (line: string) => lines.push(JSON.parse(line) as Line);
  return { otlp: await startOtlpExport(pino({}, { write }), file), lines };
}

/** Plays a recording. @returns the pipeline that it went through */
export async function playTo(otlp: OtlpExport, kernel: string): Promise<Pipeline> {
  const reader = new RecordingReader(`${DIRECTORY}/${kernel}.vfr`);
  const { header } = reader;
  const host = hostOf(header, () => playback.coverage.points);
  const settings = await loadConfig(`${DIRECTORY}/settings.yaml`, []);
  const state = new IngestState({ bootId: header.bootId, endedObjects: 1000 });
  const traces = follow(otlp, state, header.clock.wall - header.clock.boot);
  const rules = engineOptions(settings, host);
  const pipeline = new Pipeline(state, { rules, sinks: [traces] });
  const player = new Player(reader);
  const playback = new Playback(pipeline, header.startedAt);
  while (player.step(playback)) pipeline.tick(state.world.now);
  reader.close();
  await pipeline.end();
  return pipeline;
}

/** @param offset ns from the boot-time clock to 1970 */
export function follow(
  otlp: OtlpExport,
  { world, ids }: IngestState,
  offset: number,
): LifecycleTraces {
  return otlp.follow({ world, ids, wallOffset: () => offset });
}
