/** Runs the rules over transitions and ticks, and keeps the violations that they find. */

import type { Host } from '../events/host.ts';
import { type EventKind, KIND_COUNT, kindIndexOf } from '../events/points.ts';
import type { Device, Vm } from '../lifecycle/objects.ts';
import type { Quality, TrackedObject } from '../lifecycle/tracked-object.ts';
import type { Transition } from '../lifecycle/transition.ts';
import type { Snapshot, World } from '../lifecycle/world.ts';
import { SECOND } from '../units.ts';
import { Attributor } from './attribution.ts';
import { type Found, FoundByRule, occurrenceOf, restsOn, subjectOf } from './found.ts';
import { Memories } from './memory.ts';
import { messageOf, Occurrences } from './occurrences.ts';
import { withDevice, withProcess } from './processes.ts';
import {
  DEFAULT_DRIVERS,
  DEFAULT_THRESHOLDS,
  type DriverKnowledge,
  type Finding,
  isPossible,
  type Rule,
  type RuleContext,
  SEVERITIES,
  type Severity,
  type Thresholds,
} from './rule.ts';
import type { Change, Sink } from './sink.ts';
import { ViolationStore } from './store.ts';
import type { Violation } from './violation.ts';
import { hasWaiters } from './waiter-words.ts';
import type { Stall } from './waiters.ts';

export interface EngineOptions {
  readonly rules: readonly Rule[];
  readonly host: Host;
  readonly thresholds?: Thresholds;
  readonly drivers?: DriverKnowledge;
  /** The id of the trace of an object's lifecycle; undefined where its incarnation is not known. */
  readonly traceIdOf?: (object: Device | Vm) => string | undefined;
  /** Makes the ids of this run's violations differ from those of other runs; may be left out for a single run. */
  readonly run?: string;
  /** Get violations and the errors of rules, in this order. */
  readonly sinks?: readonly Sink[];
  /**
   * Whether the kernel has missed calls that were not reported as lost yet; asked before anything is
   * raised that rests on more than its own event. May cost system calls.
   */
  readonly hasMissed?: () => boolean;
  /** How many violations are kept: the least severe leave first, resolved ones before ongoing ones, then the oldest. */
  readonly limit?: number;
}

/** A rule, ready to be called. */
interface Installed {
  readonly found: FoundByRule;
  readonly context: RuleContext;
}

/** What a rule does at one event kind. */
interface Listener extends Installed {
  readonly listen: NonNullable<NonNullable<Rule['on']>[EventKind]>;
}

/** How often the attribution of an ongoing violation is renewed, ns. */
const ASK_AGAIN = 5 * SECOND;

export class RuleEngine {
  /**
   * Findings suppressed because the object's history is incomplete, or a snapshot delayed a close; by
   * rule. An ongoing one counts once for each object, however many ticks find it.
   */
  readonly suppressed = new Map<string, number>();
  /**
   * How often violations occurred, by "rule severity": one-shot ones each time, ongoing ones when they
   * begin, and both again when their severity rises.
   */
  readonly occurred = new Map<string, number>();

  /**
   * ns on the boot-time clock, 0 before the first tick: all events up to then have been processed,
   * and each rule has been asked what is wrong by then.
   */
  evaluatedUntil = 0;

  readonly rules: readonly Rule[];
  readonly #installed: Installed[];
  #active: Installed[] = [];
  /** Of the active rules, by kindIndex(). */
  #listeners: Listener[][] = [];
  readonly #host: Host;
  readonly #store: ViolationStore;
  readonly #world: World;
  readonly #attributor: Attributor;
  readonly #occurrences: Occurrences;
  readonly #run: string;
  readonly #sinks: readonly Sink[];
  readonly #hasMissed: () => boolean;
  /** Found during a host snapshot, until that has ended. */
  #deferred: {
    readonly by: FoundByRule;
    readonly finding: Finding;
    readonly snapshot: Snapshot;
  }[] = [];
  #count = 0;
  readonly #memories = new Memories();

  constructor(world: World, options: EngineOptions) {
    this.#world = world;
    this.rules = options.rules;
    this.#host = options.host;
    this.#store = new ViolationStore(options.limit ?? 1000);
    this.#run = options.run === undefined ? '' : `-${options.run}`;
    this.#sinks = options.sinks ?? [];
    this.#hasMissed = options.hasMissed ?? (() => false);
    this.#attributor = new Attributor(world, options.host);
    const traceIdOf = options.traceIdOf ?? (() => undefined);
    this.#occurrences = new Occurrences(world, options.host, this.#attributor, traceIdOf);
    this.#installed = options.rules.map((rule) => this.#install(rule, options));
    this.activate(() => true);
  }

  /** The rules of what can happen on this kernel, or may, where a trait that decides it is not known. */
  possible(): readonly Rule[] {
    return this.rules.filter((rule) => isPossible(rule, this.#host.traits) !== false);
  }

  /** From now on only these rules run: the others lack a point that they need. */
  activate(isActive: (rule: Rule) => boolean): void {
    this.#active = this.#installed.filter(({ found }) => isActive(found.rule));
    this.#listeners = Array.from({ length: KIND_COUNT }, () => []);
    for (const installed of this.#active) {
      for (const [kind, listen] of Object.entries(installed.found.rule.on ?? {})) {
        this.#listeners[kindIndexOf(kind as EventKind)].push({ ...installed, listen });
      }
    }
  }

  /**
   * The points that these rules need had been detached and are watched again.
   * @param since from here on they are watched completely, ns on the boot-time clock
   */
  observeFrom(isConcerned: (rule: Rule) => boolean, since: number): void {
    for (const { found } of this.#installed) if (isConcerned(found.rule)) found.since = since;
  }

  /** Gives a transition to the rules. */
  check(transition: Transition): void {
    if (this.#deferred.length > 0) this.#raiseDeferred();
    const listeners = this.#listeners[transition.index];
    for (let i = 0; i < listeners.length; i++) {
      const { listen, context, found } = listeners[i];
      try {
        listen(transition, context);
      } catch (error) {
        this.#reportError(found.rule, error);
      }
    }
  }

  /** Gives the time to the rules. @param now ns on the boot-time clock */
  tick(now: number): void {
    if (now > this.#world.now) this.#world.now = now;
    if (this.#deferred.length > 0) this.#raiseDeferred();
    this.#attributor.prepare(this.#stalls());
    for (const { found, context } of this.#active) {
      try {
        found.rule.onClock?.(context);
      } catch (error) {
        this.#reportError(found.rule, error);
      }
    }
    this.#memories.dropEnded();
    for (const { found } of this.#installed) {
      found.dropOver(now);
      // The event that would have resolved a violation may have been missed, but its object has ended.
      // A violation about what the object left behind was found again at this tick, and stays.
      for (const [subject, one] of found.ongoing) {
        if (subject?.isOver && one.violation.lastSeen < this.#world.now) this.#end(one);
      }
    }
    this.evaluatedUntil = now;
  }

  /** In the order in which they were raised. */
  list(): Violation[] {
    return this.#store.list();
  }

  find(id: string): Violation | undefined {
    return this.#store.find(id);
  }

  /** Ongoing violations in the order in which they began, including those that were dropped from the list. */
  open(): Violation[] {
    return this.#installed
      .flatMap(({ found }) => Array.from(found.ongoing.values(), ({ violation }) => violation))
      .sort((a, b) => a.firstSeen - b.firstSeen);
  }

  /** The calls that do not return, as far as the violations of the latest tick show. */
  #stalls(): Stall[] {
    return this.#installed.flatMap(({ found }) =>
      Array.from(found.ongoing.values()).flatMap(({ subject, violation: { blocked } }) =>
        blocked ? { subject, tid: blocked.task.tid } : [],
      ),
    );
  }

  #install(rule: Rule, options: EngineOptions): Installed {
    const world = this.#world;
    const memories = this.#memories;
    const found = new FoundByRule(rule);
    const context: RuleContext = {
      world,
      host: options.host,
      thresholds: options.thresholds ?? DEFAULT_THRESHOLDS,
      drivers: options.drivers ?? DEFAULT_DRIVERS,
      get now() {
        return world.now;
      },
      memory: (declaration) => memories.of(declaration),
      report: (finding) => this.#report(found, finding),
      resolve: (about) => this.#resolve(found, about),
      conclude: (finding) => this.#conclude(found, finding),
    };
    // From zero, so that the first violation is an increase, too.
    this.occurred.set(`${rule.id} ${rule.severity}`, 0);
    return { found, context };
  }

  /** One rule that fails does not stop the others. */
  #reportError(rule: Rule, error: unknown): void {
    for (const sink of this.#sinks) sink.ruleError?.(rule, error);
  }

  #report(by: FoundByRule, finding: Finding): void {
    const { rule } = by;
    const subject = subjectOf(finding);
    const quality = this.#occurrences.quality(finding);
    const { snapshot } = this.#world;
    if (finding.stillOpen && snapshot) {
      this.#deferred.push({ by, finding, snapshot });
      return;
    }
    const isSuppressed =
      (rule.basis === 'history' && quality !== 'observed') ||
      (rule.basis === 'state' && quality === 'unverified') ||
      (rule.basis !== 'event' && restsOn(finding) < by.since);
    if (isSuppressed) {
      this.#suppress(by, finding);
      return;
    }
    const severity = finding.severity ?? rule.severity;
    const occurrence = finding.ongoing ? undefined : occurrenceOf(finding);
    const known = occurrence === undefined ? by.ongoing.get(subject) : by.oneShot.get(occurrence);
    if (known) {
      if (finding.ongoing) this.#found(known, finding, severity);
      else this.#occurredAgain(known, finding, severity, quality);
      return;
    }
    if (rule.basis !== 'event' && this.#hasMissed()) {
      this.#suppress(by, finding);
      return;
    }
    by.suppressed.delete(subject);
    const now = this.#world.now;
    const attribution = this.#attributor.of(finding);
    const latest = this.#occurrences.of(finding, quality, attribution);
    const violation: Violation = {
      ...{ id: `v${++this.#count}${this.#run}`, rule: rule.id, title: rule.title, severity },
      ...{ firstSeen: now, lastSeen: now, count: 1 },
      processes: withProcess(latest.process),
      devices: withDevice(latest.device),
      ...{ ongoing: finding.ongoing ?? false, resolvedAt: 0 },
      ...latest,
      ...attribution,
    };
    const hadWaiters = hasWaiters(violation.waiters);
    const found: Found = {
      ...{ violation, by, subject, occurrence },
      ...{ askedAt: now, hadWaiters, shelf: 0 },
    };
    if (occurrence === undefined) by.ongoing.set(subject, found);
    else by.oneShot.set(occurrence, found);
    this.#countOccurrence(rule.id, severity);
    this.#emit(violation, 'raised');
    const left = this.#store.add(found);
    if (!left) return;
    left.violation.evidence = [];
    // An ongoing violation stays known: it would be found again at the next tick, as another one.
    if (!left.violation.ongoing) left.by.forget(left);
  }

  /** After a host snapshot, raises what was found meanwhile and was not caused by the snapshot itself. */
  #raiseDeferred(): void {
    const { snapshot: now } = this.#world;
    const over = this.#deferred.filter(({ snapshot }) => snapshot !== now);
    if (over.length === 0) return;
    this.#deferred = this.#deferred.filter(({ snapshot }) => snapshot === now);
    for (const { by, finding, snapshot } of over) {
      if (finding.device && snapshot.delayedCloses.has(finding.device)) this.#suppress(by, finding);
      else this.#report(by, { ...finding, stillOpen: undefined });
    }
  }

  #suppress({ rule, suppressed }: FoundByRule, finding: Finding): void {
    const subject = subjectOf(finding);
    if (finding.ongoing) {
      const isKnown = suppressed.has(subject);
      suppressed.set(subject, this.#world.now);
      if (isKnown) return;
    }
    this.suppressed.set(rule.id, (this.suppressed.get(rule.id) ?? 0) + 1);
  }

  /** An ongoing violation that is found again is the same one, or escalates. */
  #found(found: Found, finding: Finding, severity: Severity): void {
    const { violation } = found;
    violation.lastSeen = this.#world.now;
    const worse = this.#renew(found, finding, severity);
    violation.message = messageOf(finding, violation, this.#world.now);
    const hadWaiters = found.hadWaiters;
    found.hadWaiters ||= hasWaiters(violation.waiters);
    if (worse) {
      violation.evidence = this.#occurrences.evidence(finding);
      this.#store.moved(found);
      this.#emit(violation, 'escalated');
    } else if (found.hadWaiters && !hadWaiters) {
      this.#emit(violation, 'waiters_found');
    }
  }

  /** All that is said of a one-shot violation is of its latest occurrence, which may be of another device. */
  #occurredAgain(found: Found, finding: Finding, severity: Severity, quality: Quality): void {
    const { violation } = found;
    violation.lastSeen = this.#world.now;
    violation.count++;
    const worse = this.#renew(found, finding, severity);
    Object.assign(violation, this.#occurrences.of(finding, quality, violation));
    violation.processes = withProcess(violation.process, violation.processes);
    violation.devices = withDevice(violation.device, violation.devices);
    if (!worse) this.#countOccurrence(violation.rule, severity);
    this.#store.moved(found);
    this.#emit(violation, worse ? 'escalated' : 'repeated');
  }

  /** Renews attribution and severity. @returns whether the severity rose */
  #renew(found: Found, finding: Finding, severity: Severity): boolean {
    const { violation } = found;
    const { now } = this.#world;
    const worse = SEVERITIES.indexOf(severity) > SEVERITIES.indexOf(violation.severity);
    if (worse || !finding.ongoing || now - found.askedAt >= ASK_AGAIN) {
      found.askedAt = now;
      Object.assign(violation, this.#attributor.of(finding));
      if (finding.ongoing) {
        violation.kernelLog = this.#occurrences.kernelLog(finding, violation.firstSeen);
      }
    }
    // The tasks of the host are read only since it was raised: the first answer is awaited from tick to tick.
    violation.waiters ??= this.#attributor.waiters(finding, violation.blocked);
    if (!worse) return false;
    this.#countOccurrence(violation.rule, severity);
    violation.severity = severity;
    return true;
  }

  /** On the path of every event that ends something: no text is made and nothing is allocated. */
  #resolve({ ongoing, suppressed }: FoundByRule, about: TrackedObject | undefined): void {
    if (suppressed.size > 0) suppressed.delete(about);
    if (ongoing.size === 0) return;
    const found = ongoing.get(about);
    if (found) this.#end(found);
  }

  /** The attribution stays as it was while the condition held: the host shows only what is now. */
  #conclude(by: FoundByRule, finding: Finding): void {
    const subject = subjectOf(finding);
    if (!by.ongoing.has(subject)) this.#report(by, finding);
    by.suppressed.delete(subject);
    const found = by.ongoing.get(subject);
    // A finding that rests on incomplete events was suppressed.
    if (!found) return;
    const { violation } = found;
    violation.lastSeen = this.#world.now;
    violation.message = messageOf(finding, violation, this.#world.now);
    violation.conclusion = violation.message;
    violation.evidence = this.#occurrences.evidence(finding);
    this.#end(found);
  }

  #end(found: Found): void {
    const { violation, by } = found;
    by.forget(found);
    violation.resolvedAt = this.#world.now;
    this.#store.moved(found);
    this.#emit(violation, 'resolved');
  }

  #emit(violation: Violation, change: Change): void {
    for (const sink of this.#sinks) sink.violation?.(violation, change);
  }

  #countOccurrence(rule: string, severity: Severity): void {
    const key = `${rule} ${severity}`;
    this.occurred.set(key, (this.occurred.get(key) ?? 0) + 1);
  }
}
