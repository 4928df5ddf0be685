// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';

import { errorCode, LabError } from './errors.ts';

/** Which Debian package brings a tool, for the message that says it is missing. */
const PACKAGE_OF_TOOL: Readonly<Record<string, string>> = {
  'qemu-system-x86_64': 'qemu-system-x86',
  depmod: 'kmod',
  flock: 'util-linux',
  gcc: 'build-essential',
  make: 'build-essential',
  modinfo: 'kmod',
  pahole: 'pahole',
  setpriv: 'util-linux',
  unshare: 'util-linux',
  xz: 'xz-utils',
};

const LINES_OF_FAILURE = 15;

export interface CommandOptions {
  cwd?: string;
  signal?: AbortSignal | undefined;
}

/** Says which package to install for a tool that is not there. */
export function missingTool(tool: string): LabError {
  const name = PACKAGE_OF_TOOL[tool];
  const advice = name === undefined ? 'install it' : `run: apt-get install ${name}`;
  return new LabError(`${tool} was not found on this machine; ${advice}`);
}

/** Runs a tool on the host and returns what it printed; a failure carries the tool's last lines. */
export async function command(
  tool: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  const { cwd, signal } = options;
  signal?.throwIfAborted();
  // Its own process group, so that an abort reaches what the tool started too.
  const child = spawn(tool, args, { cwd, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  const stop = () => child.pid !== undefined && process.kill(-child.pid, 'SIGKILL');
  signal?.addEventListener('abort', stop);
  try {
    return await outcome(child, [tool, ...args]);
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

function outcome(child: ReturnType<typeof spawn>, words: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk));
    child.stderr?.on('data', (chunk: Buffer) => stderr.push(chunk));
    child.on('error', (error) =>
      reject(errorCode(error) === 'ENOENT' ? missingTool(words[0] ?? '') : error),
    );
    child.on('close', (code, killedBy) => {
      const printed = Buffer.concat(stdout).toString();
      if (code === 0) {
        resolve(printed);
        return;
      }
      const said = `${printed}${Buffer.concat(stderr).toString()}`
        .trimEnd()
        .split('\n')
        .slice(-LINES_OF_FAILURE);
      reject(
        new LabError(
          `${words.join(' ')} failed (${killedBy ?? `exit ${code}`}):\n${said.join('\n')}`,
        ),
      );
    });
  });
}
