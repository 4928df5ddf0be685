/** Every setting of the agent: one schema for the file, the flags' targets and the help text. */
import { DEFAULT_DRIVERS, DEFAULT_THRESHOLDS, SECOND } from '../../src/rules/rule.ts';
import type { Schema, Value } from './check.ts';

/** 0 to 65535. */
const PORT = '\\d{1,4}|[1-5]\\d{4}|6[0-4]\\d{3}|65[0-4]\\d{2}|655[0-2]\\d|6553[0-5]';

/** Where pinned probes are unless told otherwise. */
export const PIN_DIRECTORY = '/sys/fs/bpf/vfioscope';

export const CONFIG_SCHEMA = section({
  listen: {
    type: 'string',
    default: '127.0.0.1:10055',
    pattern: `^(\\[[0-9a-fA-F:.]+\\]|[^:\\[\\]]+):(${PORT})$`,
    description: 'address and port of metrics and API',
  },
  log: section({
    level: {
      enum: ['debug', 'info', 'warn', 'error'],
      default: 'info',
      description: 'least severe lines to log: debug, info, warn, error',
    },
    format: {
      enum: ['auto', 'json', 'pretty'],
      default: 'auto',
      description: 'json, pretty, or auto: pretty on a terminal',
    },
  }),
  ring: section({
    bytes: {
      type: 'integer',
      default: 2 ** 20,
      description: 'room for events that were not read yet; a power of two',
    },
  }),
  attach: section({
    method: {
      enum: ['auto', 'kprobe', 'tracefs'],
      default: 'auto',
      description: 'how probes are attached: auto, or one way for all, kprobe or tracefs',
    },
    module_btf: {
      type: 'boolean',
      default: true,
      description:
        'use what modules say of their types; false to do as on kernels where they do not',
    },
  }),
  pin: section({
    enabled: {
      type: 'boolean',
      default: false,
      description: 'leave the probes recording when the agent stops, for the next one to go on',
    },
    directory: {
      type: 'string',
      default: PIN_DIRECTORY,
      pattern: '^/[^.]+$',
      description: 'where pinned probes are, an absolute path in a BPF file system',
    },
  }),
  metrics: section({
    per_device: {
      type: 'boolean',
      default: true,
      description: 'series for single devices, VMs and open violations',
    },
    max_devices: {
      type: 'integer',
      default: 1000,
      minimum: 0,
      description: 'most devices, VMs and open violations with series of their own',
    },
  }),
  otel: {
    type: 'object',
    default: {},
    description: 'OTEL_… variables of OpenTelemetry, by their names; the environment wins',
  },
  keep: section({
    ended: {
      type: 'integer',
      default: 1000,
      minimum: 1,
      description: 'ended devices, and ended VMs, that stay in the API',
    },
    violations: {
      type: 'integer',
      default: 1000,
      minimum: 1,
      description: 'violations that stay in the API',
    },
  }),
  rules: section({
    disabled: {
      type: 'array',
      items: { type: 'string' },
      default: [],
      description: 'ids of rules to leave out',
    },
    remove_stall_seconds: duration(
      DEFAULT_THRESHOLDS.removeStall,
      'a removal that waits longer is a stall',
    ),
    parent_unregister_stall_seconds: duration(
      DEFAULT_THRESHOLDS.parentUnregisterStall,
      'the withdrawal of a parent that takes longer is a stall',
    ),
    request_ignored_seconds: duration(
      DEFAULT_THRESHOLDS.requestIgnored,
      'users who keep a device longer after its driver asked for it ignore that',
    ),
    never_registered_seconds: duration(
      DEFAULT_THRESHOLDS.neverRegistered,
      'a vfio_device that is neither registered nor freed longer is forgotten',
    ),
    create_serialised_seconds: duration(
      DEFAULT_THRESHOLDS.createSerialised,
      'a create that takes longer while others wait is told',
    ),
    vm_pinned_seconds: duration(
      DEFAULT_THRESHOLDS.vmPinned,
      'a closed VM that a device keeps longer is pinned',
    ),
    kvm_ref_leak_seconds: duration(
      DEFAULT_THRESHOLDS.kvmRefLeak,
      'a closed VM that nothing holds longer is leaked',
    ),
    grace_seconds: duration(
      DEFAULT_THRESHOLDS.grace,
      'time for a state to settle before it counts',
    ),
    drivers_needing_kvm: drivers(DEFAULT_DRIVERS.needKvm, 'drivers that cannot work without a VM'),
    drivers_one_device_per_vm: drivers(
      DEFAULT_DRIVERS.oneDevicePerVm,
      'drivers that allow a VM only one of their devices',
    ),
  }),
});

export type Config = Value<typeof CONFIG_SCHEMA>;

/** Settings under one key; each has a default, so all of it may be left out. */
function section<const Properties extends Readonly<Record<string, Schema>>>(
  properties: Properties,
) {
  return { type: 'object', properties, default: {} } as const;
}

/** @param fallback ns; users give seconds */
function duration(fallback: number, description: string) {
  return { type: 'number', default: fallback / SECOND, minimum: 0.1, description } as const;
}

function drivers(fallback: ReadonlySet<string>, description: string) {
  return { type: 'array', items: { type: 'string' }, default: [...fallback], description } as const;
}
