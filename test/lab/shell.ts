// SPDX-License-Identifier: Apache-2.0
import type { Vm } from './vm.ts';

/** Connects this terminal to a shell in the VM until the shell ends. */
export async function runShell(vm: Vm, env: Readonly<Record<string, string>>): Promise<number> {
  const { stdin, stdout } = process;
  const shell = vm.start(['bash', '-i'], {
    env,
    tty: true,
    onStdout: (chunk) => stdout.write(chunk),
  });
  const resize = () => shell.resize(stdout.rows ?? 24, stdout.columns ?? 80);
  resize();
  stdout.on('resize', resize);
  stdin.on('data', (chunk) => shell.write(chunk));
  if (stdin.isTTY) {
    stdin.setRawMode(true);
  }
  try {
    return (await shell.exit).exitCode;
  } finally {
    if (stdin.isTTY) {
      stdin.setRawMode(false);
    }
  }
}
