/** The colour of each state and severity on all dashboards, and the codes that timelines draw them by. */
import {
  MappingType,
  SpecialValueMatch,
  type ValueMapping,
} from '@grafana/grafana-foundation-sdk/dashboard';
import type { Severity } from '../src/engine/rule.ts';
import type { ParentState, ShownDeviceState, VmState } from '../src/lifecycle/states.ts';

/** Grafana's named colours, which follow its theme, or a fixed colour. */
export type Colour = 'blue' | 'green' | 'orange' | 'purple' | 'red' | 'yellow' | `#${string}`;
/** Colours by value. The position of a value, from 1, is its code. */
export type Colours = Readonly<Record<string, Colour>>;

/** Neither good nor bad. */
export const GREY = '#808080';

export const DEVICE_STATES: Readonly<Record<ShownDeviceState, Colour>> = {
  creating: 'yellow',
  binding: 'yellow',
  bound: 'green',
  opening: 'yellow',
  open: 'blue',
  closing: 'orange',
  removing: 'orange',
  removed: 'red',
  unbound: 'purple',
  released: GREY,
  failed: 'red',
};

export const VM_STATES: Readonly<Record<VmState, Colour>> = {
  creating: 'yellow',
  running: 'green',
  zombie: 'orange',
  destroying: 'purple',
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

/** Maps the codes of `stateCodes()` to their values and colours. */
export function codeMappings(colours: Colours): ValueMapping {
  const options = Object.entries(colours).map(
    ([text, color], index) => [`${index + 1}`, { text, color, index }] as const,
  );
  return { type: MappingType.ValueToText, options: Object.fromEntries(options) };
}

/** Shows the values of a label in their colours. */
export function textMappings(colours: Colours): ValueMapping {
  const options = Object.entries(colours).map(
    ([text, color], index) => [text, { text, color, index }] as const,
  );
  return { type: MappingType.ValueToText, options: Object.fromEntries(options) };
}

/** Shows that there is no value. */
export function nothingMapping(text: string): ValueMapping {
  const result = { text, color: GREY, index: 0 };
  return {
    type: MappingType.SpecialValue,
    options: { match: SpecialValueMatch.NullAndNan, result },
  };
}
