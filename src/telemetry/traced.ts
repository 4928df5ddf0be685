/** For tests: a story whose traces and log records are kept in memory. */
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
import { RULES } from '../rules/catalogue.ts';
import { Telling } from '../rules/telling.ts';
import { ChosenIds } from './chosen-ids.ts';
import { LifeIds } from './life-ids.ts';
import { LifeTraces } from './traces.ts';

/** ns from boot to 1970: like any today, beyond what a double counts in single ns. */
export const OFFSET = Number(1_763_000_000_123_456_768n);
export const BOOT = '00112233-4455-6677-8899-aabbccddeeff';
export const BASH = { pid: 700, comm: 'bash' };
export const EEXIST = 17;
export const EBUSY = 16;

export const spanExporter = new InMemorySpanExporter();
export const logExporter = new InMemoryLogRecordExporter();

export class Traced extends Telling {
  readonly ids;
  readonly traces: LifeTraces;

  constructor(boot = BOOT) {
    const chosen = new ChosenIds();
    let ids: LifeIds | undefined;
    super({ rules: RULES, traceIdOf: (life) => ids?.traceIdOf(life) });
    ids = new LifeIds(boot, this.world);
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
    this.traces = new LifeTraces({ world, ids, wallOffset, tracer, chosen, logger });
    this.sink = this.traces.take;
    this.engine.onViolation = (violation, change) => this.traces.violated(violation, change);
  }

  /** The spans that have been sent; those of lives that are over, too. */
  spans(): ReadableSpan[] {
    this.live();
    this.traces.endOver();
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

export function wholeLife(telling: Traced): void {
  telling.tell((story) => {
    const vm = story.createVm();
    const device = story.create(story.parent());
    story.close(story.open(device, { vm }));
    story.remove(device);
    story.closeVm(vm);
  });
}

export const idsOf = (spans: readonly ReadableSpan[]) =>
  spans.map((span) => `${span.name} ${span.spanContext().traceId} ${span.spanContext().spanId}`);

/** Forgets what was sent. */
export function forgetSent(): void {
  spanExporter.reset();
  logExporter.reset();
}
