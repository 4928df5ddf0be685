// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';

import { debianPackageOf } from '../programs/table.ts';
import { errorCode, LabError } from './errors.ts';

const LINES_OF_FAILURE = 15;

export interface CommandOptions {
  cwd?: string;
  signal?: AbortSignal | undefined;
}

/** The error for a missing tool, with the package to install. */
export function missingTool(tool: string): LabError {
  const name = debianPackageOf(tool);
  const remediation = name === undefined ? 'install it' : `run: apt-get install ${name}`;
  return new LabError(`${tool} was not found on this machine; ${remediation}`);
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
