/** `vfioscope doctor`: checks which probe points and rules work on this host. */
import { existsSync } from 'node:fs';
import { release } from 'node:os';
import { isWatched, type PointStatus } from '../../src/events/source.ts';
import { type DerivedTrait, valuesOf } from '../../src/events/traits.ts';
import { effectiveCapabilities, lockdownMode, preflightFailures } from '../../src/kernel/host.ts';
import { openKernelLog } from '../../src/kernel/kernel-log.ts';
import { type KernelModule, readKernelModules, whoHolds } from '../../src/kernel/kernel-modules.ts';
import { Libbpf } from '../../src/kernel/libbpf.ts';
import { isPinned } from '../../src/kernel/pins-directory.ts';
import { Probes, type ProbesOptions } from '../../src/kernel/probes.ts';
import { derivedOn, RunningKernel } from '../../src/kernel/traits.ts';
import { type Problem, problemData, UserProblem } from '../../src/problem.ts';
import { PIN_DIRECTORY } from '../config/schema.ts';
import { explainFailure } from '../runtime/preflight.ts';
import { type RuleState, ruleStates, whyInactive } from '../runtime/rule-options.ts';

/** 0: everything works. 1: some points or rules do not work. 2: nothing can work. */
export type DoctorExit = 0 | 1 | 2;

export interface DoctorReport {
  readonly exit: DoctorExit;
  readonly kernel: string;
  readonly btf: boolean;
  readonly lockdown: string;
  readonly capabilities: readonly string[];
  /** Its version; undefined where it cannot be loaded. */
  readonly libbpf: string | undefined;
  /** Why the kernel's log must not be read; undefined where it can be. */
  readonly kernelLogProblem: string | undefined;
  readonly problem: Problem | undefined;
  readonly points: readonly PointStatus[];
  readonly rules: readonly RuleState[];
  /** What the kernel does that others do not, and what shows it. */
  readonly traits: readonly DerivedTrait[];
  /** Loaded modules of mdev, VFIO and KVM, and what holds them. */
  readonly modules: readonly KernelModule[];
  readonly remediation: readonly string[];
}

const RING_BYTES = 1 << 16;

/**
 * Attaches all probes for a moment, as `run` would, and detaches them again.
 * @param attach how to attach; by default as `run` does
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
    kernelLogProblem: kernelLogProblem(),
    traits: derivedOn(new RunningKernel(attach.moduleBtf)),
  };
  const [failure] = preflightFailures();
  if (failure) return { ...facts, ...nothingWorks(failure), libbpf: libbpfVersion() };
  try {
    const probes = new Probes({
      directory: probeDirectory,
      ringBytes: RING_BYTES,
      ...attach,
    });
    const points = probes.statuses();
    const { snapshotFiles } = probes;
    probes.close();
    const rules = ruleStates(points, valuesOf(facts.traits));
    const working = rules.every(({ active, impossible }) => active || impossible);
    const exit = working && allAttached(points) ? 0 : 1;
    const remediation = [
      ...remediationFor(points),
      ...filesRemediation(snapshotFiles),
      ...kernelLogRemediation(facts.kernelLogProblem),
      ...pinRemediation(),
    ];
    const modules = readKernelModules().filter(({ loaded }) => loaded);
    const libbpf = libbpfVersion();
    const found = { points, rules, modules, remediation };
    return { ...facts, exit, libbpf, problem: undefined, ...found };
  } catch (error) {
    const explained = explainFailure(error);
    if (!(explained instanceof UserProblem)) throw explained;
    return { ...facts, ...nothingWorks(problemData(explained)), libbpf: libbpfVersion() };
  }
}

function nothingWorks(problem: Problem) {
  return {
    exit: 2 as const,
    problem,
    points: [],
    rules: [],
    modules: [],
    remediation: [problem.next],
  };
}

function libbpfVersion(): string | undefined {
  try {
    return Libbpf.get().version;
  } catch {
    return undefined;
  }
}

function allAttached(points: readonly PointStatus[]): boolean {
  return points.every(isWatched);
}

function kernelLogProblem(): string | undefined {
  const opened = openKernelLog(() => false);
  if (typeof opened === 'string') return opened;
  opened.close();
  return undefined;
}

function kernelLogRemediation(problem: string | undefined): string[] {
  if (problem === undefined) return [];
  return [
    'violations will have no lines of the kernel log: give the service CAP_SYSLOG and /dev/kmsg, or set kernel_log.enabled to false',
  ];
}

function filesRemediation(files: unknown): string[] {
  if (!(files instanceof Error)) return [];
  return [
    `devices opened before the agent starts will not be found: ${files.message}; please report it with this output`,
  ];
}

/** A running agent may be reading them. */
function pinRemediation(): string[] {
  if (!isPinned(PIN_DIRECTORY)) return [];
  return [
    `probes are pinned in ${PIN_DIRECTORY}; if no vfioscope run --pin uses them, remove them with vfioscope unpin`,
  ];
}

function remediationFor(points: readonly PointStatus[]): string[] {
  const waiting = [...new Set(points.filter((p) => p.state === 'waiting').map((p) => p.module))];
  const remediation = waiting.map(
    (module) =>
      `load the module ${module} (modprobe ${module}); a running agent attaches to it by itself`,
  );
  if (points.some((point) => point.limited)) {
    remediation.push(
      'make /sys/kernel/tracing writable: without it, only a few waiting calls can be traced at a time',
    );
  }
  if (points.some((point) => point.state === 'failed')) {
    remediation.push(
      'points that failed stay inactive on this kernel, and so do the rules that need them',
    );
  }
  return remediation;
}

/** The report as text. */
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
    line(report.libbpf !== undefined, 'libbpf', report.libbpf ?? 'not installed'),
    line(report.kernelLogProblem === undefined, 'kmsg', report.kernelLogProblem ?? '/dev/kmsg'),
  ];
  if (report.problem) lines.push('', `cannot work on this host: ${report.problem.message}`);
  if (report.points.length > 0) lines.push('', 'points');
  for (const point of report.points) {
    const ok = isWatched(point);
    const detail = point.state === 'attached' ? `${point.symbol} (${point.method})` : point.reason;
    lines.push(line(ok, point.point, `${detail}`, 26));
  }
  if (report.rules.length > 0) lines.push('', 'rules');
  for (const rule of report.rules) {
    const { id, active, impossible } = rule;
    const reason = impossible ? `cannot happen on this kernel: ${impossible}` : whyInactive(rule);
    const ok = active || impossible !== undefined;
    lines.push(line(ok, id, active ? 'active' : `inactive, ${reason}`, 26));
  }
  if (report.traits.length > 0) lines.push('', 'traits of this kernel');
  for (const { name, statement, value, evidence } of report.traits) {
    const detail = value === undefined ? `not known: ${evidence}` : `${statement} (${evidence})`;
    lines.push(line(value !== undefined, name, detail, 26));
  }
  if (report.modules.length > 0) lines.push('', 'modules (vfioscope holds none of them)');
  for (const module of report.modules) {
    lines.push(`  ${module.name.padEnd(16)} ${whoHolds(module).slice(module.name.length + 1)}`);
  }
  if (report.remediation.length > 0)
    lines.push('', 'what to do', ...report.remediation.map((one) => `  ${one}`));
  lines.push('', VERDICTS[report.exit]);
  return lines.join('\n');
}

const VERDICTS: Readonly<Record<DoctorExit, string>> = {
  0: 'everything works on this host',
  1: 'vfioscope works on this host, but some points or rules do not',
  2: 'vfioscope cannot work on this host',
};

function line(ok: boolean, name: string, detail: string, width = 14): string {
  return `  ${ok ? 'ok  ' : 'no  '} ${name.padEnd(width)} ${detail}`;
}
