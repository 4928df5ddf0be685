/** `vfioscope doctor`: says before anything runs what will work on this host, and what will not. */
import { existsSync } from 'node:fs';
import { release } from 'node:os';
import { isWatched, type PointStatus } from '../../src/events/source.ts';
import {
  effectiveCapabilities,
  kernelVersion,
  lockdownMode,
  obstacles,
} from '../../src/kernel/host.ts';
import { type KernelModule, readKernelModules, whoHolds } from '../../src/kernel/kernel-modules.ts';
import { Libbpf } from '../../src/kernel/libbpf.ts';
import { isPinned } from '../../src/kernel/pins-directory.ts';
import { Probes, type ProbesOptions } from '../../src/kernel/probes.ts';
import { UserProblem } from '../../src/problem.ts';
import { PIN_DIRECTORY } from '../config/schema.ts';
import { explainFailure } from '../runtime/preflight.ts';
import { type RuleState, ruleStates } from '../runtime/rule-options.ts';

/** 0: everything works. 1: some points or rules do not. 2: nothing can work. */
export type DoctorExit = 0 | 1 | 2;

export interface DoctorReport {
  readonly exit: DoctorExit;
  readonly kernel: string;
  readonly btf: boolean;
  readonly lockdown: string;
  readonly capabilities: readonly string[];
  readonly libbpf: string;
  readonly problem: { readonly what: string; readonly next: string } | undefined;
  readonly points: readonly PointStatus[];
  readonly rules: readonly RuleState[];
  /** Modules of mdev, VFIO and KVM, and who keeps them loaded. */
  readonly modules: readonly KernelModule[];
  readonly advice: readonly string[];
}

const RING_BYTES = 1 << 16;

/**
 * Attaches everything for a moment, as `run` would, and lets go again.
 * @param attach how; by default as `run` does
 */
export function examine(
  probeDirectory: string,
  attach: Pick<ProbesOptions, 'moduleBtf' | 'method'> = { moduleBtf: true, method: 'auto' },
): DoctorReport {
  const facts = {
    kernel: release(),
    btf: existsSync('/sys/kernel/btf/vmlinux'),
    lockdown: lockdownMode(),
    capabilities: [...effectiveCapabilities()],
  };
  const [obstacle] = obstacles();
  if (obstacle) return { ...facts, ...nothingWorks(obstacle), libbpf: libbpfVersion() };
  try {
    const probes = new Probes({
      directory: probeDirectory,
      ringBytes: RING_BYTES,
      ...attach,
    });
    const points = probes.statuses();
    const { seenFiles } = probes;
    probes.close();
    const rules = ruleStates(points, kernelVersion());
    const working = rules.every(({ active, impossible }) => active || impossible);
    const exit = working && allAttached(points) ? 0 : 1;
    const advice = [...adviceFor(points), ...filesAdvice(seenFiles), ...pinAdvice()];
    const modules = readKernelModules().filter(({ loaded }) => loaded);
    const libbpf = libbpfVersion();
    return { ...facts, exit, libbpf, problem: undefined, points, rules, modules, advice };
  } catch (error) {
    const explained = explainFailure(error);
    if (!(explained instanceof UserProblem)) throw explained;
    const problem = { what: explained.message, next: explained.next };
    return { ...facts, ...nothingWorks(problem), libbpf: libbpfVersion() };
  }
}

function nothingWorks(problem: { what: string; next: string }) {
  return { exit: 2 as const, problem, points: [], rules: [], modules: [], advice: [problem.next] };
}

function libbpfVersion(): string {
  try {
    return Libbpf.get().version;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function allAttached(points: readonly PointStatus[]): boolean {
  return points.every(isWatched);
}

function filesAdvice(files: unknown): string[] {
  if (!(files instanceof Error)) return [];
  return [
    `what was open before the agent will not be known: ${files.message}; please report it with this output`,
  ];
}

/** An agent that is running may read them. */
function pinAdvice(): string[] {
  if (!isPinned(PIN_DIRECTORY)) return [];
  return [
    `probes are pinned in ${PIN_DIRECTORY}: unless vfioscope run --pin reads them, vfioscope unpin removes them`,
  ];
}

function adviceFor(points: readonly PointStatus[]): string[] {
  const waiting = [...new Set(points.filter((p) => p.state === 'waiting').map((p) => p.module))];
  const advice = waiting.map(
    (module) => `load the module ${module} (modprobe ${module}); a running agent notices by itself`,
  );
  if (points.some((point) => point.limited)) {
    advice.push(
      'make /sys/kernel/tracing writable: without it, only a few calls that wait can be watched at a time',
    );
  }
  if (points.some((point) => point.state === 'failed')) {
    advice.push(
      'points that failed stay off on this kernel, and with them the rules that need them',
    );
  }
  return advice;
}

/** The report for people. */
export function render(report: DoctorReport): string {
  const lines = [
    line(true, 'kernel', report.kernel),
    line(report.btf, 'BTF', report.btf ? '/sys/kernel/btf/vmlinux' : 'missing'),
    line(report.lockdown !== 'confidentiality', 'lockdown', report.lockdown),
    line(
      report.capabilities.length === 3,
      'capabilities',
      report.capabilities.join(', ') || 'none',
    ),
    line(/^v\d/.test(report.libbpf), 'libbpf', report.libbpf),
  ];
  if (report.problem) lines.push('', `cannot work here: ${report.problem.what}`);
  if (report.points.length > 0) lines.push('', 'points');
  for (const point of report.points) {
    const ok = isWatched(point);
    const detail = point.state === 'attached' ? `${point.symbol} (${point.method})` : point.reason;
    lines.push(line(ok, point.point, `${detail}`, 26));
  }
  if (report.rules.length > 0) lines.push('', 'rules');
  for (const { id, active, missing, impossible } of report.rules) {
    const reason = impossible ? `cannot happen here: ${impossible}` : `needs ${missing.join(', ')}`;
    const ok = active || impossible !== undefined;
    lines.push(line(ok, id, active ? 'active' : `inactive, ${reason}`, 26));
  }
  if (report.modules.length > 0) lines.push('', 'modules, none of which is held by vfioscope');
  for (const module of report.modules) {
    lines.push(`  ${module.name.padEnd(16)} ${whoHolds(module).slice(module.name.length + 1)}`);
  }
  if (report.advice.length > 0)
    lines.push('', 'what to do', ...report.advice.map((one) => `  ${one}`));
  lines.push('', VERDICTS[report.exit]);
  return lines.join('\n');
}

const VERDICTS: Readonly<Record<DoctorExit, string>> = {
  0: 'everything works here',
  1: 'vfioscope works here, but not every point and rule does',
  2: 'vfioscope cannot work here',
};

function line(ok: boolean, name: string, detail: string, width = 14): string {
  return `  ${ok ? 'ok  ' : 'no  '} ${name.padEnd(width)} ${detail}`;
}
