/** One colour for each state and severity, on all dashboards, and the numbers that timelines show them by. */
import { MappingType, type ValueMapping } from '@grafana/grafana-foundation-sdk/dashboard';
import type { DeviceState, ParentState, VmState } from '../src/lifecycle/objects.ts';
import type { Severity } from '../src/rules/rule.ts';

/** Grafana's own names, which follow the theme, where it has one. */
export type Colour = 'blue' | 'green' | 'orange' | 'purple' | 'red' | 'yellow' | `#${string}`;
/** Their order is that of the numbers, from 1. */
export type Colours = Readonly<Record<string, Colour>>;

const GREY = '#808080';

export const DEVICE_STATES: Readonly<Record<DeviceState, Colour>> = {
  creating: 'yellow',
  bound: 'green',
  open: 'blue',
  removing: 'orange',
  unbound: 'purple',
  released: GREY,
  failed: 'red',
};

/** A released VM lives on though nobody has its file descriptor. */
export const VM_STATES: Readonly<Record<VmState, Colour>> = {
  creating: 'yellow',
  running: 'green',
  released: 'orange',
  destroyed: GREY,
  failed: 'red',
};

export const PARENT_STATES: Readonly<Record<ParentState, Colour>> = {
  registering: 'yellow',
  registered: 'green',
  unregistering: 'orange',
  gone: GREY,
};

export const SEVERITIES: Readonly<Record<Severity, Colour>> = {
  info: 'blue',
  warning: 'yellow',
  error: 'orange',
  critical: 'red',
};

/** What a number stands for in a timeline made by `codes()`. */
export function codeMappings(colours: Colours): ValueMapping {
  const options = Object.entries(colours).map(
    ([text, color], index) => [`${index + 1}`, { text, color, index }] as const,
  );
  return { type: MappingType.ValueToText, options: Object.fromEntries(options) };
}

/** A label's values in their colours. */
export function textMappings(colours: Colours): ValueMapping {
  const options = Object.entries(colours).map(
    ([text, color], index) => [text, { text, color, index }] as const,
  );
  return { type: MappingType.ValueToText, options: Object.fromEntries(options) };
}
