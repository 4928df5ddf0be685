/** Turns "the probes would not start" into what keeps them from it and what to do. */
import { release } from 'node:os';
import { obstacles } from '../../src/kernel/host.ts';
import { LibbpfError } from '../../src/kernel/libbpf.ts';
import { UserProblem } from '../../src/problem.ts';

/** errnos with which kernels refuse a program type that they do not offer. */
const REFUSALS = new Set([1, 13, 22, 95]);

/** @throws {UserProblem} when it is plain beforehand that nothing can work here */
export function checkObstacles(): void {
  const [obstacle] = obstacles();
  if (obstacle) throw new UserProblem(`cannot watch this host: ${obstacle.what}`, obstacle.next);
}

/** The cause behind a failed start, as far as it can be told. */
export function explainFailure(error: unknown): unknown {
  if (error instanceof UserProblem) return error;
  if (error instanceof LibbpfError && /refused/.test(error.message) && REFUSALS.has(error.errno)) {
    return new UserProblem(
      `the kernel ${release()} refuses tracing programs: ${error.message}`,
      'run vfioscope on the host itself, not in a sandbox or guest whose kernel is restricted; ' +
        'the kernel needs CONFIG_KPROBES and CONFIG_BPF_EVENTS',
      { cause: error },
    );
  }
  if (error instanceof LibbpfError && /cannot read probe object/.test(error.message)) {
    return new UserProblem(
      error.message,
      'reinstall vfioscope, or build the objects with npm run build:bpf',
      {
        cause: error,
      },
    );
  }
  return error instanceof Error
    ? new UserProblem(`cannot watch this host: ${error.message}`, 'vfioscope doctor tells more', {
        cause: error,
      })
    : error;
}
