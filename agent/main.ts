#!/usr/bin/env -S MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=65536 node --max-semi-space-size=2 --disable-sigusr1
/**
 * The command line. The variables above make glibc return freed memory to the kernel, such as the kernel's
 * types, which libbpf holds for a moment; V8 gets 2 MB for short-lived objects, because events allocate
 * none. docs/performance.md says how much memory that saves. Node's debugger must not open by a signal, not
 * even before a handler exists (see signals.ts).
 */
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { problemText, UserProblem } from '../src/problem.ts';
import { output } from './commands/output.ts';
import { describeSettings, type Override } from './config/load.ts';
import { stopSignal } from './signals.ts';
import { VERSION } from './version.ts';

/** Exit code for every failure that the user can fix, from a wrong flag to missing capabilities. */
const EXIT_PROBLEM = 2;
const PROBES = fileURLToPath(new URL('../bpf', import.meta.url));

/** Flags for settings that the file has, too. */
const FLAGS = {
  listen: { flag: '--listen', path: ['listen'] },
  logLevel: { flag: '--log-level', path: ['log', 'level'] },
  logFormat: { flag: '--log-format', path: ['log', 'format'] },
  ringBytes: { flag: '--ring-bytes', path: ['ring', 'bytes'] },
  attach: { flag: '--attach', path: ['attach', 'method'] },
  moduleBtf: { flag: '--no-module-btf', path: ['attach', 'module_btf'] },
  pin: { flag: '--pin', path: ['pin', 'enabled'] },
  budget: { flag: '--no-budget', path: ['budget', 'enabled'] },
} as const;

interface RunFlags extends Partial<Record<keyof typeof FLAGS, unknown>> {
  readonly config?: string;
  readonly probes: string;
}

interface RecordFlags extends RunFlags {
  readonly force?: boolean;
}

interface DoctorFlags {
  readonly json?: true;
  readonly probes: string;
  readonly attach?: 'auto' | 'kprobe' | 'tracefs';
  readonly moduleBtf: boolean;
}

interface RulesFlags extends Pick<DoctorFlags, 'json' | 'probes'> {
  readonly agent?: string;
}

interface ReplayFlags {
  readonly config?: string;
  readonly json?: boolean;
  readonly realtime?: boolean;
}

const program = new Command('vfioscope')
  .description(
    'Tracks the lifecycle of devices assigned to VMs (mdev, VFIO, KVM) and reports ordering violations.',
  )
  .version(VERSION)
  .exitOverride()
  .configureOutput({
    outputError: () => {},
    writeOut: (text) => output.print(text.replace(/\n$/, '')),
    writeErr: (text) => output.complain(text.replace(/\n$/, '')),
  })
  .showSuggestionAfterError();

const probesOption = new Option(
  '--probes <dir>',
  'directory of the compiled probe objects',
).default(PROBES, 'those of this build');

const attachOption = new Option(
  '--attach <method>',
  'how all probes are attached: kprobe (perf events), tracefs (probe definitions), or auto',
).choices(['auto', 'kprobe', 'tracefs']);

/** Has no default of its own: without the flag, the setting applies. */
const moduleBtfOption = new Option(
  '--no-module-btf',
  'ignore module BTF (as on kernels that have none)',
);

program
  .command('run')
  .description('run the agent until SIGINT or SIGTERM')
  .option('--config <file>', 'settings file (YAML)')
  .option('--listen <host:port>', 'address and port of metrics and API')
  .option('--log-level <level>', 'least severe level to log: debug, info, warn or error')
  .option('--log-format <format>', 'json, pretty, or auto (pretty on a terminal)')
  .option('--ring-bytes <n>', 'size of the ring buffer: a power of two', wholeNumber)
  .option('--pin', 'keep the probes attached when the agent stops, for the next agent to continue')
  .option('--no-budget', 'never detach probes because of what they cost')
  .addOption(attachOption)
  .addOption(moduleBtfOption)
  .addOption(probesOption)
  .addHelpText(
    'after',
    () => `\nSettings of the file, with their defaults:\n${describeSettings().join('\n')}`,
  )
  .action(async (flags: RunFlags) => {
    const { run } = await import('./commands/run.ts');
    await run({ config: flags.config, overrides: overrides(flags), probeDirectory: flags.probes });
  });

program
  .command('doctor')
  .description('check which probe points and rules work on this host')
  .option('--json', 'print JSON')
  .addOption(attachOption)
  .addOption(moduleBtfOption)
  .addOption(probesOption)
  .addHelpText(
    'after',
    '\nExit code: 0 everything works, 1 some points or rules do not work, 2 nothing can work.',
  )
  .action(async ({ json, probes, attach: method = 'auto', moduleBtf }: DoctorFlags) => {
    const { examine, render } = await import('./commands/doctor.ts');
    // Attaches probes and detaches them, which must not be cut short.
    void stopSignal();
    const report = examine(probes, { method, moduleBtf });
    output.print(json ? JSON.stringify(report, null, 2) : render(report));
    process.exitCode = report.exit;
  });

program
  .command('rules')
  .description('list the rules and whether they are active on this host')
  .option('--json', 'print JSON')
  .option('--agent <url>', 'ask a running agent instead of trying the probes')
  .addOption(probesOption)
  .action(async ({ json, probes, agent }: RulesFlags) => {
    const { listRules, listRulesOf, renderRules } = await import('./commands/rules.ts');
    void stopSignal();
    const list = agent === undefined ? listRules(probes) : await listRulesOf(agent);
    output.print(json ? JSON.stringify(list, null, 2) : renderRules(list));
  });

program
  .command('explain')
  .description('describe a rule: what it detects, what to do, and examples')
  .argument('<rule>', 'the id of the rule, as vfioscope rules lists it')
  .action(async (id: string) => {
    const { explain } = await import('./commands/explain.ts');
    const { stdout } = process;
    const colour = stdout.isTTY && stdout.hasColors();
    output.print(explain(id, { width: stdout.columns, colour }));
  });

program
  .command('record')
  .description('record events to a file, to replay them later or elsewhere')
  .argument('<file>', 'the new recording')
  .option('--config <file>', 'settings file (YAML); ring and attach are used')
  .option('--force', 'replace an existing file')
  .option('--ring-bytes <n>', 'size of the ring buffer: a power of two', wholeNumber)
  .addOption(attachOption)
  .addOption(moduleBtfOption)
  .addOption(probesOption)
  .action(async (file: string, flags: RecordFlags) => {
    const { recordHost } = await import('./commands/record.ts');
    await recordHost({
      file,
      force: flags.force ?? false,
      config: flags.config,
      overrides: overrides(flags),
      probeDirectory: flags.probes,
    });
  });

program
  .command('replay')
  .description('run a recording through the rules of this version')
  .argument('<file>', 'a recording by vfioscope record')
  .option('--config <file>', 'settings file (YAML); rules and retention are used')
  .option('--json', 'print JSON')
  .addOption(
    new Option('--realtime', 'replay at the recorded speed, with a line for each step').conflicts(
      'json',
    ),
  )
  .addHelpText(
    'after',
    '\nExit code: 0 complete, 2 nothing can be replayed, 3 the recording is truncated or damaged.',
  )
  .action(async (file: string, { config, json = false, realtime = false }: ReplayFlags) => {
    const { replay } = await import('./commands/replay.ts');
    process.exitCode = await replay({ file, config, json, realtime });
  });

program
  .command('unpin')
  .description('detach and remove the probes that vfioscope run --pin left in the kernel')
  .option('--config <file>', 'settings file (YAML); pin is used')
  .action(async ({ config }: { config?: string }) => {
    const { unpin } = await import('./commands/unpin.ts');
    output.print(await unpin(config));
  });

program.parseAsync().catch((error: unknown) => {
  process.exitCode = report(error);
});

function overrides(flags: RunFlags): Override[] {
  // commander gives true for a --no- flag that is absent.
  const unless = (value: unknown) => (value === true ? undefined : value);
  const [moduleBtf, budget] = [unless(flags.moduleBtf), unless(flags.budget)];
  const given = { ...flags, moduleBtf, budget };
  return (Object.keys(FLAGS) as (keyof typeof FLAGS)[])
    .filter((key) => given[key] !== undefined)
    .map((key) => ({ ...FLAGS[key], value: given[key] }));
}

function wholeNumber(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('must be a whole number.');
  return Number(text);
}

/** Prints why a command failed. @returns the exit code */
function report(error: unknown): number {
  if (error instanceof CommanderError) {
    // Help was requested, or was shown because there was no command.
    if (error.exitCode === 0 || error.code === 'commander.help') return error.exitCode;
    const message = error.message.replace(/^error: /, '');
    const next = 'vfioscope --help lists commands, vfioscope COMMAND --help lists flags';
    output.complain(problemText({ code: 'cli.usage', message, next }));
    return EXIT_PROBLEM;
  }
  if (error instanceof UserProblem) {
    output.complain(problemText(error));
    return EXIT_PROBLEM;
  }
  output.complain('vfioscope: internal error; please report it with the lines below');
  output.complain(inspect(error));
  return 70;
}
