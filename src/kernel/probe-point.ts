/** What a probe point is, and the ways to observe one: the words of the table in probe-table.ts. */
import type { PointName } from '../events/points.ts';
import type { TraitName } from '../events/traits.ts';

export type ProbeModule = 'mdev' | 'vfio' | 'kvm';

/** A program at a function's entry or return. */
export interface Hook {
  /** The kernel function. */
  readonly symbol: string;
  readonly program: string;
  readonly atReturn: boolean;
  /** Many calls may be in flight. */
  readonly blocks: boolean;
  /** It is a function of the kernel itself, not of the point's module. */
  readonly core?: true;
  /** It is a function of that module, which the point's module depends on, and which is loaded before it. */
  readonly of?: string;
}

/** A way to observe a point. */
export interface Candidate {
  /** The end last: it is attached first, so that no begin lacks its end. */
  readonly hooks: readonly Hook[];
  /** Only where that point, which stands before this one in the table, uses that function. */
  readonly where?: readonly [point: PointName, symbol: string];
  /** Only on kernels that are known not to have this trait. */
  readonly unless?: TraitName;
  /** The point whose programs emit this one, or its end. */
  readonly inferredFrom?: PointName;
  /** Why this kernel has no such step of its own; only where there are no hooks. */
  readonly because?: string;
}

export interface ProbePoint {
  readonly point: PointName;
  /** The kernel module that has the functions. */
  readonly module: ProbeModule;
  readonly description: string;
  /**
   * The budget may detach it alone: only the rules that need it miss it, and the state of no object depends
   * on it. The other points are detached together, and last (docs/design/budget.md).
   */
  readonly expendable?: true;
  /** In order of preference; the first that the running kernel has is used. */
  readonly candidates: readonly Candidate[];
}

export interface CandidateOptions extends Pick<Candidate, 'where' | 'unless'> {
  readonly blocks?: boolean;
}

export function entry(symbol: string, program: string): Hook {
  return { symbol, program, atReturn: false, blocks: false };
}

export function atReturn(symbol: string, program: string, blocks: boolean): Hook {
  return { symbol, program, atReturn: true, blocks };
}

/** Entry and return of one function, by programs whose names end in _begin and _end. */
export function both(symbol: string, stem: string, options: CandidateOptions = {}): Candidate {
  return spanned(symbol, `${stem}_begin`, `${stem}_end`, options);
}

export function spanned(
  symbol: string,
  begin: string,
  end: string,
  { blocks = false, ...rest }: CandidateOptions = {},
): Candidate {
  return { hooks: [entry(symbol, begin), atReturn(symbol, end, blocks)], ...rest };
}

export function single(symbol: string, program: string): Candidate {
  return { hooks: [entry(symbol, program)] };
}

/** No step of its own: it is inferred from another point, because of how that kernel is built. */
export function inferred(
  inferredFrom: PointName,
  because: string,
  only: Partial<Candidate>,
): Candidate {
  return { hooks: [], inferredFrom, because, ...only };
}

/** A function of the kernel itself. */
export function core(candidate: Candidate): Candidate {
  return { ...candidate, hooks: candidate.hooks.map((hook) => ({ ...hook, core: true })) };
}

/** A function of another module, which that of the point depends on. */
export function of(module: string, candidate: Candidate): Candidate {
  return { ...candidate, hooks: candidate.hooks.map((hook) => ({ ...hook, of: module })) };
}
