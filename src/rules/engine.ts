/** Runs the rules over the moments of the world and keeps what they found. */
import type { Moment } from '../lifecycle/moment.ts';
import type { Device, Life, Quality, Vm } from '../lifecycle/objects.ts';
import { MOMENT_COUNT, type MomentName, momentIndexOf } from '../lifecycle/points.ts';
import type { TimelineEntry } from '../lifecycle/timeline.ts';
import type { Look, World } from '../lifecycle/world.ts';
import { Culprits } from './culprits.ts';
import {
  DEFAULT_DRIVERS,
  DEFAULT_THRESHOLDS,
  type DriverKnowledge,
  type Finding,
  type Host,
  type Rule,
  type RuleContext,
  SECOND,
  type Severity,
  type Thresholds,
} from './rule.ts';
import type { Violation } from './violation.ts';
import { vmReference } from './words.ts';

export interface EngineOptions {
  readonly rules: readonly Rule[];
  readonly host: Host;
  readonly thresholds?: Thresholds;
  readonly drivers?: DriverKnowledge;
  /** The id of the trace that tells a life; undefined where nothing tells which life it is. */
  readonly traceIdOf?: (life: Device | Vm) => string | undefined;
  /** Tells the ids of this run's violations from those of others; may be left out where there is one. */
  readonly run?: string;
  /** How many violations are kept; the oldest resolved ones go first, then the oldest acts. */
  readonly limit?: number;
}

type Listener = (moment: Moment) => void;

const SEVERITIES: readonly Severity[] = ['info', 'warning', 'error', 'critical'];

/** A rule, ready to be called. */
interface Installed {
  readonly rule: Rule;
  /** By moment index. */
  readonly listeners: readonly (readonly [number, Listener])[];
  readonly clock: (() => void) | undefined;
}

/** How often the host is asked who is behind a condition that lasts, ns. */
const ASK_AGAIN = 5 * SECOND;

/** A violation that may still repeat or end, and the life that it is about. */
interface Live {
  readonly violation: Violation;
  readonly subject: Life | undefined;
  /** When the host was last asked about it. */
  askedAt: number;
}

/** escalated: it is known, and got more severe. */
export type Change = 'raised' | 'repeated' | 'escalated' | 'resolved';

export class RuleEngine {
  /** Called for each new violation, each repetition of an act, each that gets worse, and each that ends. */
  onViolation: (violation: Violation, change: Change) => void = () => {};
  /** Called each time that a rule itself fails; a mistake in one must not cost the others. */
  onMistake: (rule: Rule, error: unknown) => void = () => {};
  /**
   * Asked before anything is raised that rests on more than its own event: whether the kernel has
   * missed calls that nobody was told of yet. May cost system calls.
   */
  hasMissed: () => boolean = () => false;
  /** Findings not raised because the object's life was not seen whole, or a look put off a close, by rule. */
  readonly heldBack = new Map<string, number>();
  /** Violations ever raised, by rule and severity, as "rule severity". */
  readonly raised = new Map<string, number>();

  readonly rules: readonly Rule[];
  /** What each rule does, at which moments and as time passes. */
  readonly #installed: Installed[];
  /** Of the rules that can work: by moment index, and as time passes. */
  #listeners: Listener[][] = [];
  #clocks: (() => void)[] = [];
  /** By rule and object, while they may still repeat or end. */
  readonly #live = new Map<string, Live>();
  readonly #violations = new Map<string, Violation>();
  /** The key in #live of each kept violation. */
  readonly #keys = new Map<string, string>();
  readonly #limit: number;
  readonly #world: World;
  readonly #culprits: Culprits;
  readonly #traceIdOf: NonNullable<EngineOptions['traceIdOf']>;
  readonly #run: string;
  /** Found during a look that is not over, or was not when they were last asked for. */
  #waiting: { readonly rule: Rule; readonly finding: Finding; readonly look: Look }[] = [];
  #count = 0;

  constructor(world: World, options: EngineOptions) {
    this.#world = world;
    this.rules = options.rules;
    this.#limit = options.limit ?? 1000;
    this.#run = options.run === undefined ? '' : `-${options.run}`;
    this.#culprits = new Culprits(world, options.host);
    this.#traceIdOf = options.traceIdOf ?? (() => undefined);
    this.#installed = options.rules.map((rule) => this.#install(rule, options));
    this.activate(() => true);
  }

  /** From now on only these rules judge: the others lack something that they need. */
  activate(isActive: (rule: Rule) => boolean): void {
    this.#listeners = Array.from({ length: MOMENT_COUNT }, () => []);
    this.#clocks = [];
    for (const { rule, listeners, clock } of this.#installed) {
      if (!isActive(rule)) continue;
      for (const [index, listener] of listeners) this.#listeners[index].push(listener);
      if (clock) this.#clocks.push(clock);
    }
  }

  /** Tells the rules about a moment. */
  check(moment: Moment): void {
    if (this.#waiting.length > 0) this.#settle();
    const listeners = this.#listeners[moment.index];
    for (let i = 0; i < listeners.length; i++) listeners[i](moment);
  }

  /** Tells the rules how late it is. @param now ns on the boot-time clock */
  tick(now: number): void {
    if (now > this.#world.now) this.#world.now = now;
    if (this.#waiting.length > 0) this.#settle();
    for (const clock of this.#clocks) clock();
    // The event that would have resolved it was missed, but its object is gone all the same; unless
    // it is about what the object left behind, and was found again just now.
    for (const [key, { violation, subject }] of this.#live) {
      if (!violation.lasting || !subject?.isOver) continue;
      if (violation.lastSeen < this.#world.now) this.#end(key, violation);
    }
  }

  /** Oldest first. */
  list(): Violation[] {
    return [...this.#violations.values()];
  }

  find(id: string): Violation | undefined {
    return this.#violations.get(id);
  }

  /** Lasting conditions that still hold, also those that the list has no room for. */
  open(): Violation[] {
    return [...this.#live.values()].map((live) => live.violation).filter(({ lasting }) => lasting);
  }

  #install(rule: Rule, options: EngineOptions): Installed {
    const world = this.#world;
    const context: RuleContext = {
      world,
      host: options.host,
      thresholds: options.thresholds ?? DEFAULT_THRESHOLDS,
      drivers: options.drivers ?? DEFAULT_DRIVERS,
      get now() {
        return world.now;
      },
      report: (finding) => this.#report(rule, finding),
      resolve: (about) => this.#resolve(rule, about),
    };
    const guarded =
      <Args extends unknown[]>(act: (...args: Args) => void) =>
      (...args: Args): void => {
        try {
          act(...args);
        } catch (error) {
          this.onMistake(rule, error);
        }
      };
    // From zero, so that the first violation is an increase, too.
    this.raised.set(`${rule.id} ${rule.severity}`, 0);
    const { onClock } = rule;
    return {
      rule,
      listeners: Object.entries(rule.on ?? {}).map(([name, listen]) => [
        momentIndexOf(name as MomentName),
        guarded((moment: Moment) => listen(moment, context)),
      ]),
      clock: onClock && guarded(() => onClock(context)),
    };
  }

  #report(rule: Rule, finding: Finding): void {
    const subject = finding.device ?? finding.vm ?? finding.parent;
    const quality = this.#quality(finding);
    const { look } = this.#world;
    if (finding.stillOpen && look) {
      this.#waiting.push({ rule, finding, look });
      return;
    }
    const isUnsure =
      (rule.basis === 'history' && quality !== 'observed') ||
      (rule.basis === 'state' && quality === 'tainted');
    if (isUnsure) {
      this.#holdBack(rule);
      return;
    }
    const key = subject || finding.lasting ? keyOf(rule, subject) : keyOfAct(rule, finding);
    const severity = finding.severity ?? rule.severity;
    const known = this.#live.get(key);
    if (known) {
      this.#again(known, finding, severity);
      return;
    }
    if (rule.basis !== 'event' && this.hasMissed()) {
      this.#holdBack(rule);
      return;
    }
    const culprits = this.#culprits;
    const { task } = finding;
    const traced = finding.device ?? finding.vm;
    const violation: Violation = {
      id: `v${++this.#count}${this.#run}`,
      rule: rule.id,
      title: rule.title,
      severity,
      life: finding.device?.serial,
      trace: traced && this.#traceIdOf(traced),
      device: finding.device?.name,
      parent: finding.device?.parentName ?? finding.parent?.name,
      type: finding.device?.type,
      vm: finding.vm && vmReference(finding.vm),
      process: task && culprits.party(task),
      firstSeen: this.#world.now,
      lastSeen: this.#world.now,
      count: 1,
      lasting: finding.lasting ?? false,
      resolvedAt: 0,
      quality,
      explanation: finding.says,
      evidence: this.#evidence(finding),
      ...culprits.of(finding),
    };
    this.#live.set(key, { violation, subject, askedAt: this.#world.now });
    this.#violations.set(violation.id, violation);
    this.#keys.set(violation.id, key);
    this.#countRaised(rule.id, severity);
    this.#makeRoom();
    this.onViolation(violation, 'raised');
  }

  /** After a look, raises what was found meanwhile and is not its own doing. */
  #settle(): void {
    const { look: now } = this.#world;
    const over = this.#waiting.filter(({ look }) => look !== now);
    if (over.length === 0) return;
    this.#waiting = this.#waiting.filter(({ look }) => look === now);
    for (const { rule, finding, look } of over) {
      if (finding.device && look.putOff.has(finding.device)) this.#holdBack(rule);
      else this.#report(rule, { ...finding, stillOpen: undefined });
    }
  }

  #holdBack(rule: Rule): void {
    this.heldBack.set(rule.id, (this.heldBack.get(rule.id) ?? 0) + 1);
  }

  /** A lasting condition seen again is the same one, unless it got worse; an act is one more. */
  #again(live: Live, finding: Finding, severity: Severity): void {
    const { violation } = live;
    const { now } = this.#world;
    violation.lastSeen = now;
    violation.explanation = finding.says;
    const worse = SEVERITIES.indexOf(severity) > SEVERITIES.indexOf(violation.severity);
    if (worse || now - live.askedAt >= ASK_AGAIN) {
      live.askedAt = now;
      Object.assign(violation, this.#culprits.of(finding));
    }
    if (finding.lasting && !worse) return;
    if (!finding.lasting) violation.count++;
    if (worse) {
      this.#countRaised(violation.rule, severity);
      violation.severity = severity;
    }
    violation.evidence = this.#evidence(finding);
    this.onViolation(violation, worse ? 'escalated' : 'repeated');
  }

  #resolve(rule: Rule, about: Life | undefined): void {
    if (this.#live.size === 0) return;
    const key = keyOf(rule, about);
    const known = this.#live.get(key);
    if (known) this.#end(key, known.violation);
  }

  #end(key: string, violation: Violation): void {
    this.#live.delete(key);
    violation.resolvedAt = this.#world.now;
    this.onViolation(violation, 'resolved');
  }

  #countRaised(rule: string, severity: Severity): void {
    const key = `${rule} ${severity}`;
    this.raised.set(key, (this.raised.get(key) ?? 0) + 1);
  }

  #quality(finding: Finding): Quality {
    let worst: Quality = 'observed';
    for (const life of [finding.device, finding.vm, finding.parent]) {
      const quality = life ? this.#world.qualityOf(life) : 'observed';
      if (quality === 'tainted') return 'tainted';
      if (quality === 'late') worst = 'late';
    }
    return worst;
  }

  /** The events of all objects concerned, in order, each once. */
  #evidence(finding: Finding): TimelineEntry[] {
    const { device, vm, parent, others = [] } = finding;
    const lives = [device, device?.holder, vm, parent, ...others];
    const seen = new Set<string>();
    return lives
      .flatMap((life) => life?.timeline.entries() ?? [])
      .filter((entry) => {
        const key = `${entry.time} ${entry.tid} ${entry.point} ${entry.flags}`;
        return !seen.has(key) && seen.add(key);
      })
      .sort((a, b) => a.time - b.time);
  }

  #makeRoom(): void {
    if (this.#violations.size <= this.#limit) return;
    const all = this.list();
    const victim =
      all.find(({ resolvedAt }) => resolvedAt > 0) ?? all.find(({ lasting }) => !lasting) ?? all[0];
    this.#violations.delete(victim.id);
    const key = this.#keys.get(victim.id) ?? '';
    this.#keys.delete(victim.id);
    victim.evidence = [];
    // A condition that holds would be found again at the next tick, and be another violation.
    if (!victim.lasting && this.#live.get(key)?.violation === victim) this.#live.delete(key);
  }
}

/** Under which a finding is kept: one of each rule about each life, or about the host as a whole. */
function keyOf(rule: Rule, about: Life | undefined): string {
  return `${rule.id} ${about?.serial ?? 'host'}`;
}

/** About no object that lives: one for each process, however many names it invents. */
function keyOfAct(rule: Rule, { task, says }: Finding): string {
  return `${rule.id} of ${task?.pid ?? says}`;
}
