/** Ids for spans that are chosen beforehand; OpenTelemetry asks for them while it starts a span. */
import type { IdGenerator } from '@opentelemetry/sdk-trace';

export class ChosenIds implements IdGenerator {
  /** Of the span that is started next. */
  next = { traceId: '', spanId: '' };

  generateTraceId(): string {
    return this.next.traceId;
  }

  generateSpanId(): string {
    return this.next.spanId;
  }
}
