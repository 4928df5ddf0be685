/**
 * What a source of records tells whoever listens. The kernel, a recording and a
 * generator all speak this, so that nothing behind can tell them apart.
 */
import type { EventCursor } from './cursor.ts';

/**
 * Why records are missing, where no gap in the sequence shows it. probe_missed: the
 * kernel could not run a program. calls_full: too many calls in flight. unreadable: an
 * object did not look as it should. malformed: a record is none.
 */
export type UncountedLoss = 'probe_missed' | 'calls_full' | 'unreadable' | 'malformed';

/** What one logical point is worth on the kernel that the records come from. */
export interface PointStatus {
  readonly point: string;
  readonly module: string;
  readonly meaning: string;
  /**
   * waiting: its module is not loaded. failed: it cannot work here; the reason says why.
   * implied: this kernel has no such step of its own, and another point tells it.
   */
  readonly state: 'attached' | 'implied' | 'waiting' | 'failed';
  /** The kernel function in use. */
  readonly symbol?: string;
  readonly method?: string;
  readonly reason?: string;
  /** Times the kernel could not run a program of this point. */
  readonly missed: number;
  /** Its function may block, and only a few calls in flight can be watched: tracefs is not writable. */
  readonly limited: boolean;
}

/** Whether calls at that point are seen, by a probe of its own or as another point tells them. */
export function isWatched({ state }: Pick<PointStatus, 'state'>): boolean {
  return state === 'attached' || state === 'implied';
}

/** What is watched, without what it took the kernel to count. */
export type PointState = Omit<PointStatus, 'missed'>;

export interface SourceListener {
  /** One record. The cursor is valid only during the call. */
  record(event: EventCursor): void;
  /** Records are missing that no sequence number will show. */
  lost(reason: UncountedLoss, count: number): void;
  /**
   * Everything written before has been handed over, and nothing else will come from
   * before `now`.
   * @param now ns on the boot-time clock
   * @param attempts records that each CPU, by its number, had tried to write
   */
  caughtUp(now: number, attempts: readonly number[]): void;
  /** From here on, this is what can be seen. */
  watching(points: readonly PointStatus[]): void;
}
