#!/usr/bin/env -S MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=65536 node --max-semi-space-size=2
/**
 * The command line: what vfioscope can be told to do. By what is set above, glibc gives back what was
 * freed, such as the kernel's types, which libbpf has in memory for a moment, and V8 holds 2 MB for
 * short-lived objects, because events make none. How much that saves is in docs/performance.md.
 */
import { fileURLToPath } from 'node:url';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { UserProblem } from '../src/problem.ts';
import { describeSettings, type Override } from './config/load.ts';
import { VERSION } from './version.ts';

/** Exit code for anything that its user can mend, from a wrong flag to missing rights. */
const EXIT_PROBLEM = 2;
const PROBES = fileURLToPath(new URL('../bpf', import.meta.url));

/** Flags that set something that the file can set too. */
const FLAGS = {
  listen: { flag: '--listen', path: ['listen'] },
  logLevel: { flag: '--log-level', path: ['log', 'level'] },
  logFormat: { flag: '--log-format', path: ['log', 'format'] },
  ringBytes: { flag: '--ring-bytes', path: ['ring', 'bytes'] },
  attach: { flag: '--attach', path: ['attach', 'method'] },
  moduleBtf: { flag: '--no-module-btf', path: ['attach', 'module_btf'] },
  pin: { flag: '--pin', path: ['pin', 'enabled'] },
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

interface ReplayFlags {
  readonly config?: string;
  readonly json?: boolean;
  readonly realtime?: boolean;
}

const program = new Command('vfioscope')
  .description('Watches the lives of mediated and passed-through devices and flags wrong orders.')
  .version(VERSION)
  .exitOverride()
  .configureOutput({ outputError: () => {} })
  .showSuggestionAfterError();

const probesOption = new Option('--probes <dir>', 'where the compiled probe objects are').default(
  PROBES,
  'of this build',
);

const attachOption = new Option(
  '--attach <method>',
  'auto, or one way for all probes: kprobe (perf events), tracefs (definitions there)',
).choices(['auto', 'kprobe', 'tracefs']);

/** Given or not: what it is without lies in the settings. */
const moduleBtfOption = new Option(
  '--no-module-btf',
  'do as on a kernel whose modules do not tell their types',
);

program
  .command('run')
  .description('watch this host until SIGINT or SIGTERM')
  .option('--config <file>', 'settings, YAML')
  .option('--listen <host:port>', 'address of metrics and API')
  .option('--log-level <level>', 'debug, info, warn or error')
  .option('--log-format <format>', 'json, pretty or auto')
  .option('--ring-bytes <n>', 'room for unread events, a power of two', wholeNumber)
  .option('--pin', 'leave the probes recording when the agent stops, for the next one to go on')
  .addOption(attachOption)
  .addOption(moduleBtfOption)
  .addOption(probesOption)
  .addHelpText(
    'after',
    () => `\nSettings of the file, and what they are by default:\n${describeSettings().join('\n')}`,
  )
  .action(async (flags: RunFlags) => {
    const { run } = await import('./commands/run.ts');
    await run({ config: flags.config, overrides: overrides(flags), probeDirectory: flags.probes });
  });

program
  .command('doctor')
  .description('say what will work on this host and what will not')
  .option('--json', 'for machines')
  .addOption(attachOption)
  .addOption(moduleBtfOption)
  .addOption(probesOption)
  .addHelpText(
    'after',
    '\nExit code: 0 everything works, 1 some points or rules do not, 2 nothing can.',
  )
  .action(async ({ json, probes, attach: method = 'auto', moduleBtf }: DoctorFlags) => {
    const { examine, render } = await import('./commands/doctor.ts');
    const report = examine(probes, { method, moduleBtf });
    console.log(json ? JSON.stringify(report, null, 2) : render(report));
    process.exitCode = report.exit;
  });

program
  .command('rules')
  .description('list the rules, and say which of them are active on this host')
  .option('--json', 'for machines')
  .addOption(probesOption)
  .action(async ({ json, probes }: Pick<DoctorFlags, 'json' | 'probes'>) => {
    const { listRules, renderRules } = await import('./commands/rules.ts');
    const list = listRules(probes);
    console.log(json ? JSON.stringify(list, null, 2) : renderRules(list));
  });

program
  .command('explain')
  .description('tell all about a rule: what is wrong, what to do, and examples')
  .argument('<rule>', 'its id, as vfioscope rules and violations name it')
  .action(async (id: string) => {
    const { explain } = await import('./commands/explain.ts');
    const { stdout } = process;
    const colour = stdout.isTTY && stdout.hasColors();
    console.log(explain(id, { width: stdout.columns, colour }));
  });

program
  .command('record')
  .description('keep what the kernel tells, to replay it later or elsewhere')
  .argument('<file>', 'a new file')
  .option('--config <file>', 'settings, YAML; those of ring and attach count')
  .option('--force', 'replace a file that is there')
  .option('--ring-bytes <n>', 'room for unread events, a power of two', wholeNumber)
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
  .description('show what a recording tells, with the rules of this agent')
  .argument('<file>', 'what vfioscope record wrote')
  .option('--config <file>', 'settings, YAML; those of rules and keep count')
  .option('--json', 'for machines')
  .addOption(
    new Option('--realtime', 'as fast as it happened, a line for each step').conflicts('json'),
  )
  .addHelpText(
    'after',
    '\nExit code: 0 it is shown whole, 2 nothing of it can be shown, 3 it breaks off or is damaged.',
  )
  .action(async (file: string, { config, json = false, realtime = false }: ReplayFlags) => {
    const { replay } = await import('./commands/replay.ts');
    process.exitCode = await replay({ file, config, json, realtime });
  });

program
  .command('unpin')
  .description('remove what vfioscope run --pin has left in the kernel')
  .option('--config <file>', 'settings, YAML; those of pin count')
  .action(async ({ config }: { config?: string }) => {
    const { unpin } = await import('./commands/unpin.ts');
    console.log(await unpin(config));
  });

program.parseAsync().catch((error: unknown) => {
  process.exitCode = tell(error);
});

function overrides(flags: RunFlags): Override[] {
  // A flag that switches off is true when it is not there.
  const given = { ...flags, moduleBtf: flags.moduleBtf === true ? undefined : flags.moduleBtf };
  return (Object.keys(FLAGS) as (keyof typeof FLAGS)[])
    .filter((key) => given[key] !== undefined)
    .map((key) => ({ ...FLAGS[key], value: given[key] }));
}

function wholeNumber(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('a whole number is expected.');
  return Number(text);
}

/** @returns the exit code */
function tell(error: unknown): number {
  if (error instanceof CommanderError) {
    // Help was asked for, or nothing was asked for and help was shown.
    if (error.exitCode === 0 || error.code === 'commander.help') return error.exitCode;
    console.error(`vfioscope: ${error.message.replace(/^error: /, '')}`);
    console.error('  vfioscope --help tells what there is');
    return EXIT_PROBLEM;
  }
  if (error instanceof UserProblem) {
    console.error(`vfioscope: ${error.message}`);
    console.error(`  what to do: ${error.next}`);
    return EXIT_PROBLEM;
  }
  console.error('vfioscope: this is a bug, please report it with the lines below');
  console.error(error);
  return 70;
}
