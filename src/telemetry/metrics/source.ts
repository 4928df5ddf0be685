/** What the agent provides for the metrics. */
import type { RuleEngine } from '../../engine/engine.ts';
import type { LossReason, PointStatus } from '../../events/source.ts';
import type { Device, Vm } from '../../lifecycle/objects.ts';
import type { World } from '../../lifecycle/world.ts';
import type { CriticalViolation } from '../critical-violation.ts';
import type { ExportCounts } from '../export-counts.ts';
import type { InternalErrors } from '../internal-errors.ts';

/** The state and the functions that the metrics are read from. */
export interface MetricsSource {
  readonly version: string;
  readonly world: World;
  readonly rules: RuleEngine;
  /** Events lost, by reason. */
  readonly lost: Readonly<Record<LossReason, number>>;
  /** Seconds since 1970 of a time in ns on the boot-time clock. */
  sinceEpoch(at: number): number;
  /** ns on the boot-time clock. */
  now(): number;
  /** Records missing from the sequence numbers that were read, by CPU. */
  sequenceGaps(): readonly number[];
  cpuCounters(): readonly { cpu: number; attempts: number; dropped: number }[];
  ring(): { readonly bytes: number; readonly backlog: number };
  /** What all agents have read from a pinned ring, by index of the event kind; undefined if it is not pinned. */
  pinned(): { readonly lost: number; readonly counts: Float64Array } | undefined;
  probes(): readonly Pick<PointStatus, 'point' | 'state' | 'symbol' | 'method' | 'missed'>[];
  ruleStates(): readonly {
    readonly id: string;
    readonly active: boolean;
    /** Why its violation cannot occur on this kernel. */
    readonly impossible?: string;
  }[];
  /** What probes and agent cost; undefined where nothing is limited. */
  costs():
    | {
        /** ns of each point's programs. */
        readonly runTimes: ReadonlyMap<string, number>;
        /** Points that were detached at least once. */
        readonly everDetached: ReadonlySet<string>;
        /** Limit and latest cost are shares of one CPU. */
        readonly budgets: readonly {
          readonly budget: string;
          readonly limit: number;
          readonly used: number;
          readonly exceeded: boolean;
        }[];
      }
    | undefined;
  /** How many more mdevs of each type can be created on a parent, as far as its driver has answered. */
  availableInstances(parent: string): ReadonlyMap<string, number> | undefined;
  logLinesDropped(): number;
  /** Log lines that the rate limit of a rule suppressed, by its id. */
  readonly logLinesSuppressed: ReadonlyMap<string, number>;
  /** Records of the kernel's log that were not read, because there were too many. */
  kernelLogSkipped(): number;
  /** Spans, log records and data points for a collector, by outcome; undefined if none is configured. */
  readonly exported: ExportCounts | undefined;
  readonly internalErrors: InternalErrors;
  /** Critical violations since the host was booted, at most 100. */
  criticals(): readonly CriticalViolation[];
  /** Critical violations that are not among these, because there are later ones. */
  criticalsDropped(): number;
  /** Trace id of a device or VM, 32 hexadecimal digits; undefined while there is none. */
  traceIdOf(object: Device | Vm): string | undefined;
}
