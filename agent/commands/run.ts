/** `vfioscope run`: runs the agent until a signal stops it. */
import { exitAtOnce } from '../../src/kernel/os.ts';
import { UserProblem } from '../../src/problem.ts';
import { loadConfig, type Override } from '../config/load.ts';
import { openSource } from '../runtime/live.ts';
import { IGNORED_SIGNALS, stopSignal } from '../signals.ts';
import { VERSION } from '../version.ts';

/** How long the start waits for its first lines to be written, and the stop for the last ones, ms. */
const FIRST_LINES_MS = 200;
const LAST_LINES_MS = 2000;

export interface RunOptions {
  readonly config: string | undefined;
  readonly overrides: readonly Override[];
  readonly probeDirectory: string;
}

/**
 * Resolves when the agent has stopped. The probes are attached before the rest of the agent is loaded:
 * events wait in the ring meanwhile.
 * @throws {UserProblem} when it cannot start
 */
export async function run({ config: file, overrides, probeDirectory }: RunOptions): Promise<void> {
  const config = await loadConfig(file, overrides);
  const stopped = stopSignal();
  const source = openSource(config, probeDirectory);
  const { createLog, ProbeLog } = await import('../runtime/log.ts');
  const { log, dropped, flush } = await createLog(config.log);
  for (const signal of IGNORED_SIGNALS) {
    process.on(signal, () =>
      log.warn(
        { event: 'agent.signal_ignored', signal },
        `${signal} is ignored: the log is the standard output, which whoever opened it rotates; SIGTERM stops the agent`,
      ),
    );
  }
  const probeLog = new ProbeLog(log);
  probeLog.coverage(source.states());
  // Loading the modules below blocks the event loop, so the lines would be written late.
  await flush(FIRST_LINES_MS);
  const [{ Agent }, { startOtlpExport }] = await Promise.all([
    import('../runtime/agent.ts'),
    import('../runtime/otlp-export.ts'),
  ]);
  const otlp = await startOtlpExport(log, config.otel);
  const common = { config, source, log, probeLog, version: VERSION };
  const agent = new Agent({ ...common, logLinesDropped: dropped, otlp });
  try {
    await agent.start();
    await stopped;
    log.info({ event: 'agent.stopping' }, 'stopping');
  } catch (error) {
    throw listenProblem(error, config.listen);
  } finally {
    const isExported = await agent.stop();
    const isLogged = await flush(LAST_LINES_MS);
    // A request to a collector that does not answer would keep the process alive; an error is printed first.
    // A write that nobody reads blocks a thread, for which process.exit() would wait without end.
    if (!isLogged) setImmediate(() => exitAtOnce(Number(process.exitCode ?? 0)));
    else if (!isExported) setImmediate(() => process.exit());
  }
}

export function listenProblem(error: unknown, listen: string): unknown {
  if (!(error instanceof Error && 'syscall' in error && 'code' in error)) return error;
  const { syscall, code } = error;
  if (code === 'EADDRINUSE') {
    return new UserProblem(
      'listen.in-use',
      `${listen} is in use by another process`,
      'stop that process (ss -ltnp shows it), or set another address with --listen',
    );
  }
  // Whatever the reason is: a name that nobody knows, a link-local address without its interface, a refusal.
  if (!['listen', 'bind', 'getaddrinfo'].includes(String(syscall))) return error;
  return new UserProblem(
    'listen.unavailable',
    `cannot listen on ${listen} (${code})`,
    'set an address of this host with --listen, such as 127.0.0.1:10055',
  );
}
