/** The wire format that a compiled probe object has, by its BTF. */
import type { WireDescription } from '../events/wire-description.ts';
import type { Btf } from './btf.ts';

/**
 * Reads the wire format out of a compiled probe object's BTF.
 * @throws when the BTF does not describe one, as in an object of another program
 */
export function describeWire(btf: Btf): WireDescription {
  const event = btf.struct('event');
  const named = btf.struct('named_event');
  const counters = btf.struct('cpu_counters');
  const points = btf.enum('point');
  const flags = btf.enum('event_flags');
  const coverage = btf.enum('snapshot_coverage');
  const deviceStates = btf.enum('device_state');
  const wire = btf.enum('wire');
  const isComplete = event && named && counters && points && flags && coverage && deviceStates;
  if (!isComplete || !wire) {
    throw new Error('its BTF does not describe the vfioscope wire format');
  }
  return {
    version: wire.get('WIRE_VERSION') ?? 0,
    eventSize: event.size,
    namedSize: named.size,
    cpuCountersSize: counters.size,
    pointLimit: wire.get('POINT_LIMIT') ?? 0,
    event: event.fields,
    names: named.fields.filter((field) => field.offset >= event.size),
    cpuCounters: counters.fields,
    points: Object.fromEntries(points),
    flags: Object.fromEntries(flags),
    coverage: Object.fromEntries(coverage),
    deviceStates: Object.fromEntries(deviceStates),
  };
}
