// What a kernel does is decided by its traits (src/events/traits.ts), never by its number. These are the ways in
// which code would get at that number or compare it; where a line only prints it, the exception says so.

import type { WordCheck } from './words.ts';

const INSTEAD = 'a trait (src/events/traits.ts), because VFIO is often newer than its kernel';

export const KERNEL_NUMBERS: WordCheck = {
  words: [
    { pattern: /\b(LINUX_KERNEL_VERSION|LINUX_VERSION_CODE|KERNEL_VERSION)\b/, instead: INSTEAD },
    { pattern: /\b(is_?(at_?least|since)|kernel_?version(_?of)?)\b/, instead: INSTEAD },
    { pattern: /\bosrelease\b|\/proc\/version\b|'uname'/, instead: INSTEAD },
    { pattern: /\brelease\b.* from 'node:os'/, instead: INSTEAD },
    // A number as its parts, which is how versions are compared: [6, 12].
    { pattern: /(?<!(assert|deepEqual).*)(=|:|\(|,) \[[5-9], \d{1,2}\]/, instead: INSTEAD },
    { pattern: /\bkernel\.(split|match|localeCompare|startsWith)\(/, instead: INSTEAD },
  ],
  exceptions: [
    ...[
      ['src/kernel/host.ts', 'names the kernel in a problem'],
      ['src/kernel/kernel-modules.ts', 'the directory of its modules is named after it'],
      ['src/kernel/kernel-modules.test.ts', 'the directory of its modules is named after it'],
      ['agent/runtime/preflight.ts', 'names the kernel in a problem'],
      ['agent/runtime/resource.ts', 'an attribute of telemetry'],
      ['agent/commands/doctor.ts', 'prints it'],
      ['agent/commands/record.ts', 'writes it into the header of a recording'],
      ['agent/commands/rules.ts', 'prints it'],
    ].map(([path, reason]) => ({ path, line: /from 'node:os'/, reason })),
    {
      path: 'agent/commands/recordings.test.ts',
      line: /header\.kernel\.startsWith/,
      reason: 'the recording is of the kernel that its file is named after',
    },
  ],
  paths: ['src/', 'agent/', 'bpf/'],
};
