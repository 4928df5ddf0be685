/**
 * Which points are watched and how: picks for each what the running kernel has, opens
 * its places, attaches it on its own, and knows of every point whether it works and if
 * not, why.
 *
 * Nothing is all or nothing. A module that is missing costs its own points until it is
 * loaded; a function that is missing costs one point.
 */

import { statSync } from 'node:fs';
import { messageOf } from '../errors.ts';
import type { PointName } from '../events/points.ts';
import { isWatched, type PointState, type PointStatus } from '../events/source.ts';
import {
  type AttachMethod,
  type Attachment,
  attach,
  closeSite,
  missing,
  missProfile,
  openSite,
  type ProbeSite,
  type RunTime,
} from './attach.ts';
import { choose } from './candidates.ts';
import { isInTransit } from './kernel-modules.ts';
import type { Attached, PinnedPoints } from './pinned-points.ts';
import type { Unit } from './probe-loader.ts';
import type { ProbeObject } from './probe-object.ts';
import type { Candidate, Hook, ProbeModule, ProbePoint } from './probe-point.ts';
import { PROBE_MODULES, PROBE_TABLE } from './probe-table.ts';
import { isShortage } from './shortage.ts';
import { naming } from './symbols.ts';
import { HostTraits, RunningKernel } from './traits.ts';

type State =
  | Attached
  | { readonly state: 'inferred'; readonly candidate: Candidate }
  | { readonly state: 'detached'; readonly candidate: Candidate; readonly reason: string }
  | { readonly state: 'waiting'; readonly reason: string }
  | { readonly state: 'failed'; readonly reason: string; readonly isShort: boolean };

export class Points {
  /** As the modules were when points were opened last. */
  readonly traits = new HostTraits();
  readonly #method: AttachMethod;
  readonly #pinned: PinnedPoints | undefined;
  readonly #moduleBtf: boolean;
  readonly #states = new Map<PointName, State>();
  /** Which loading of each module was observed last. */
  readonly #loaded = new Map<ProbeModule, number>();
  /** Points that must not be attached for now, and why. They keep this when their module is reloaded. */
  readonly #givenUp = new Map<PointName, string>();
  /** What probes that are gone had missed, where nothing is pinned. */
  #missedGone = 0;

  /** @param moduleBtf whether BTF of modules may be used */
  constructor(method: AttachMethod, pinned: PinnedPoints | undefined, moduleBtf: boolean) {
    this.#method = method;
    this.#pinned = pinned;
    this.#moduleBtf = moduleBtf;
  }

  /** Modules that have come or left, or are others than before. */
  changed(): ProbeModule[] {
    return PROBE_MODULES.filter((module) => loadingOf(module) !== this.#loaded.get(module));
  }

  /** Whether a module is being loaded or unloaded, so that {@link changed} will find it changed soon. */
  get isModuleInTransit(): boolean {
    return PROBE_MODULES.some((module) => isInTransit(module));
  }

  /** Modules with points that were refused for want of descriptors or memory: another attempt may succeed. */
  short(): ProbeModule[] {
    return PROBE_MODULES.filter((module) =>
      PROBE_TABLE.some((entry) => entry.module === module && this.#shortageOf(entry) !== undefined),
    );
  }

  /** Why a point is not watched although another attempt may succeed; undefined where there is none. */
  get shortage(): string | undefined {
    return PROBE_TABLE.map((entry) => this.#shortageOf(entry)).find((one) => one !== undefined);
  }

  #shortageOf({ point }: ProbePoint): string | undefined {
    const state = this.#states.get(point);
    return state?.state === 'failed' && state.isShort ? state.reason : undefined;
  }

  /** How many hooks the points have that are not attached, if all of them can be. */
  unattachedHooks(): number {
    const missing = PROBE_TABLE.filter(({ point }) => {
      const state = this.#states.get(point)?.state;
      return state !== 'attached' && state !== 'inferred';
    });
    return missing.reduce(
      (sum, { candidates }) => sum + Math.max(...candidates.map(({ hooks }) => hooks.length)),
      0,
    );
  }

  /**
   * Finds what each point of these modules can use here that has nothing yet; notes of the others why they
   * cannot.
   */
  open(modules: readonly ProbeModule[]): Unit[] {
    for (const module of modules) {
      const loading = loadingOf(module);
      if (loading !== undefined) this.#loaded.set(module, loading);
    }
    const running = new RunningKernel(this.#moduleBtf);
    this.traits.update(PROBE_MODULES.map(loadingOf), running);
    const units: Unit[] = [];
    // What a point uses, for later ones that depend on it; also of those not attached yet.
    const using = new Map<PointName, Candidate>();
    const name = naming(this.traits.values, () => running.symbols);
    const open = (module: ProbeModule, hook: Hook) => {
      // The kernel's own functions are there also when nothing yet needs them watched; and
      // 5.10 and 6.1 grant a probe in a module that is not there, and never run it.
      if (loadingOf(module) === undefined) throw missing(notLoaded(module));
      return openSite(name(module, hook), hook, this.#method);
    };
    const kernel = { traits: this.traits.values, open, close: closeSite };
    for (const [point, state] of this.#states) {
      if ('candidate' in state) using.set(point, state.candidate);
    }
    for (const entry of PROBE_TABLE.filter(({ module }) => modules.includes(module))) {
      const { point, module } = entry;
      if (using.has(point)) continue;
      const taken = this.#states.has(point)
        ? undefined
        : this.#pinned?.takeOver(entry, loadingOf(module));
      if (taken) {
        this.#states.set(point, taken);
        using.set(point, taken.candidate);
        continue;
      }
      const choice = choose(entry, using, kernel);
      if ('reason' in choice) {
        // One that has been loaded again since is found changed at the next refresh.
        const loading = loadingOf(module);
        const isWaiting = loading === undefined || loading !== this.#loaded.get(module);
        this.#states.set(
          point,
          isWaiting
            ? { state: 'waiting', reason: notLoaded(module) }
            : { state: 'failed', ...choice },
        );
        continue;
      }
      const { candidate, sites } = choice;
      using.set(point, candidate);
      const reason = this.#givenUp.get(point);
      if (sites.length === 0) this.#states.set(point, { state: 'inferred', candidate });
      else if (reason !== undefined) {
        for (const site of sites) closeSite(site);
        this.#states.set(point, { state: 'detached', candidate, reason });
      } else units.push(this.#unit(entry, candidate, sites));
    }
    return units;
  }

  /** Detaches the probes of a module. */
  stop(module: ProbeModule): void {
    for (const { point } of PROBE_TABLE.filter((entry) => entry.module === module)) {
      const state = this.#states.get(point);
      if (state?.state === 'attached') this.#end(state.candidate.hooks, state.attachments);
      this.#pinned?.delete(point);
      this.#states.set(point, { state: 'waiting', reason: notLoaded(module) });
    }
    this.#loaded.delete(module);
  }

  /**
   * Marks points as given up, until {@link restore}: they are not watched any more.
   * @param reason why, in words
   * @returns ends their probes, which may be done once the programs emit nothing of these points
   */
  giveUp(points: readonly PointName[], reason: string): () => void {
    const ended: Attached[] = [];
    for (const point of points) {
      this.#givenUp.set(point, reason);
      const state = this.#states.get(point);
      if (state?.state !== 'attached') continue;
      ended.push(state);
      this.#pinned?.delete(point);
      this.#states.set(point, { state: 'detached', candidate: state.candidate, reason });
    }
    return () => {
      for (const { candidate, attachments } of ended) this.#end(candidate.hooks, attachments);
    };
  }

  /** Opens all points that were given up, as far as their modules are loaded. */
  restore(): Unit[] {
    const modules = PROBE_TABLE.filter(({ point }) => this.#givenUp.has(point)).map(
      ({ module }) => module,
    );
    for (const [point, { state }] of this.#states) {
      if (state !== 'detached') continue;
      this.#states.set(point, { state: 'waiting', reason: 'it is about to be attached' });
    }
    this.#givenUp.clear();
    return this.open([...new Set(modules)]);
  }

  /** What the kernel has counted for the programs of each attached point. */
  runTimes(): Map<PointName, RunTime> {
    const times = new Map<PointName, RunTime>();
    for (const [point, state] of this.#states) {
      if (state.state !== 'attached') continue;
      let [time, runs] = [0, 0];
      for (const one of state.attachments) {
        const ran = one.runTime();
        time += ran.time;
        runs += ran.runs;
      }
      times.set(point, { time, runs });
    }
    return times;
  }

  /** Where probes are pinned: describes for the next agent what exists, or is about to. */
  describe(maps: ReadonlyMap<string, number>): void {
    this.#pinned?.describe(maps, this.#loaded);
  }

  /** Ends pinned links that are of no point. @param others programs to leave */
  dropUnknown(...others: readonly string[]): void {
    this.#pinned?.dropUnknown(...others);
  }

  /** How often the kernel could not run a program since the ring was made; never less than before. */
  missed(): number {
    const profile = missProfile();
    let missed = this.#pinned?.pins.session.missedGone ?? this.#missedGone;
    for (const state of this.#states.values()) {
      if (state.state === 'attached') missed += missedBy(state.attachments, profile);
    }
    return missed;
  }

  statuses(): PointStatus[] {
    const profile = missProfile();
    return PROBE_TABLE.map((entry) => {
      const state = this.#states.get(entry.point);
      const missed = state?.state === 'attached' ? missedBy(state.attachments, profile) : 0;
      return { ...this.#state(entry), missed };
    });
  }

  /** What asks the kernel nothing. */
  states(): PointState[] {
    return PROBE_TABLE.map((entry) => this.#state(entry));
  }

  /** Those that are attached, or inferred from one that is. */
  watched(): PointName[] {
    const watched = PROBE_TABLE.filter((entry) => isWatched(this.#state(entry)));
    return watched.map(({ point }) => point);
  }

  /** Detaches everything; what is pinned is left as it is. */
  close(): void {
    for (const state of this.#states.values()) {
      if (state.state !== 'attached') continue;
      for (const one of state.attachments) this.#pinned ? one.leave() : one.detach();
    }
    this.#states.clear();
  }

  #unit({ point }: ProbePoint, candidate: Candidate, sites: readonly ProbeSite[]): Unit {
    this.#pinned?.add(point, candidate, sites);
    const { hooks } = candidate;
    const refused = (error: unknown) => {
      this.#pinned?.delete(point);
      const [reason, isShort] = [messageOf(error), isShortage(error)];
      this.#states.set(point, { state: 'failed', reason, isShort });
    };
    return {
      programs: hooks.map(({ program }) => program),
      attach: (object: ProbeObject) => {
        const attachments: Attachment[] = [];
        const rest = [...sites];
        try {
          // The end first, so that no begin lacks its end.
          for (let i = hooks.length - 1; i >= 0; i--) {
            const { program } = hooks[i];
            attachments.unshift(attach(object.program(program), rest[i]));
            rest.pop();
            this.#pinned?.pins.keep(program, attachments[0]);
          }
          this.#states.set(point, { state: 'attached', candidate, attachments });
        } catch (error) {
          this.#end(hooks.slice(rest.length), attachments);
          for (const site of rest) closeSite(site);
          refused(error);
        }
      },
      refused: (error) => {
        for (const site of sites) closeSite(site);
        refused(error);
      },
    };
  }

  /** @param attachments of these hooks */
  #end(hooks: readonly Hook[], attachments: readonly Attachment[]): void {
    const profile = missProfile();
    for (const [i, one] of attachments.entries()) {
      if (this.#pinned) this.#pinned.pins.end(hooks[i].program, one, profile);
      else {
        this.#missedGone += one.missed(profile);
        one.detach();
      }
    }
  }

  #state({ point, module, description }: ProbePoint): PointState {
    const state = this.#states.get(point);
    const base = { point, module, description, limited: false };
    if (!state) return { ...base, state: 'failed', reason: 'it was not tried' };
    if ('reason' in state) return { ...base, state: state.state, reason: state.reason };
    const { inferredFrom, because } = state.candidate;
    if (inferredFrom && !this.#isObserved(inferredFrom)) {
      const givenUp = this.#whyGivenUp(inferredFrom);
      return {
        ...base,
        state: givenUp === undefined ? 'failed' : 'detached',
        reason: `it is inferred from ${inferredFrom}, which is ${givenUp ?? 'not attached'}`,
      };
    }
    if (state.state === 'inferred') {
      return { ...base, state: 'inferred', reason: `${because}; inferred from ${inferredFrom}` };
    }
    const { candidate, attachments } = state;
    const methods = attachments.map((one) => one.method);
    return {
      ...base,
      state: 'attached',
      symbol: symbolsOf(candidate),
      method: [...methods, ...(inferredFrom ? [`inferred from ${inferredFrom}`] : [])].join('+'),
      limited: candidate.hooks.some(({ blocks }) => blocks) && methods.includes('kretprobe'),
    };
  }

  /** Why a point, or the one that it is inferred from, was detached; undefined where neither was. */
  #whyGivenUp(point: PointName): string | undefined {
    const state = this.#states.get(point);
    if (state?.state === 'detached') return state.reason;
    const from = state?.state === 'inferred' ? state.candidate.inferredFrom : undefined;
    return from && this.#whyGivenUp(from);
  }

  /** Whether that point is attached, or itself inferred from one that is. */
  #isObserved(point: PointName): boolean {
    const state = this.#states.get(point);
    if (state?.state !== 'inferred') return state?.state === 'attached';
    const { inferredFrom } = state.candidate;
    return inferredFrom !== undefined && this.#isObserved(inferredFrom);
  }
}

function missedBy(
  attachments: readonly Attachment[],
  profile: ReadonlyMap<string, number>,
): number {
  return attachments.reduce((sum, one) => sum + one.missed(profile), 0);
}

function symbolsOf({ hooks }: Candidate): string {
  return [...new Set(hooks.map(({ symbol }) => symbol))].join(', ');
}

function notLoaded(module: ProbeModule): string {
  return `the module ${module} is not loaded`;
}

/**
 * A number for this loading of a module: one that was unloaded and loaded again
 * between two checks has another, and none of the probes that it had before. Undefined also while the module
 * is being loaded or unloaded.
 */
function loadingOf(module: ProbeModule): number | undefined {
  const loading = statSync(`/sys/module/${module}`, { throwIfNoEntry: false })?.ino;
  return loading !== undefined && isInTransit(module) ? undefined : loading;
}
