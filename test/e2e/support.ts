// SPDX-License-Identifier: Apache-2.0
/**
 * Which points the agent could attach on each kernel, as the matrix found it: support/KERNEL.json,
 * from which docs/kernel-support.md is generated.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import type { PointStatus } from '../../src/events/source.ts';
import type { DerivedTrait } from '../../src/events/traits.ts';
import { MODULE_BTF } from './traits.ts';

export interface SupportedPoint {
  readonly point: string;
  readonly description: string;
  readonly state: PointStatus['state'];
  readonly symbol?: string;
  readonly method?: string;
  readonly reason?: string;
}

export interface SupportedRule {
  readonly id: string;
  readonly title: string;
  readonly active: boolean;
  readonly missing: readonly string[];
  readonly impossible?: string;
}

/** JSON has no undefined: a trait that is not known has no value. */
export type SupportedTrait = Omit<DerivedTrait, 'value'> & { readonly value?: boolean };

export interface Support {
  /** As `uname -r` prints it. */
  readonly release: string;
  readonly points: readonly SupportedPoint[];
  readonly rules: readonly SupportedRule[];
  readonly traits: readonly SupportedTrait[];
}

function fileOf(kernel: string, moduleBtf: boolean): URL {
  return new URL(`support/${kernel}${moduleBtf ? '' : '-no-module-btf'}.json`, import.meta.url);
}

/** @throws when the matrix has not been run on that kernel */
export function readSupport(kernel: string, moduleBtf = true): Support {
  return JSON.parse(readFileSync(fileOf(kernel, moduleBtf), 'utf8')) as Support;
}

/** The answer of an agent's /api/v1/probes, without what changes from run to run. */
export function supportOf(
  release: string,
  {
    points,
    rules,
    traits,
  }: {
    points: readonly PointStatus[];
    rules: readonly SupportedRule[];
    traits: readonly SupportedTrait[];
  },
): Support {
  return {
    release,
    points: points.map(({ point, description, state, symbol, method, reason }) => ({
      ...{ point, description, state },
      ...(symbol === undefined ? {} : { symbol }),
      ...(method === undefined ? {} : { method }),
      ...(reason === undefined ? {} : { reason }),
    })),
    // What a budget detaches is not a fact of the kernel.
    rules: rules.map(({ id, title, active, missing, impossible }) => ({
      ...{ id, title, active, missing },
      ...(impossible === undefined ? {} : { impossible }),
    })),
    traits,
  };
}

export function writeSupport(kernel: string, support: Support): void {
  writeFileSync(fileOf(kernel, MODULE_BTF), `${JSON.stringify(support, null, 2)}\n`);
}
