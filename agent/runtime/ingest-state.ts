/** The state that a pipeline maintains. It exists before the pipeline, because sinks read it. */
import { SequenceCheck } from '../../src/events/sequence.ts';
import type { LossReason } from '../../src/events/source.ts';
import { World } from '../../src/lifecycle/world.ts';
import { TraceIds } from '../../src/telemetry/trace-ids.ts';

export interface IngestOptions {
  /** Of the kernel that the records come from. */
  readonly bootId: string;
  /** How many ended devices, and as many VMs, are kept. */
  readonly endedObjects: number;
  /** ns after which a span is cut, see segments.ts; undefined for the default. */
  readonly maxSpanAge?: number;
  /** Records that found the ring full so far; a recording does not know. */
  readonly dropped?: () => number;
  /** The next sequence number of each CPU, where an earlier agent has read the same ring. */
  readonly resumeAt?: readonly number[];
}

export class IngestState {
  readonly world: World;
  readonly ids: TraceIds;
  readonly sequence = new SequenceCheck();
  readonly losses: Record<LossReason, number> = {
    ring_full: 0,
    probe_missed: 0,
    calls_full: 0,
    unreadable: 0,
    malformed: 0,
  };
  /** ns on the boot-time clock when a loss was last found, 0 for never. */
  lastLossAt = 0;

  constructor({ bootId, endedObjects, maxSpanAge, dropped, resumeAt = [] }: IngestOptions) {
    const { sequence } = this;
    sequence.resumeAt(resumeAt);
    // A dropped record shows as a gap only when the next record of its CPU arrives.
    const isLosing = dropped && (() => dropped() > sequence.lost);
    this.world = new World({ endedObjects, ...(isLosing ? { isLosing } : {}) });
    this.ids = new TraceIds(bootId, this.world, maxSpanAge);
  }
}
