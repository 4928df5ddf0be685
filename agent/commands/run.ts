/** `vfioscope run`: watches this host until it is told to stop. */
import { UserProblem } from '../../src/problem.ts';
import { loadConfig, type Override } from '../config/load.ts';
import { Agent } from '../runtime/agent.ts';
import { createLog } from '../runtime/log.ts';
import { checkObstacles, explainFailure } from '../runtime/preflight.ts';
import { startTracing } from '../runtime/tracing.ts';
import { VERSION } from '../version.ts';

export interface RunOptions {
  readonly config: string | undefined;
  readonly overrides: readonly Override[];
  readonly probeDirectory: string;
}

/** Resolves when the agent has stopped. @throws {UserProblem} when it cannot start */
export async function run({ config: file, overrides, probeDirectory }: RunOptions): Promise<void> {
  const config = loadConfig(file, overrides);
  checkObstacles();
  const { log, dropped, flush } = await createLog(config.log);
  const stopped = signalled();
  const stopTracing = await startTracing(log);
  const agent = startAgent();
  try {
    await agent.start();
    await stopped;
    log.info('stopping');
  } catch (error) {
    throw listenProblem(error, config.listen);
  } finally {
    await agent.stop();
    await stopTracing();
    flush();
  }

  function startAgent(): Agent {
    try {
      const options = { config, log, logLinesDropped: dropped, version: VERSION, probeDirectory };
      return new Agent(options);
    } catch (error) {
      throw explainFailure(error);
    }
  }
}

function signalled(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
      process.once(signal, () => resolve());
  });
}

function listenProblem(error: unknown, listen: string): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  switch (code) {
    case 'EADDRINUSE':
      return new UserProblem(
        `${listen} is in use by another process`,
        'stop that process (ss -ltnp shows it), or choose another address with --listen',
      );
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EACCES':
      return new UserProblem(
        `cannot listen on ${listen} (${code})`,
        'give an address of this host with --listen, such as 127.0.0.1:10055',
      );
    default:
      return error;
  }
}
