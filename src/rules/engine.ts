/** Runs the rules over the moments of the world and keeps what they found. */
import type { Moment } from '../lifecycle/moment.ts';
import type { Life, Quality, Vm } from '../lifecycle/objects.ts';
import { MOMENT_COUNT, type MomentName, momentIndexOf } from '../lifecycle/points.ts';
import type { TimelineEntry } from '../lifecycle/timeline.ts';
import type { World } from '../lifecycle/world.ts';
import {
  DEFAULT_THRESHOLDS,
  type Finding,
  type Host,
  type Rule,
  type RuleContext,
  type Severity,
  type Thresholds,
} from './rule.ts';
import type { Violation, VmReference } from './violation.ts';

export interface EngineOptions {
  readonly rules: readonly Rule[];
  readonly host: Host;
  readonly thresholds?: Thresholds;
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

/** A violation that may still repeat or end, and the life that it is about. */
interface Live {
  readonly violation: Violation;
  readonly subject: Life | undefined;
}

export class RuleEngine {
  /** Called for each new violation, each repetition, and each that ends. */
  onViolation: (violation: Violation, change: 'raised' | 'repeated' | 'resolved') => void =
    () => {};
  /** Called each time that a rule itself fails; a mistake in one must not cost the others. */
  onMistake: (rule: Rule, error: unknown) => void = () => {};
  /** Findings not raised because the object's life was not seen whole, by rule. */
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
  #count = 0;

  constructor(world: World, options: EngineOptions) {
    this.#world = world;
    this.rules = options.rules;
    this.#limit = options.limit ?? 1000;
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
    const listeners = this.#listeners[moment.index];
    for (let i = 0; i < listeners.length; i++) listeners[i](moment);
  }

  /** Tells the rules how late it is. @param now ns on the boot-time clock */
  tick(now: number): void {
    if (now > this.#world.now) this.#world.now = now;
    for (const clock of this.#clocks) clock();
    // The event that would have resolved it was missed, but its object is gone all the same.
    for (const [key, { violation, subject }] of this.#live) {
      if (violation.lasting && subject?.isOver) this.#end(key, violation);
    }
  }

  /** Oldest first. */
  list(): Violation[] {
    return [...this.#violations.values()];
  }

  /** Lasting conditions that still hold. */
  open(): Violation[] {
    return this.list().filter((violation) => violation.lasting && violation.resolvedAt === 0);
  }

  #install(rule: Rule, options: EngineOptions): Installed {
    const world = this.#world;
    const context: RuleContext = {
      world,
      host: options.host,
      thresholds: options.thresholds ?? DEFAULT_THRESHOLDS,
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
    const isUnsure =
      (rule.basis === 'history' && quality !== 'observed') ||
      (rule.basis === 'state' && quality === 'tainted');
    if (isUnsure) {
      this.heldBack.set(rule.id, (this.heldBack.get(rule.id) ?? 0) + 1);
      return;
    }
    // About no object that lives: one for each process, however many names it invents.
    const about = subject?.serial ?? finding.task?.pid ?? finding.says;
    const key = `${rule.id} ${subject ? '' : 'of '}${about}`;
    const severity = finding.severity ?? rule.severity;
    const known = this.#live.get(key);
    if (known) {
      this.#again(known.violation, finding, severity);
      return;
    }
    const violation: Violation = {
      id: `v${++this.#count}`,
      rule: rule.id,
      title: rule.title,
      severity,
      life: finding.device?.serial,
      device: finding.device?.name,
      parent: finding.device?.parentName ?? finding.parent?.name,
      type: finding.device?.type,
      vm: finding.vm && vmReference(finding.vm),
      task: finding.task,
      firstSeen: this.#world.now,
      lastSeen: this.#world.now,
      count: 1,
      lasting: finding.lasting ?? false,
      resolvedAt: 0,
      quality,
      explanation: finding.says,
      evidence: this.#evidence(finding),
    };
    this.#live.set(key, { violation, subject });
    this.#violations.set(violation.id, violation);
    this.#keys.set(violation.id, key);
    this.#countRaised(rule.id, severity);
    this.#makeRoom();
    this.onViolation(violation, 'raised');
  }

  /** A lasting condition seen again is the same one, unless it got worse; an act is one more. */
  #again(known: Violation, finding: Finding, severity: Severity): void {
    known.lastSeen = this.#world.now;
    const worse = SEVERITIES.indexOf(severity) > SEVERITIES.indexOf(known.severity);
    if (finding.lasting && !worse) return;
    if (!finding.lasting) known.count++;
    if (worse) {
      this.#countRaised(known.rule, severity);
      known.severity = severity;
    }
    known.explanation = finding.says;
    known.evidence = this.#evidence(finding);
    this.onViolation(known, 'repeated');
  }

  #resolve(rule: Rule, about: Life): void {
    if (this.#live.size === 0) return;
    const key = `${rule.id} ${about.serial}`;
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
    const lives = [finding.device, finding.device?.holder, finding.vm, finding.parent];
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
    if (this.#live.get(key)?.violation === victim) this.#live.delete(key);
  }
}

/** The id under which users see a VM. */
export function vmId(vm: Vm): string {
  return `vm${vm.serial}`;
}

export function vmReference(vm: Vm): VmReference {
  return { id: vmId(vm), pid: vm.task?.pid ?? (vm.makerTid || undefined), comm: vm.task?.comm };
}
