/** Writes finished spans and log records through the API of OpenTelemetry, with ids and times of the kernel's objects. */
import {
  type Attributes,
  type Context,
  type Link,
  type Logger,
  ROOT_CONTEXT,
  SpanStatusCode,
  TraceFlags,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import { SECOND } from '../units.ts';
import type { ChosenIds } from './chosen-ids.ts';
import { LEVELS, type Level } from './severity.ts';
import type { SpanReference } from './trace-ids.ts';

const SAMPLED = { traceFlags: TraceFlags.SAMPLED };

export interface FinishedSpan extends SpanReference {
  readonly name: string;
  readonly parentId: string | undefined;
  /** ns on the boot-time clock. */
  readonly began: number;
  /** ns on the boot-time clock. */
  readonly ended: number;
  readonly attributes: Attributes;
  readonly links: readonly Link[];
  /** Why it failed; undefined if it did not. */
  readonly failure: string | undefined;
}

export interface TraceRecord {
  readonly eventName: string;
  /** ns on the boot-time clock. */
  readonly at: number;
  readonly level: Level;
  readonly body: string;
  readonly attributes: Attributes;
  /** The span that it is about; undefined if the object has no trace. */
  readonly span: SpanReference | undefined;
}

export interface TraceOutputOptions {
  /** ns from the boot-time clock to 1970, at a time on the boot-time clock */
  readonly wallOffset: (at: number) => number;
  readonly tracer: Tracer;
  /** Gives the tracer's spans their ids. */
  readonly chosen: ChosenIds;
  readonly logger: Logger;
}

export class TraceOutput {
  readonly #wallOffset: (at: number) => number;
  readonly #tracer: Tracer;
  readonly #chosen: ChosenIds;
  readonly #logger: Logger;

  constructor({ wallOffset, tracer, chosen, logger }: TraceOutputOptions) {
    this.#wallOffset = wallOffset;
    this.#tracer = tracer;
    this.#chosen = chosen;
    this.#logger = logger;
  }

  send(finished: FinishedSpan): void {
    const { name, traceId, spanId, parentId, began, ended, attributes, links, failure } = finished;
    this.#chosen.next = { traceId, spanId };
    const parent = contextOf(parentId === undefined ? undefined : { traceId, spanId: parentId });
    const options = { startTime: this.#hrTime(began), attributes, links: [...links] };
    const span = this.#tracer.startSpan(name, options, parent);
    if (failure) span.setStatus({ code: SpanStatusCode.ERROR, message: failure });
    span.end(this.#hrTime(Math.max(began, ended)));
  }

  /** The SDK adds the time at which the agent has read of it, which may be long after the event. */
  emit({ at, level, span, ...record }: TraceRecord): void {
    const { severityNumber, severityText } = LEVELS[level];
    this.#logger.emit({
      ...record,
      ...{ timestamp: this.#hrTime(at), severityNumber, severityText },
      context: contextOf(span),
    });
  }

  /** Seconds and ns are added separately: together they have more digits than a double. */
  #hrTime(at: number): [number, number] {
    const offset = this.#wallOffset(at);
    const seconds = Math.floor(at / SECOND) + Math.floor(offset / SECOND);
    const rest = (at % SECOND) + (offset % SECOND);
    return rest < SECOND ? [seconds, rest] : [seconds + 1, rest - SECOND];
  }
}

export function linkTo(span: SpanReference): Link {
  return { context: { ...span, ...SAMPLED } };
}

function contextOf(span: SpanReference | undefined): Context {
  return span ? trace.setSpanContext(ROOT_CONTEXT, { ...span, ...SAMPLED }) : ROOT_CONTEXT;
}
