/** From records to state, violations and sinks: the part that is the same for every source. */
import { type EngineOptions, RuleEngine } from '../../src/engine/engine.ts';
import type { Sink } from '../../src/engine/sink.ts';
import type { EventCursor } from '../../src/events/cursor.ts';
import type { Host } from '../../src/events/host.ts';
import { pointName } from '../../src/events/points.ts';
import type {
  BudgetReport,
  LossReason,
  PointStatus,
  Restored,
  SnapshotReport,
  SourceListener,
  UncountedLoss,
} from '../../src/events/source.ts';
import { FLAG } from '../../src/events/wire.gen.ts';
import { Dispatcher } from '../../src/lifecycle/dispatcher.ts';
import type { IngestState } from './ingest-state.ts';
import { type RuleState, ruleStates } from './rule-options.ts';

export interface PipelineOptions {
  readonly rules: Omit<EngineOptions, 'sinks' | 'traceIdOf'>;
  /** Get everything that the pipeline finds, in this order; an event before the rules judge it. */
  readonly sinks: readonly Sink[];
}

export class Pipeline implements SourceListener {
  readonly state: IngestState;
  /** Applies events to the state. */
  readonly dispatcher: Dispatcher;
  readonly rules: RuleEngine;
  readonly #sinks: readonly Sink[];
  /** Those that take events. */
  readonly #eventSinks: readonly Required<Pick<Sink, 'event'>>[];
  readonly #host: Host;
  /** Rules that miss points that the budget has detached. */
  #withoutDetached: ReadonlySet<string> = new Set();

  constructor(state: IngestState, { rules, sinks }: PipelineOptions) {
    this.state = state;
    this.dispatcher = new Dispatcher(state.world);
    this.#sinks = sinks;
    this.#eventSinks = sinks.filter(takesEvents);
    this.rules = new RuleEngine(state.world, { ...rules, sinks, traceIdOf: state.ids.traceIdOf });
    this.#host = rules.host;
  }

  /** Processes one record. An arrow function, because sources call it for each record. */
  readonly record = (event: EventCursor): void => {
    const { sequence } = this.state;
    if ((event.flags & FLAG.EVENT_SNAPSHOT) === 0) {
      const missing = sequence.observe(event);
      if (missing > 0) this.#lose('ring_full', missing);
    }
    if (pointName(event.point) === undefined) {
      this.#lose('malformed', 1);
      return;
    }
    const transition = this.dispatcher.apply(event);
    for (let i = 0; i < this.#eventSinks.length; i++) this.#eventSinks[i].event(transition);
    this.rules.check(transition);
  };

  lost(reason: UncountedLoss, count: number): void {
    this.#lose(reason, count);
  }

  /** Records that did not arrive by now are lost, and time passes for the rules. */
  caughtUp(now: number, attempts: readonly number[]): void {
    for (let cpu = 0; cpu < attempts.length; cpu++) {
      const missing = this.state.sequence.settle(cpu, attempts[cpu]);
      if (missing > 0) this.#lose('ring_full', missing);
    }
    this.rules.tick(now);
  }

  watching(points: readonly PointStatus[], restored?: Restored): void {
    const states = this.ruleStates(points);
    const active = new Set(states.filter((rule) => rule.active).map(({ id }) => id));
    this.rules.activate((rule) => active.has(rule.id));
    if (restored) this.#restored(restored);
    this.#withoutDetached = new Set(
      states.filter(({ detached }) => detached.length > 0).map(({ id }) => id),
    );
    for (const sink of this.#sinks) sink.coverage?.(points);
  }

  /** What began before and ends meanwhile will not be seen to end. */
  #detached({ points, lifecycle }: BudgetReport): void {
    const { world } = this.state;
    if (lifecycle) world.lose();
    else {
      world.calls.sweep(({ point }) => {
        const name = pointName(point);
        return name !== undefined && points.includes(name);
      });
    }
  }

  /** What happened while points were detached is not known. */
  #restored({ since, lifecycle }: Restored): void {
    if (lifecycle) this.state.world.lose();
    else this.rules.observeFrom(({ id }) => this.#withoutDetached.has(id), since);
  }

  budget(report: BudgetReport): void {
    if (report.change === 'detached') this.#detached(report);
    for (const sink of this.#sinks) sink.budget?.(report, [...this.#withoutDetached]);
  }

  snapshot(report: SnapshotReport): void {
    for (const sink of this.#sinks) sink.snapshot?.(report);
  }

  /** Lets time pass for the sinks, also while events arrive faster than they are read. @param now ns */
  tick(now: number): void {
    for (const sink of this.#sinks) sink.tick?.(now);
  }

  /** Lets the sinks write out what they have buffered. */
  async end(): Promise<void> {
    for (const sink of this.#sinks) await sink.end?.();
  }

  /** What each of its rules can do where these points are watched. */
  ruleStates(points: readonly PointStatus[]): RuleState[] {
    return ruleStates(points, this.#host.traits, this.rules.rules);
  }

  /** Events are missing: from here on, the state of live objects may be wrong. */
  #lose(reason: LossReason, count: number): void {
    const { state } = this;
    state.losses[reason] += count;
    state.world.lose();
    state.lastLossAt = state.world.now;
    for (const sink of this.#sinks) sink.loss?.(reason, count);
  }
}

function takesEvents(sink: Sink): sink is Sink & Required<Pick<Sink, 'event'>> {
  return sink.event !== undefined;
}
