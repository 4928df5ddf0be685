/** Prints the steps of a replay while it runs, one line each. */
import { pino } from 'pino';
import type { Sink } from '../../src/engine/sink.ts';
import { inColumns } from '../../src/telemetry/columns.ts';
import { LifecycleLog } from '../../src/telemetry/lifecycle-log.ts';
import type { IngestState } from '../runtime/ingest-state.ts';
import { output } from './output.ts';
import { since } from './replay-report.ts';

/**
 * @param start ns on the recording's boot-time clock
 * @param wallOffset ns from that clock to 1970
 */
export function liveSinks(
  { world, ids }: IngestState,
  start: number,
  wallOffset: number,
): readonly Sink[] {
  const print = (text: string) => output.print(`${since(world.now, start).padStart(15)}  ${text}`);
  const write = (line: string) => {
    const { msg, evidence = [] } = JSON.parse(line) as { msg: string; evidence?: string[] };
    print([inColumns(msg), ...evidence].join('\n    '));
  };
  return [
    { loss: (reason, count) => print(`lost     ${count} events (${reason})`) },
    new LifecycleLog(pino({ base: null, timestamp: false }, { write }), ids, () => wallOffset),
  ];
}
