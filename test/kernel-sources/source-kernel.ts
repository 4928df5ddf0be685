// SPDX-License-Identifier: Apache-2.0
/**
 * Kernels of which the sources were read, and doctor's answer for them: the derivation of traits, the choice
 * of candidates and the states of rules are those of the agent. Only what the kernel has comes from its sources.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { type RuleState, ruleStates } from '../../agent/runtime/rule-options.ts';
import type { PointName } from '../../src/events/points.ts';
import type { PointStatus } from '../../src/events/source.ts';
import {
  type DerivedTrait,
  deriveTraits,
  type Evidence,
  type KernelContents,
  TRAITS,
  type TraitModule,
  valuesOf,
} from '../../src/events/traits.ts';
import { choose } from '../../src/kernel/candidates.ts';
import type { Candidate, Hook, ProbeModule } from '../../src/kernel/probe-point.ts';
import { PROBE_TABLE } from '../../src/kernel/probe-table.ts';
import type { CSymbol } from './c-source.ts';

/** Which sources these are; written by hand. */
export interface SourceName {
  /** The distribution. */
  readonly system: string;
  /** Its name in tables. */
  readonly short: string;
  /** The version of its package. */
  readonly release: string;
  readonly repository: string;
  readonly commit: string;
}

/** What was read there. A name that is in none of these lists was not searched for. */
export interface SourceKernel extends SourceName {
  /** Without it no program of the agent can be loaded. */
  readonly ringBuffer: boolean;
  /** Whether that kernel can have BTF of modules. */
  readonly moduleBtf: boolean;
  /** By module and name; null: there is none. */
  readonly symbols: Readonly<Record<string, Readonly<Record<string, CSymbol | null>>>>;
  /** By module, and by structure or "structure.path": whether it exists. */
  readonly types: Readonly<Record<string, Readonly<Record<string, boolean>>>>;
}

const DIRECTORY = new URL('kernels/', import.meta.url);

export function readSourceKernels(): SourceKernel[] {
  const files = readdirSync(DIRECTORY).sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  return files.map(
    (file) => JSON.parse(readFileSync(new URL(file, DIRECTORY), 'utf8')) as SourceKernel,
  );
}

/** The module that has the function of a hook. */
export function moduleOf(module: ProbeModule, { core, of = module }: Hook): string {
  return core ? 'vmlinux' : of;
}

/** The name of a type that is evidence. */
function typeName(evidence: Exclude<Evidence, { kind: 'noBtf' }>): string {
  return evidence.kind === 'field' ? `${evidence.struct}.${evidence.path}` : evidence.name;
}

/** All symbols and types that the tables of the agent ask a kernel for, by module. */
export function searchedNames(): Record<'symbols' | 'types', Map<string, Set<string>>> {
  const symbols = new Map<string, Set<string>>();
  const types = new Map<string, Set<string>>();
  const add = (to: Map<string, Set<string>>, module: string, name: string) =>
    to.set(module, (to.get(module) ?? new Set()).add(name));
  for (const { module, candidates } of PROBE_TABLE) {
    for (const hook of candidates.flatMap(({ hooks }) => hooks)) {
      add(symbols, moduleOf(module, hook), hook.symbol);
    }
  }
  for (const { module, shownBy, refutedBy } of Object.values(TRAITS)) {
    for (const evidence of [...shownBy, ...refutedBy] as readonly Evidence[]) {
      if (evidence.kind === 'symbol') add(symbols, module, evidence.name);
      else if (evidence.kind !== 'noBtf') add(types, module, typeName(evidence));
    }
  }
  return { symbols, types };
}

/** What the compiler does with static functions that nothing points to. Both are possible for each. */
export type Inlining = 'none' | 'all';

/** @returns undefined where the sources were not searched for it */
function hasSymbol(
  { symbols }: SourceKernel,
  inlining: Inlining,
  module: string,
  name: string,
): boolean | undefined {
  const found = symbols[module]?.[name];
  if (!found) return found === null ? false : undefined;
  return found.kept || inlining === 'none';
}

/** The two ways of src/kernel/traits.ts to find out: by BTF, which has types and functions, then by name. */
function contents(kernel: SourceKernel, inlining: Inlining): KernelContents {
  const hasBtf = (module: TraitModule) => module === 'vmlinux' || kernel.moduleBtf;
  const has = (module: TraitModule, { name }: { readonly name: string }) =>
    hasSymbol(kernel, inlining, module, name);
  return {
    unknown: () => undefined,
    ways: [
      (module, evidence) => {
        if (evidence.kind === 'noBtf') return !hasBtf(module);
        if (!hasBtf(module)) return false;
        if (evidence.kind !== 'symbol') {
          return kernel.types[module]?.[typeName(evidence)] === evidence.exists;
        }
        if (module === 'vmlinux') return has(module, evidence) === evidence.exists;
        const isFunction = kernel.symbols[module]?.[evidence.name]?.parameters !== undefined;
        return evidence.exists && isFunction && has(module, evidence) === true;
      },
      (module, evidence) => evidence.kind === 'symbol' && has(module, evidence) === evidence.exists,
    ],
  };
}

export interface JudgedPoint extends Pick<PointStatus, 'point' | 'description' | 'state'> {
  readonly module: ProbeModule;
  /** Why it is inferred, or has failed. */
  readonly reason?: string;
  readonly hooks: readonly Hook[];
}

export interface Judgement {
  readonly traits: readonly DerivedTrait[];
  readonly points: readonly JudgedPoint[];
  readonly rules: readonly RuleState[];
}

/** What doctor would answer on such a kernel, as far as its sources show that. */
export function judge(kernel: SourceKernel, inlining: Inlining): Judgement {
  const traits = deriveTraits(contents(kernel, inlining));
  const values = valuesOf(traits);
  const using = new Map<PointName, Candidate>();
  const functions = {
    traits: values,
    open(module: ProbeModule, hook: Hook) {
      const has = hasSymbol(kernel, inlining, moduleOf(module, hook), hook.symbol);
      if (has) return { method: hook.symbol, fd: -1 };
      if (has === undefined) throw new Error(`nobody has searched for ${hook.symbol}`);
      throw Object.assign(new Error(hook.symbol), { code: 'ENOENT' });
    },
    close() {},
  };
  const points = PROBE_TABLE.map((entry): JudgedPoint => {
    const { point, module, description } = entry;
    const base = { point, module, description };
    const choice = choose(entry, using, functions);
    if ('reason' in choice) return { ...base, state: 'failed', reason: choice.reason, hooks: [] };
    const { hooks, because, inferredFrom } = choice.candidate;
    using.set(point, choice.candidate);
    if (hooks.length > 0) return { ...base, state: 'attached', hooks };
    const reason = `${because}; inferred from ${inferredFrom}`;
    return { ...base, state: 'inferred', reason, hooks };
  });
  return { traits, points, rules: ruleStates(points, values) };
}
