/** Turns "the probes would not start" into what prevents it and what to do. */
import { release } from 'node:os';
import { preflightFailures } from '../../src/kernel/host.ts';
import { LibbpfError } from '../../src/kernel/libbpf.ts';
import { UserProblem } from '../../src/problem.ts';

/** errnos with which kernels refuse a program type that they do not offer: EPERM, EACCES, EINVAL, EOPNOTSUPP. */
const REFUSALS = new Set([1, 13, 22, 95]);

/** @throws {UserProblem} when it is known beforehand that no probe can work here */
export function preflight(): void {
  const [failure] = preflightFailures();
  if (!failure) return;
  const { code, message, next } = failure;
  throw new UserProblem(code, `cannot watch this host: ${message}`, next);
}

/** @returns the cause of a failed start as a problem that the user can fix; what is no error as it is */
export function explainFailure(error: unknown): unknown {
  if (error instanceof UserProblem || !(error instanceof Error)) return error;
  const { message } = error;
  const cause = { cause: error };
  const step = error instanceof LibbpfError ? error.step : undefined;
  if (step === 'load' && error instanceof LibbpfError && REFUSALS.has(error.errno)) {
    return new UserProblem(
      'host.bpf-refused',
      `the kernel ${release()} refuses tracing programs: ${message}`,
      'run vfioscope on the host itself, not in a sandbox or guest whose kernel is restricted; ' +
        'the kernel needs CONFIG_KPROBES and CONFIG_BPF_EVENTS',
      cause,
    );
  }
  if (step === 'open') {
    return new UserProblem(
      'build.object-unreadable',
      message,
      'reinstall vfioscope, or build the objects with npm run build:bpf',
      cause,
    );
  }
  return new UserProblem(
    'host.attach-failed',
    `cannot watch this host: ${message}`,
    'run vfioscope doctor, and report its output with --json if it does not help',
    cause,
  );
}
