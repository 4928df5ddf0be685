/** A scenario runner whose traces and log records are kept in memory. */
import assert from 'node:assert/strict';
import {
  InMemoryLogRecordExporter,
  LoggerProvider,
  type ReadableLogRecord,
  SimpleLogRecordProcessor,
} from '@opentelemetry/sdk-logs';
import {
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import { RULES } from '../../src/catalogue.ts';
import { ChosenIds } from '../../src/telemetry/chosen-ids.ts';
import { TraceIds } from '../../src/telemetry/trace-ids.ts';
import { TraceOutput } from '../../src/telemetry/trace-output.ts';
import { LifecycleTraces } from '../../src/telemetry/traces.ts';
import { ScenarioRunner } from './scenario-runner.ts';

/** ns from boot to 1970: like any today, beyond what a double counts in single ns. */
export const OFFSET = Number(1_763_000_000_123_456_768n);
export const BOOT = '00112233-4455-6677-8899-aabbccddeeff';
export const BASH = { pid: 700, comm: 'bash' };
export const EEXIST = 17;
export const EBUSY = 16;

export const spanExporter = new InMemorySpanExporter();
export const logExporter = new InMemoryLogRecordExporter();

export class Traced extends ScenarioRunner {
  readonly ids;
  readonly traces: LifecycleTraces;

  /** @param maxSpanAge ns */
  constructor(boot = BOOT, maxSpanAge?: number) {
    const chosen = new ChosenIds();
    let ids: TraceIds | undefined;
    super({ rules: RULES, traceIdOf: (object) => ids?.traceIdOf(object) });
    ids = new TraceIds(boot, this.world, maxSpanAge);
    this.ids = ids;
    const spans = new TracerProvider({
      idGenerator: chosen,
      spanProcessors: [new SimpleSpanProcessor({ exporter: spanExporter })],
    });
    const records = new LoggerProvider({
      processors: [new SimpleLogRecordProcessor({ exporter: logExporter })],
    });
    const wallOffset = () => OFFSET;
    const { world } = this;
    const [tracer, logger] = [spans.getTracer('test'), records.getLogger('test')];
    const output = new TraceOutput({ wallOffset, tracer, chosen, logger });
    this.traces = new LifecycleTraces({ world, ids, output });
    this.sinks.push(this.traces);
  }

  /** The spans that have been sent, including those of objects that have ended. */
  spans(): ReadableSpan[] {
    this.flush();
    this.traces.end();
    return spanExporter.getFinishedSpans();
  }

  names(): string[] {
    return this.spans().map(({ name }) => name);
  }

  named(name: string): ReadableSpan {
    const [span, ...others] = this.spans().filter((one) => one.name === name);
    assert.ok(span && others.length === 0, `one span ${name} among ${this.names()}`);
    return span;
  }

  records(event: string): ReadableLogRecord[] {
    return logExporter.getFinishedLogRecords().filter(({ eventName }) => eventName === event);
  }
}

export function nanoseconds([seconds, rest]: readonly [number, number]): bigint {
  return BigInt(seconds) * 1_000_000_000n + BigInt(rest);
}

export function wholeLifecycle(runner: Traced): void {
  runner.run((scenario) => {
    const vm = scenario.createVm();
    const device = scenario.create(scenario.parent());
    scenario.close(scenario.open(device, { vm }));
    scenario.remove(device);
    scenario.closeVm(vm);
  });
}

export const idsOf = (spans: readonly ReadableSpan[]) =>
  spans.map((span) => `${span.name} ${span.spanContext().traceId} ${span.spanContext().spanId}`);

/** Forgets what was sent. */
export function forgetSent(): void {
  spanExporter.reset();
  logExporter.reset();
}
