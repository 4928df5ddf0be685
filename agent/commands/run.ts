/** `vfioscope run`: watches this host until it is told to stop. */
import { UserProblem } from '../../src/problem.ts';
import { loadConfig, type Override } from '../config/load.ts';
import { openSource } from '../runtime/live.ts';
import { VERSION } from '../version.ts';

export interface RunOptions {
  readonly config: string | undefined;
  readonly overrides: readonly Override[];
  readonly probeDirectory: string;
}

/**
 * Resolves when the agent has stopped. The probes are attached before the rest of the agent
 * is so much as loaded: what happens meanwhile waits in the ring.
 * @throws {UserProblem} when it cannot start
 */
export async function run({ config: file, overrides, probeDirectory }: RunOptions): Promise<void> {
  const config = await loadConfig(file, overrides);
  const stopped = signalled();
  const source = openSource(config, probeDirectory);
  const { createLog, ProbeLog } = await import('../runtime/log.ts');
  const { log, dropped, flush } = await createLog(config.log);
  const probeLog = new ProbeLog(log);
  probeLog.tell(source.states());
  // Now: to load what follows leaves no time to write.
  flush();
  const [{ Agent }, { startTracing }] = await Promise.all([
    import('../runtime/agent.ts'),
    import('../runtime/tracing.ts'),
  ]);
  const tracing = await startTracing(log, config.otel);
  const common = { config, source, log, probeLog, version: VERSION };
  const agent = new Agent({ ...common, logLinesDropped: dropped, tracing });
  try {
    await agent.start();
    await stopped;
    log.info('stopping');
  } catch (error) {
    throw listenProblem(error, config.listen);
  } finally {
    const isDone = await agent.stop();
    flush();
    // What still waits for a collector that does not answer would keep the process; an error is told first.
    if (!isDone) setImmediate(() => process.exit());
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
