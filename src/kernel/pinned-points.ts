/**
 * Points whose links are pinned: what an earlier agent left of them, and what the next
 * one is given.
 */
import { WIRE } from '../events/wire.gen.ts';
import type { Attachment, ProbeSite } from './attach.ts';
import type { Pins } from './pins.ts';
import type { PinnedLink } from './pins-session.ts';
import type { Candidate, Hook, ProbePoint } from './probe-point.ts';

/** A point that is watched. */
export interface Attached {
  readonly state: 'attached';
  readonly candidate: Candidate;
  readonly attachments: readonly Attachment[];
}

/** What else the next agent has to know. */
export interface Origin {
  /** Version of this agent. */
  readonly agent: string;
  /** Keys of opaque() in hexadecimal. */
  readonly keys: string;
  readonly moduleBtf: boolean;
}

export class PinnedPoints {
  readonly pins: Pins;
  readonly #references: Origin;
  /** What is pinned or will be, by point. */
  readonly #links = new Map<string, readonly PinnedLink[]>();
  #begun: boolean;

  constructor(pins: Pins, references: Origin) {
    this.pins = pins;
    this.#references = references;
    this.#begun = pins.kept !== undefined;
  }

  /**
   * @param loading of the point's module
   * @returns how an earlier agent saw that point, if its probes are still there and of use
   */
  takeOver(
    { point, module, candidates }: ProbePoint,
    loading: number | undefined,
  ): Attached | undefined {
    const { loaded, points } = this.pins.kept?.description ?? {};
    const links = points?.[point];
    if (!links) return undefined;
    const candidate = candidates.find(({ hooks }) => isSame(hooks, links));
    const attachments =
      candidate && loaded?.[module] === loading ? this.pins.open(links) : undefined;
    if (!candidate || !attachments) {
      this.pins.drop(links);
      return undefined;
    }
    this.#links.set(point, links);
    return { state: 'attached', candidate, attachments };
  }

  /** These sites are about to be attached to. */
  add(point: string, { hooks }: Candidate, sites: readonly ProbeSite[]): void {
    const links = hooks.map(({ program, symbol }, i) => {
      const { method, definition } = sites[i];
      return { program, symbol, method, ...(definition === undefined ? {} : { definition }) };
    });
    this.#links.set(point, links);
  }

  /** Nothing of this point is pinned any more. */
  delete(point: string): void {
    this.#links.delete(point);
  }

  /**
   * Describes for the next agent which links exist, or are about to.
   * @param loaded which loading of each module they belong to
   */
  describe(maps: ReadonlyMap<string, number>, loaded: ReadonlyMap<string, number>): void {
    const { agent, keys, moduleBtf } = this.#references;
    const description = {
      agent: this.pins.kept?.description.agent ?? agent,
      // What is there can be read by it, and what is added by it only.
      wire: WIRE,
      ...{ keys, moduleBtf },
      loaded: Object.fromEntries(loaded),
      points: Object.fromEntries(this.#links),
    };
    if (this.#begun) this.pins.session.describe(description);
    else this.pins.begin(maps, description);
    this.#begun = true;
  }

  /** Ends links that nothing is known of. @param others programs that belong to no point */
  dropUnknown(...others: readonly string[]): void {
    const known = [...this.#links.values()].flat().map((one) => one.program);
    this.pins.dropAllBut(new Set([...others, ...known]));
  }
}

/** Whether those are the programs and functions that were pinned. */
function isSame(hooks: readonly Hook[], links: readonly PinnedLink[]): boolean {
  return (
    hooks.length === links.length &&
    hooks.every(
      ({ program, symbol }, i) => program === links[i].program && symbol === links[i].symbol,
    )
  );
}
