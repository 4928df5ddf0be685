/**
 * Which points are watched and how: picks for each what the running kernel has, opens
 * its places, attaches it on its own, and knows of every point whether it works and if
 * not, why.
 *
 * Nothing is all or nothing. A module that is missing costs its own points until it is
 * loaded; a function that is missing costs one point.
 */
import { statSync } from 'node:fs';
import { isWatched, type PointState, type PointStatus } from '../events/source.ts';
import type { PointName } from '../lifecycle/points.ts';
import {
  type AttachMethod,
  type Attachment,
  attach,
  closePlace,
  missing,
  missProfile,
  openPlace,
  type Place,
} from './attach.ts';
import { choose } from './candidates.ts';
import { kernelVersion } from './host.ts';
import type { Attached, PinnedPoints } from './pinned-points.ts';
import type { Unit } from './probe-loader.ts';
import type { ProbeObject } from './probe-object.ts';
import {
  type Candidate,
  type Hook,
  PROBE_MODULES,
  PROBE_TABLE,
  type ProbeModule,
  type ProbePoint,
} from './probe-table.ts';
import { naming } from './symbols.ts';

type State =
  | Attached
  | { readonly state: 'implied'; readonly candidate: Candidate }
  | { readonly state: 'waiting'; readonly reason: string }
  | { readonly state: 'failed'; readonly reason: string };

export class Points {
  readonly #method: AttachMethod;
  readonly #pinned: PinnedPoints | undefined;
  readonly #states = new Map<PointName, State>();
  /** Which loading of each module was last seen. */
  readonly #loaded = new Map<ProbeModule, number>();
  /** What probes that are gone had missed, where nothing is pinned. */
  #missedGone = 0;

  constructor(method: AttachMethod, pinned: PinnedPoints | undefined) {
    this.#method = method;
    this.#pinned = pinned;
  }

  /** Modules that have come or left, or are others than before. */
  changed(): ProbeModule[] {
    return PROBE_MODULES.filter((module) => loadingOf(module) !== this.#loaded.get(module));
  }

  /** Finds what each point of these modules can use here; notes of the others why they cannot. */
  open(modules: readonly ProbeModule[]): Unit[] {
    for (const module of modules) {
      const loading = loadingOf(module);
      if (loading !== undefined) this.#loaded.set(module, loading);
    }
    const units: Unit[] = [];
    // What a point uses, for later ones that depend on it; also of those not attached yet.
    const using = new Map<PointName, Candidate>();
    const name = naming();
    const open = (module: ProbeModule, hook: Hook) => {
      // The kernel's own functions are there also when nothing yet needs them watched; and
      // 5.10 and 6.1 grant a probe in a module that is not there, and never run it.
      if (loadingOf(module) === undefined) throw missing(notLoaded(module));
      return openPlace(name(module, hook), hook, this.#method);
    };
    const kernel = { version: kernelVersion(), open, close: closePlace };
    for (const [point, state] of this.#states) {
      if ('candidate' in state) using.set(point, state.candidate);
    }
    for (const entry of PROBE_TABLE.filter(({ module }) => modules.includes(module))) {
      const { point, module } = entry;
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
        const waiting = loadingOf(module) === undefined;
        const state = waiting ? 'waiting' : 'failed';
        this.#states.set(point, { state, reason: waiting ? notLoaded(module) : choice.reason });
        continue;
      }
      const { candidate, places } = choice;
      using.set(point, candidate);
      if (places.length === 0) this.#states.set(point, { state: 'implied', candidate });
      else units.push(this.#unit(entry, candidate, places));
    }
    return units;
  }

  /** Lets go of a module. */
  stop(module: ProbeModule): void {
    for (const { point } of PROBE_TABLE.filter((entry) => entry.module === module)) {
      const state = this.#states.get(point);
      if (state?.state === 'attached') this.#end(state.candidate.hooks, state.attachments);
      this.#pinned?.delete(point);
      this.#states.set(point, { state: 'waiting', reason: notLoaded(module) });
    }
    this.#loaded.delete(module);
  }

  /** Tells the next agent, where probes are pinned, what there is and will be in a moment. */
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

  /** Those that are attached, or told by one that is. */
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

  #unit({ point }: ProbePoint, candidate: Candidate, places: readonly Place[]): Unit {
    this.#pinned?.add(point, candidate, places);
    const { hooks } = candidate;
    const refused = (reason: string) => {
      this.#pinned?.delete(point);
      this.#states.set(point, { state: 'failed', reason });
    };
    return {
      programs: hooks.map(({ program }) => program),
      attach: (object: ProbeObject) => {
        const attachments: Attachment[] = [];
        const rest = [...places];
        try {
          // The end first, so that there is never a begin whose end goes unseen.
          for (let i = hooks.length - 1; i >= 0; i--) {
            const { program } = hooks[i];
            attachments.unshift(attach(object.program(program), rest[i]));
            rest.pop();
            this.#pinned?.pins.keep(program, attachments[0]);
          }
          this.#states.set(point, { state: 'attached', candidate, attachments });
        } catch (error) {
          this.#end(hooks.slice(rest.length), attachments);
          for (const place of rest) closePlace(place);
          refused(error instanceof Error ? error.message : String(error));
        }
      },
      refused: (reason) => {
        for (const place of places) closePlace(place);
        refused(reason);
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

  #state({ point, module, meaning }: ProbePoint): PointState {
    const state = this.#states.get(point);
    const base = { point, module, meaning, limited: false };
    if (!state) return { ...base, state: 'failed', reason: 'it was not tried' };
    if ('reason' in state) return { ...base, ...state };
    const { toldBy, because } = state.candidate;
    if (toldBy && !this.#tells(toldBy)) {
      return { ...base, state: 'failed', reason: `it is told by ${toldBy}, which is not attached` };
    }
    if (state.state === 'implied') {
      return { ...base, state: 'implied', reason: `${because}; told by ${toldBy}` };
    }
    const { candidate, attachments } = state;
    const methods = attachments.map((one) => one.method);
    return {
      ...base,
      state: 'attached',
      symbol: symbolsOf(candidate),
      method: [...methods, ...(toldBy ? [`told by ${toldBy}`] : [])].join('+'),
      limited: candidate.hooks.some(({ blocks }) => blocks) && methods.includes('kretprobe'),
    };
  }

  /** Whether that point is attached, or told itself by one that is. */
  #tells(point: PointName): boolean {
    const state = this.#states.get(point);
    if (state?.state !== 'implied') return state?.state === 'attached';
    const { toldBy } = state.candidate;
    return toldBy !== undefined && this.#tells(toldBy);
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
 * between two looks has another, and none of the probes that it had before.
 */
function loadingOf(module: ProbeModule): number | undefined {
  return statSync(`/sys/module/${module}`, { throwIfNoEntry: false })?.ino;
}
