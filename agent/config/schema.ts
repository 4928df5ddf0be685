/** Every setting of the agent: one schema for the file, the flags' targets and the help text. */
import Type, { type Static } from 'typebox';

/** 0 to 65535. */
const PORT = '\\d{1,4}|[1-5]\\d{4}|6[0-4]\\d{3}|65[0-4]\\d{2}|655[0-2]\\d|6553[0-5]';

/** Where pinned probes are unless told otherwise. */
export const PIN_DIRECTORY = '/sys/fs/bpf/vfioscope';

const closed = { additionalProperties: false };

export const ConfigSchema = Type.Object(
  {
    listen: Type.String({
      default: '127.0.0.1:10055',
      pattern: `^(\\[[0-9a-fA-F:.]+\\]|[^:\\[\\]]+):(${PORT})$`,
      description: 'address and port of metrics and API',
    }),
    log: Type.Object(
      {
        level: Type.Union(
          [
            Type.Literal('debug'),
            Type.Literal('info'),
            Type.Literal('warn'),
            Type.Literal('error'),
          ],
          { default: 'info', description: 'least severe lines to log: debug, info, warn, error' },
        ),
        format: Type.Union([Type.Literal('auto'), Type.Literal('json'), Type.Literal('pretty')], {
          default: 'auto',
          description: 'json, pretty, or auto: pretty on a terminal',
        }),
      },
      { ...closed, default: {} },
    ),
    ring: Type.Object(
      {
        bytes: Type.Integer({
          default: 2 ** 20,
          description: 'room for events that were not read yet; a power of two',
        }),
      },
      { ...closed, default: {} },
    ),
    attach: Type.Object(
      {
        method: Type.Union(
          [Type.Literal('auto'), Type.Literal('kprobe'), Type.Literal('tracefs')],
          {
            default: 'auto',
            description: 'how probes are attached: auto, or one way for all, kprobe or tracefs',
          },
        ),
        module_btf: Type.Boolean({
          default: true,
          description:
            'use what modules say of their types; false to do as on kernels where they do not',
        }),
      },
      { ...closed, default: {} },
    ),
    pin: Type.Object(
      {
        enabled: Type.Boolean({
          default: false,
          description: 'leave the probes recording when the agent stops, for the next one to go on',
        }),
        directory: Type.String({
          default: PIN_DIRECTORY,
          pattern: '^/[^.]+$',
          description: 'where pinned probes are, an absolute path in a BPF file system',
        }),
      },
      { ...closed, default: {} },
    ),
    metrics: Type.Object(
      {
        per_device: Type.Boolean({
          default: true,
          description: 'series for single devices and VMs',
        }),
        max_devices: Type.Integer({
          default: 1000,
          minimum: 0,
          description: 'most devices, and most VMs, with series of their own',
        }),
      },
      { ...closed, default: {} },
    ),
    keep: Type.Object(
      {
        ended: Type.Integer({
          default: 1000,
          minimum: 1,
          description: 'ended devices, and ended VMs, that stay in the API',
        }),
        violations: Type.Integer({
          default: 1000,
          minimum: 1,
          description: 'violations that stay in the API',
        }),
      },
      { ...closed, default: {} },
    ),
    rules: Type.Object(
      {
        disabled: Type.Array(Type.String(), {
          default: [],
          description: 'ids of rules to leave out',
        }),
        remove_stall_seconds: duration(10, 'a removal that waits longer is a stall'),
        vm_pinned_seconds: duration(10, 'a closed VM that a device keeps longer is pinned'),
        kvm_ref_leak_seconds: duration(5, 'a closed VM that nothing holds longer is leaked'),
        grace_seconds: duration(2, 'time for a state to settle before it counts'),
      },
      { ...closed, default: {} },
    ),
  },
  { ...closed, default: {} },
);

export type Config = Static<typeof ConfigSchema>;

function duration(seconds: number, description: string) {
  return Type.Number({ default: seconds, minimum: 0.1, description });
}
