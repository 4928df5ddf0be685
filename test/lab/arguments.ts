// SPDX-License-Identifier: Apache-2.0
import path from 'node:path';
import { parseArgs } from 'node:util';
import { messageOf } from '../../src/errors.ts';
import { LabError } from './errors.ts';
import { PREEMPTION_MODELS, type PreemptionModel } from './preemption.ts';

export const USAGE = `usage: node test/lab/main.ts [options] -- COMMAND...

Boots a kernel of test/lab/kernels.json in QEMU and runs the command in the VM.
The VM sees this machine's files; what it writes is gone when it ends.

  --kernel ID         kernel of the matrix, see --list (default: 6.12)
  --timeout SECONDS   hard limit for the VM, from its start (default: 120)
  --memory MIB        memory of the VM (default: 1024)
  --env NAME[=VALUE]  pass a variable to the command; may be repeated
  --forward PORT      reach the VM's TCP port on this machine's loopback; may be
                      repeated, HOSTPORT:PORT chooses the port here
  --share DIRECTORY   let the VM write to this directory
  --preempt MODEL     none, voluntary, full or lazy; not every kernel has all
  --append WORDS      more arguments for the kernel command line
  --device DEVICE     add a device of QEMU, such as e1000e,addr=8; may be repeated
  --keep-dmesg FILE   write the kernel's log to this file, not to the cache
  --shell             interactive shell instead of a command
  --refresh           fetch the kernel's newest package even if one is cached
  --list              print the kernel matrix
  -q, --quiet         print nothing but the command's output and errors
  -h, --help          print this text

Exit code: the command's; 124 after the time limit, 125 if the lab failed,
126 or 127 if the command could not be started.
`;

export interface LabArguments {
  action: 'run' | 'shell' | 'list' | 'help';
  command: readonly string[];
  kernel: string | undefined;
  timeoutMs: number;
  memoryMiB: number | undefined;
  env: Readonly<Record<string, string>>;
  forwards: readonly { guestPort: number; hostPort: number }[];
  share: string | undefined;
  preempt: PreemptionModel | undefined;
  append: readonly string[];
  devices: readonly string[];
  dmesgFile: string | undefined;
  refresh: boolean;
  quiet: boolean;
}

const LARGEST_PORT = 65535;

/** Reads the command line; `environment` gives the values for `--env NAME`. */
export function parseArguments(
  args: readonly string[],
  environment: NodeJS.ProcessEnv,
): LabArguments {
  const { values, positionals } = parse(args);
  const action = values.help ? 'help' : values.list ? 'list' : values.shell ? 'shell' : 'run';
  if (action === 'run' && positionals.length === 0) {
    throw new LabError('no command was given; see --help');
  }
  return {
    action,
    command: positionals,
    kernel: values.kernel,
    timeoutMs: 1000 * positiveNumber('--timeout', values.timeout),
    memoryMiB: values.memory === undefined ? undefined : positiveNumber('--memory', values.memory),
    env: Object.fromEntries(
      values.env.map((variable) => environmentVariable(variable, environment)),
    ),
    forwards: values.forward.map(forward),
    share: values.share === undefined ? undefined : path.resolve(values.share),
    preempt: values.preempt === undefined ? undefined : preemptionModel(values.preempt),
    append: values.append.flatMap(words),
    devices: values.device,
    dmesgFile: values['keep-dmesg'],
    refresh: values.refresh,
    quiet: values.quiet,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        kernel: { type: 'string' },
        timeout: { type: 'string', default: '120' },
        memory: { type: 'string' },
        env: { type: 'string', multiple: true, default: [] },
        forward: { type: 'string', multiple: true, default: [] },
        share: { type: 'string' },
        preempt: { type: 'string' },
        append: { type: 'string', multiple: true, default: [] },
        device: { type: 'string', multiple: true, default: [] },
        'keep-dmesg': { type: 'string' },
        shell: { type: 'boolean', default: false },
        refresh: { type: 'boolean', default: false },
        list: { type: 'boolean', default: false },
        quiet: { type: 'boolean', short: 'q', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
  } catch (error) {
    throw new LabError(`${messageOf(error)}\nsee --help`);
  }
}

function words(text: string): string[] {
  return text.split(' ').filter((word) => word !== '');
}

function positiveNumber(option: string, text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0) {
    throw new LabError(`${option} needs a number above 0, not "${text}"`);
  }
  return value;
}

function environmentVariable(text: string, environment: NodeJS.ProcessEnv): [string, string] {
  const separator = text.indexOf('=');
  if (separator > 0) {
    return [text.slice(0, separator), text.slice(separator + 1)];
  }
  const value = environment[text];
  if (value === undefined) {
    throw new LabError(
      `--env ${text}: there is no such variable here; give a value: --env ${text}=VALUE`,
    );
  }
  return [text, value];
}

function forward(text: string): { guestPort: number; hostPort: number } {
  const [guest = '', host = '0'] = text.split(':').reverse();
  const [guestPort, hostPort] = [Number(guest), Number(host)];
  const valid = (port: number) => Number.isInteger(port) && port >= 0 && port <= LARGEST_PORT;
  if (guestPort === 0 || !valid(guestPort) || !valid(hostPort)) {
    throw new LabError(`--forward needs PORT or HOSTPORT:PORT, not "${text}"`);
  }
  return { guestPort, hostPort };
}

function preemptionModel(text: string): PreemptionModel {
  const model = PREEMPTION_MODELS.find((name) => name === text);
  if (model === undefined) {
    throw new LabError(`--preempt needs one of ${PREEMPTION_MODELS.join(', ')}, not "${text}"`);
  }
  return model;
}
