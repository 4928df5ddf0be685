/** From records to lives and violations: the part that is the same for every source. */
import type { EventCursor } from '../../src/events/cursor.ts';
import { SequenceCheck } from '../../src/events/sequence.ts';
import type { PointStatus, SourceListener, UncountedLoss } from '../../src/events/source.ts';
import { FLAG } from '../../src/events/wire.gen.ts';
import type { Moment } from '../../src/lifecycle/moment.ts';
import { MOMENT_COUNT, momentIndex, pointName } from '../../src/lifecycle/points.ts';
import { World, type WorldOptions } from '../../src/lifecycle/world.ts';
import { type EngineOptions, RuleEngine } from '../../src/rules/engine.ts';
import type { KernelVersion } from '../../src/rules/rule.ts';
import { LifeIds } from '../../src/telemetry/life-ids.ts';
import { type RuleState, ruleStates } from './rule-options.ts';

/** Sees each moment before the rules judge it, so that a log reads in order; keeps nothing of it. */
export type Sink = (moment: Moment) => void;

/** Why events did not arrive. */
export type LossReason = 'ring_full' | UncountedLoss;

export class Pipeline implements SourceListener {
  readonly world: World;
  readonly ids: LifeIds;
  readonly rules: RuleEngine;
  readonly sequence = new SequenceCheck();
  /** Events by moment index. */
  readonly events = new Float64Array(MOMENT_COUNT);
  readonly losses: Record<LossReason, number> = {
    ring_full: 0,
    probe_missed: 0,
    calls_full: 0,
    unreadable: 0,
    malformed: 0,
  };
  /** What the source could last see. */
  points: readonly PointStatus[] = [];
  /** ns on the boot-time clock when events were last found lost, 0 if never. */
  lastLossAt = 0;
  onLoss: (reason: LossReason, count: number) => void = () => {};
  onWatching: (points: readonly PointStatus[]) => void = () => {};
  readonly #sinks: Sink[] = [];
  readonly #kernel: KernelVersion;

  /** @param bootId of the kernel that the records are of */
  constructor(world: WorldOptions, rules: EngineOptions, bootId: string) {
    this.world = new World(world);
    this.ids = new LifeIds(bootId, this.world);
    this.rules = new RuleEngine(this.world, { ...rules, traceIdOf: this.ids.traceIdOf });
    this.#kernel = rules.host.kernel;
  }

  addSink(sink: Sink): void {
    this.#sinks.push(sink);
  }

  /** Takes one record in. An arrow function, because sources call it for each record. */
  readonly record = (event: EventCursor): void => {
    if ((event.flags & FLAG.EVENT_SEEN) === 0) {
      const missing = this.sequence.observe(event);
      if (missing > 0) this.#lose('ring_full', missing);
    }
    if (pointName(event.point) === undefined) {
      this.#lose('malformed', 1);
      return;
    }
    this.events[momentIndex(event.point, event.isEnd)]++;
    const moment = this.world.apply(event);
    for (let i = 0; i < this.#sinks.length; i++) this.#sinks[i](moment);
    this.rules.check(moment);
  };

  lost(reason: UncountedLoss, count: number): void {
    this.#lose(reason, count);
  }

  /** What did not arrive by now never will, and time passes for the rules. */
  caughtUp(now: number, attempts: readonly number[]): void {
    for (let cpu = 0; cpu < attempts.length; cpu++) {
      const missing = this.sequence.settle(cpu, attempts[cpu]);
      if (missing > 0) this.#lose('ring_full', missing);
    }
    this.rules.tick(now);
  }

  watching(points: readonly PointStatus[]): void {
    this.points = points;
    const active = new Set(
      this.ruleStates(points)
        .filter((rule) => rule.active)
        .map(({ id }) => id),
    );
    this.rules.activate((rule) => active.has(rule.id));
    this.onWatching(points);
  }

  /** What each of its rules can do where these points are watched. */
  ruleStates(points: readonly PointStatus[]): RuleState[] {
    return ruleStates(points, this.#kernel, this.rules.rules);
  }

  /** Events are missing: from here on, lives that were going on may not be what they seem. */
  #lose(reason: LossReason, count: number): void {
    this.losses[reason] += count;
    this.world.lose();
    this.lastLossAt = this.world.now;
    this.onLoss(reason, count);
  }
}
