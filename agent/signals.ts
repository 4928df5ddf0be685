/** What signals do to the commands. */

/**
 * Signals that log rotation and other tools send by habit. Without a handler, SIGUSR1 opens Node's debugger on a
 * port that any local user can connect to, and SIGUSR2 ends the process.
 */
export const IGNORED_SIGNALS = ['SIGUSR1', 'SIGUSR2'] as const;

for (const signal of IGNORED_SIGNALS) process.on(signal, () => {});

/**
 * Resolves at the first signal to stop. From the call on, that signal does not end the process by itself; a
 * second one does. Probes are attached in one go, so a signal is noticed when all of them are.
 */
export function stopSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, resolve);
  });
}
