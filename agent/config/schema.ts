/** All settings of the agent: one schema for the file, the flags and the help text. */
import { DEFAULT_DRIVERS, DEFAULT_THRESHOLDS, LEAST_THRESHOLD } from '../../src/engine/rule.ts';
import type { Schema, Value } from '../../src/schema.ts';
import { DEFAULT_MAX_SPAN_AGE } from '../../src/telemetry/segments.ts';
import { SECOND } from '../../src/units.ts';

/** 0 to 65535. */
const PORT = '\\d{1,4}|[1-5]\\d{4}|6[0-4]\\d{3}|65[0-4]\\d{2}|655[0-2]\\d|6553[0-5]';

/** The default directory of pinned probes. */
export const PIN_DIRECTORY = '/sys/fs/bpf/vfioscope';

export const CONFIG_SCHEMA = section({
  listen: {
    type: 'string',
    default: '127.0.0.1:10055',
    pattern: `^(\\[[0-9a-fA-F:.]+(%[\\w.-]+)?\\]|[\\w.-]+):(${PORT})$`,
    description: 'address and port of metrics and API, such as 127.0.0.1:10055 or [::1]:10055',
  },
  log: section({
    level: {
      enum: ['debug', 'info', 'warn', 'error'],
      default: 'info',
      description: 'least severe level to log: debug, info, warn, error',
    },
    format: {
      enum: ['auto', 'json', 'pretty'],
      default: 'auto',
      description: 'json, pretty, or auto: pretty on a terminal',
    },
  }),
  kernel_log: section({
    enabled: {
      type: 'boolean',
      default: true,
      description: 'add lines of the kernel log to violations of the same time and device',
    },
  }),
  vm: section({
    read_command_line: {
      type: 'boolean',
      default: true,
      description:
        'read name and UUID of a guest from the command line of its VMM, and nothing else of it',
    },
  }),
  ring: section({
    bytes: {
      type: 'integer',
      default: 2 ** 20,
      description: 'size of the ring buffer, which holds unread events; a power of two',
    },
  }),
  attach: section({
    method: {
      enum: ['auto', 'kprobe', 'tracefs'],
      default: 'auto',
      description: 'how probes are attached: kprobe or tracefs for all, or auto',
    },
    module_btf: {
      type: 'boolean',
      default: true,
      description: 'use module BTF; false to ignore it (as on kernels that have none)',
    },
  }),
  pin: section({
    enabled: {
      type: 'boolean',
      default: false,
      description: 'keep the probes attached when the agent stops, for the next agent to continue',
    },
    directory: {
      type: 'string',
      default: PIN_DIRECTORY,
      pattern: '^/[^.]+$',
      description: 'directory of pinned probes, an absolute path in a BPF file system',
    },
  }),
  state: section({
    directory: {
      type: 'string',
      default: '/run/vfioscope',
      pattern: '^/.',
      description: 'directory where critical violations are kept until the next boot',
    },
  }),
  budget: section({
    enabled: {
      type: 'boolean',
      default: true,
      description: 'detach probes while they or the agent cost too much',
    },
    probes_percent: {
      type: 'number',
      default: 5,
      minimum: 0,
      description: 'what the probes may cost in the kernel, in percent of one CPU; 0 for no limit',
    },
    agent_percent: {
      type: 'number',
      default: 50,
      minimum: 0,
      description:
        'what the agent may cost because of events, in percent of one CPU; 0 for no limit',
    },
    detach_after_seconds: {
      type: 'number',
      default: 30,
      minimum: 3,
      description: 'how long the cost is over the budget before probes are detached',
    },
    reattach_after_seconds: {
      type: 'number',
      default: 300,
      minimum: 3,
      description:
        'how long the cost is below half of the budget before they are attached again; doubled after each failure',
    },
  }),
  metrics: section({
    per_device: {
      type: 'boolean',
      default: true,
      description: 'export series for single devices, VMs and open violations',
    },
    max_devices: {
      type: 'integer',
      default: 1000,
      minimum: 0,
      description:
        'maximum number of devices, of VMs and of open violations with series of their own',
    },
    process: {
      type: 'boolean',
      default: true,
      description: 'export what the process and Node.js use: process_… and nodejs_…',
    },
  }),
  otel: {
    type: 'object',
    default: {},
    description: 'OTEL_… variables of OpenTelemetry; those of the environment win',
  },
  traces: section({
    max_span_age_seconds: {
      type: 'integer',
      default: DEFAULT_MAX_SPAN_AGE / SECOND,
      minimum: 600,
      description:
        'cut spans of lifecycles and phases that last longer than this into linked parts',
    },
  }),
  retention: section({
    ended: {
      type: 'integer',
      default: 1000,
      minimum: 1,
      description: 'number of ended devices, and of ended VMs, kept for the API',
    },
    violations: {
      type: 'integer',
      default: 1000,
      minimum: 1,
      description: 'number of violations kept for the API',
    },
  }),
  rules: section({
    disabled: {
      type: 'array',
      items: { type: 'string' },
      default: [],
      description: 'ids of rules to disable',
    },
    open_stall_seconds: duration(
      DEFAULT_THRESHOLDS.openStall,
      'report opens of a device that take longer than this',
    ),
    close_stall_seconds: duration(
      DEFAULT_THRESHOLDS.closeStall,
      'report closes of a device that take longer than this',
    ),
    create_stall_seconds: duration(
      DEFAULT_THRESHOLDS.createStall,
      'report creations of a device that take longer than this',
    ),
    bind_stall_seconds: duration(
      DEFAULT_THRESHOLDS.bindStall,
      'report drivers that take longer than this to set a device up, outside of a creation',
    ),
    vm_destroy_stall_seconds: duration(
      DEFAULT_THRESHOLDS.vmDestroyStall,
      'report VMs whose destruction takes longer than this',
    ),
    call_stall_seconds: duration(
      DEFAULT_THRESHOLDS.callStall,
      'report other calls (VM, group, parent, module) that take longer than this',
    ),
    remove_stall_seconds: duration(
      DEFAULT_THRESHOLDS.removeStall,
      'report removals that wait longer than this',
    ),
    parent_unregister_stall_seconds: duration(
      DEFAULT_THRESHOLDS.parentUnregisterStall,
      'report unregistrations of a parent that take longer than this',
    ),
    request_ignored_seconds: duration(
      DEFAULT_THRESHOLDS.requestIgnored,
      'report users that still hold a device this long after its driver requested release',
    ),
    never_registered_seconds: duration(
      DEFAULT_THRESHOLDS.neverRegistered,
      'report vfio_devices that are neither registered nor freed after this time',
    ),
    create_serialised_seconds: duration(
      DEFAULT_THRESHOLDS.createSerialised,
      'report creations that take longer than this while others wait',
    ),
    vm_pinned_seconds: duration(
      DEFAULT_THRESHOLDS.vmPinned,
      'report zombie VMs (closed, not destroyed) that a device still references after this time',
    ),
    kvm_ref_leak_seconds: duration(
      DEFAULT_THRESHOLDS.kvmRefLeak,
      'report zombie VMs that nothing known references after this time',
    ),
    never_opened_seconds: duration(
      DEFAULT_THRESHOLDS.neverOpened,
      'report devices that nobody has opened this long after they were created or bound',
    ),
    cdev_unbound_seconds: duration(
      DEFAULT_THRESHOLDS.cdevUnbound,
      'report device cdevs that are open and bound to no iommufd after this time',
    ),
    grace_seconds: duration(
      DEFAULT_THRESHOLDS.grace,
      'time that a state must last before rules report it',
    ),
    drivers_needing_kvm: drivers(DEFAULT_DRIVERS.needKvm, 'drivers whose devices need a VM'),
    drivers_one_device_per_vm: drivers(
      DEFAULT_DRIVERS.oneDevicePerVm,
      'drivers that allow only one of their devices per VM',
    ),
  }),
});

export type Config = Value<typeof CONFIG_SCHEMA>;

/** Settings under one key. Each has a default, so the whole section may be left out. */
function section<const Properties extends Readonly<Record<string, Schema>>>(
  properties: Properties,
) {
  return { type: 'object', properties, default: {} } as const;
}

/** @param fallback ns; the setting is in seconds */
function duration(fallback: number, description: string) {
  const [byDefault, minimum] = [fallback / SECOND, LEAST_THRESHOLD / SECOND];
  return { type: 'number', default: byDefault, minimum, description } as const;
}

function drivers(fallback: ReadonlySet<string>, description: string) {
  return { type: 'array', items: { type: 'string' }, default: [...fallback], description } as const;
}
