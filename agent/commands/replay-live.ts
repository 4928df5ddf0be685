/** What happens in a replay, as lines while it happens. */
import { pino } from 'pino';
import { LifeLog } from '../../src/telemetry/life-log.ts';
import type { Pipeline } from '../runtime/pipeline.ts';
import { since } from './replay-report.ts';

/** @param start ns on the recording's boot-time clock */
export function tellLive(pipeline: Pipeline, start: number): void {
  const say = (text: string) =>
    console.log(`${since(pipeline.world.now, start).padStart(15)}  ${text}`);
  const write = (line: string) => {
    const { msg, evidence = [] } = JSON.parse(line) as { msg: string; evidence?: string[] };
    say([msg, ...evidence].join('\n    '));
  };
  const log = new LifeLog(pino({ base: null, timestamp: false }, { write }), pipeline.ids);
  pipeline.addSink(log.take);
  pipeline.rules.onViolation = (violation, change) => log.violation(violation, change);
  pipeline.onLoss = (reason, count) => say(`lost     ${count} events (${reason})`);
}
