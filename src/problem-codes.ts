/**
 * The codes of all failures that a user can fix, with their usual cause and remedy. docs/errors.md is
 * generated from this table. A code is an area and the fault in words, not a number: a line of a log can
 * be understood without looking it up, and the code can still be searched for. A code that was released
 * never gets another meaning.
 */

interface Explained {
  readonly cause: string;
  readonly remedy: string;
}

export const PROBLEM_CODES = {
  'agent.no-answer': {
    cause: 'No vfioscope agent answers at the given address.',
    remedy: 'Give the address that the log of the agent names, such as `http://127.0.0.1:10055`.',
  },
  'api.unknown-filter': {
    cause: 'A query of `/api/v1/violations` names a filter that does not exist.',
    remedy: 'Use `kind`, `state`, `severity`, `rule` or `device`.',
  },
  'api.unknown-value': {
    cause: 'A filter of `/api/v1/violations` has a value that no violation can have.',
    remedy: 'Use one of the values that the answer lists.',
  },
  'build.object-unreadable': {
    cause: 'A compiled probe object is missing or is not a BPF object.',
    remedy:
      'Reinstall vfioscope, build the objects (`npm run build:bpf`), or correct the path given to `--probes`.',
  },
  'build.version-mismatch': {
    cause: 'The probe objects and the agent are from different builds: their wire formats differ.',
    remedy: 'Install both from one build.',
  },
  'cli.usage': {
    cause: 'A command, flag or argument is unknown, missing or malformed.',
    remedy: '`vfioscope --help` lists the commands, `vfioscope COMMAND --help` the flags.',
  },
  'config.invalid-value': {
    cause: 'A setting has a value of the wrong type or outside its range.',
    remedy: 'Use a value that [configuration.md](configuration.md) describes.',
  },
  'config.not-a-mapping': {
    cause: 'The settings file contains a list or a single value.',
    remedy: 'Write settings as `key: value`.',
  },
  'config.renamed': {
    cause: 'A setting has the name of an earlier version.',
    remedy: 'Use the new name, which the message states.',
  },
  'config.syntax': {
    cause: 'The settings file is not valid YAML.',
    remedy: 'Correct the file at the line that the message names.',
  },
  'config.too-large': {
    cause: 'The settings file has more than 256 KiB, or is a device without an end.',
    remedy: 'Correct the path given to `--config`; settings take a few hundred lines at most.',
  },
  'config.unknown-key': {
    cause: 'A setting does not exist, often because of a typing error.',
    remedy: 'Use one of the keys that the message lists.',
  },
  'config.unknown-rule': {
    cause: '`rules.disabled` names a rule that does not exist.',
    remedy: 'Use an id that `vfioscope rules` lists.',
  },
  'config.unreadable': {
    cause: 'The settings file does not exist or cannot be read.',
    remedy: 'Correct the path given to `--config`, or the permissions of the file.',
  },
  'host.attach-failed': {
    cause: 'The kernel did not accept the probes, for a reason without a code of its own.',
    remedy: 'Run `vfioscope doctor`, and report its output with `--json` if it does not help.',
  },
  'host.bpf-refused': {
    cause: 'The kernel refuses tracing programs, as in a sandbox or a restricted guest.',
    remedy:
      'Run vfioscope on the host itself. The kernel needs `CONFIG_KPROBES` and `CONFIG_BPF_EVENTS`.',
  },
  'host.locked-down': {
    cause:
      'Kernel lockdown is in confidentiality mode, in which no program may read kernel memory.',
    remedy: 'Boot with `lockdown=integrity` or without lockdown.',
  },
  'host.missing-capabilities': {
    cause: 'The process lacks `CAP_SYS_ADMIN`, `CAP_PERFMON` or `CAP_BPF`.',
    remedy: 'Run vfioscope as root, or give the service these capabilities.',
  },
  'host.no-btf': {
    cause: 'The kernel has no BTF, or a container does not see it.',
    remedy:
      'Use a kernel built with `CONFIG_DEBUG_INFO_BTF`; in a container, mount `/sys/kernel/btf`.',
  },
  'host.no-kprobes': {
    cause: 'The kernel was built without kprobes.',
    remedy: 'Use a kernel built with `CONFIG_KPROBES` and `CONFIG_KPROBE_EVENTS`.',
  },
  'host.no-libbpf': {
    cause: 'The library libbpf 1.x is not installed.',
    remedy: 'Install it (Debian: `apt install libbpf1`).',
  },
  'host.no-sysfs': {
    cause: 'There is no sysfs at `/sys`.',
    remedy: 'Mount it; in a container, mount the `/sys` of the host.',
  },
  'host.sysfs-unreadable': {
    cause: 'A file or directory below `/sys` cannot be read.',
    remedy: 'Run vfioscope as root, and let its container or security module read `/sys`.',
  },
  'listen.in-use': {
    cause: 'Another process listens on the address of metrics and API.',
    remedy: 'Stop that process (`ss -ltnp` shows it), or set another address (`--listen`).',
  },
  'listen.unavailable': {
    cause: 'The address of metrics and API is not an address of this host, or may not be used.',
    remedy: 'Set an address of this host (`--listen`), such as `127.0.0.1:10055`.',
  },
  'output.unwritable': {
    cause:
      'The standard output of a command cannot be written: its disk is full, or its reader has gone.',
    remedy: 'Make room, or read the output to its end (`| head` does not).',
  },
  'pin.in-use': {
    cause: 'A running agent reads the probes that are pinned in this directory.',
    remedy: 'Stop that agent, or set another directory (`pin.directory`).',
  },
  'pin.no-bpf-fs': {
    cause: 'The directory for pinned probes is not in a BPF file system.',
    remedy:
      'Mount one (`mount -t bpf bpf /sys/fs/bpf`), or set another directory (`pin.directory`).',
  },
  'pin.unsupported-kernel': {
    cause: 'The kernel (before Linux 5.15) detaches a kprobe when its agent exits.',
    remedy: 'Run without `--pin`.',
  },
  'recording.cannot-create': {
    cause: 'The file of a new recording cannot be created.',
    remedy: 'Name a file in an existing directory in which you may write.',
  },
  'recording.damaged': {
    cause: 'The content of a recording is not what was written: a checksum or a number is wrong.',
    remedy: 'Copy the file again from where it was recorded.',
  },
  'recording.empty': {
    cause: 'The file is empty.',
    remedy: 'Record again.',
  },
  'recording.exists': {
    cause: 'The file of a new recording exists already.',
    remedy: 'Name another file, or replace it (`--force`).',
  },
  'recording.incompatible': {
    cause: 'The recording was made by a version whose records this agent cannot read.',
    remedy: 'Replay it with the version that the message names.',
  },
  'recording.no-end-mark': {
    cause: 'The recorder was killed, or is still recording.',
    remedy: 'None is needed: the recording is complete up to that byte.',
  },
  'recording.not-a-file': {
    cause: 'The name is that of a directory or of the standard output, where a file is needed.',
    remedy: 'Name a file.',
  },
  'recording.not-a-recording': {
    cause: 'The file does not begin like a recording of vfioscope.',
    remedy:
      'Name a file written by `vfioscope record`, and decompress it first if it is compressed.',
  },
  'recording.truncated': {
    cause: 'The recording ends in the middle of its header or of a block.',
    remedy:
      'Copy the file again from where it was recorded. If its disk was full, nothing more exists.',
  },
  'recording.unreadable': {
    cause: 'The recording does not exist or cannot be read.',
    remedy: 'Correct the path, the permissions or the disk.',
  },
  'recording.write-failed': {
    cause: 'A recording stopped because its file could not be written, often for lack of space.',
    remedy: 'Free space or record to another disk. What was written before can be replayed.',
  },
  'ring.invalid-size': {
    cause: 'The size of the ring buffer is not a power of two from one page to 2^30.',
    remedy: 'Set `ring.bytes` to a power of two, such as 1048576.',
  },
  'rules.unknown': {
    cause: 'A command names a rule that does not exist.',
    remedy: 'Use an id that `vfioscope rules` lists.',
  },
  'snapshot.debugfs-unreadable': {
    cause: 'A host snapshot could not read debugfs, so VMs that no process holds are not found.',
    remedy: 'Mount it (`mount -t debugfs debugfs /sys/kernel/debug`), and run vfioscope as root.',
  },
  'snapshot.files-unreadable': {
    cause:
      'A host snapshot could not read the open files of processes, so earlier opens are not found.',
    remedy: 'Report it with the output of `vfioscope doctor --json`.',
  },
  'snapshot.part-failed': {
    cause: 'A part of a host snapshot failed for a reason without a code of its own.',
    remedy: 'Report it with the line of the log.',
  },
} as const satisfies Readonly<Record<string, Explained>>;

export type ProblemCode = keyof typeof PROBLEM_CODES;
