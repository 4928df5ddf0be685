// SPDX-License-Identifier: Apache-2.0
/** How Grafana writes numbers of the units that the dashboards use, and the words for codes. */
import {
  type FieldConfig,
  MappingType,
  type Threshold,
  type ValueMapping,
} from '@grafana/grafana-foundation-sdk/dashboard';
import { colour } from './svg.ts';

const SCALES: Readonly<Record<string, readonly (readonly [from: number, unit: string])[]>> = {
  s: [
    [86_400, ' days'],
    [3600, ' hours'],
    [60, ' mins'],
    [1, ' s'],
    [1e-3, ' ms'],
    [1e-6, ' µs'],
  ],
  bytes: [
    [2 ** 30, ' GiB'],
    [2 ** 20, ' MiB'],
    [2 ** 10, ' KiB'],
    [1, ' B'],
  ],
  ops: [
    [1e3, ' K ops/s'],
    [1, ' ops/s'],
  ],
  eps: [
    [1e3, ' K evt/s'],
    [1, ' evt/s'],
  ],
};

/** @throws for a unit that no dashboard had when this was written */
export function formatted(value: number, unit: string, decimals?: number): string {
  if (unit === 'none') return digits(value, decimals);
  if (unit === 'percentunit') return `${digits(value * 100, decimals)}%`;
  const scale = SCALES[unit];
  if (!scale) throw new Error(`the unit ${unit} has to be added to dashboards/pictures/values.ts`);
  // Nothing at all is written in the unit itself, what is less than the smallest in the smallest.
  const least = value === 0 ? scale.find(([from]) => from === 1) : scale.at(-1);
  const [from, name] = scale.find(([from]) => Math.abs(value) >= from) ?? least ?? [1, ''];
  return `${digits(value / from, decimals)}${name}`;
}

function digits(value: number, decimals?: number): string {
  if (decimals !== undefined) return value.toFixed(decimals);
  if (Number.isInteger(value)) return `${value}`;
  return value
    .toPrecision(3)
    .replace(/(\.\d*?)0+$/, '$1')
    .replace(/\.$/, '');
}

/** What is shown for a value, and in which colour. */
export interface Shown {
  readonly text: string;
  readonly colour: string | undefined;
}

/** Value mappings go before the unit and the thresholds. */
export function shown(value: number, config: FieldConfig): Shown {
  const { unit = 'none', decimals, thresholds, mappings = [] } = config;
  const mapped = mapping(mappings, `${value}`);
  if (mapped) return mapped;
  return {
    text: formatted(value, unit, decimals),
    colour: thresholdColour(value, thresholds?.steps),
  };
}

/** What a value or a label is mapped to. */
export function mapping(mappings: readonly ValueMapping[], value: string): Shown | undefined {
  for (const one of mappings) {
    if (one.type !== MappingType.ValueToText) continue;
    const result = one.options[value];
    if (result) {
      return { text: result.text ?? value, colour: result.color && colour(result.color) };
    }
  }
  return undefined;
}

/** What the lack of a value is mapped to. */
export function nothing({ mappings = [] }: FieldConfig): Shown | undefined {
  const special = mappings.find((one) => one.type === MappingType.SpecialValue);
  if (special?.type !== MappingType.SpecialValue) return undefined;
  const { text = '', color } = special.options.result;
  return { text, colour: color && colour(color) };
}

function thresholdColour(value: number, steps: readonly Threshold[] = []): string | undefined {
  const step = steps.findLast((one) => one.value === null || value >= one.value);
  return step && colour(step.color);
}
