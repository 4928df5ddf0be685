/** What the running host says about itself: its rights, and who holds KVM files. */
import { existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import type { Host } from '../events/host.ts';
import type { Task } from '../events/task.ts';
import type { Traits } from '../events/traits.ts';
import type { Problem } from '../problem.ts';
import { AnswerCache } from './answer-cache.ts';
import { AvailableInstances } from './available-instances.ts';
import { blockedTask, stuckThread } from './blocked-task.ts';
import { ControlGroups } from './control-groups.ts';
import { isAlive, isExiting } from './exiting.ts';
import { hasDeviceFile, ownerReader, pidsWithKvmFiles } from './file-owners.ts';
import { IommuGroups } from './iommu-groups.ts';
import type { KernelLog } from './kernel-log.ts';
import { LockedMemoryLimits } from './limits.ts';
import { pciFunction } from './pci-function.ts';
import { processName } from './proc.ts';
import { identifyVm } from './vm-identity.ts';
import { waitingTasks } from './waiting-tasks.ts';

/** Bits of CapEff: include/uapi/linux/capability.h. */
const CAPABILITIES = { CAP_SYS_ADMIN: 21, CAP_PERFMON: 38, CAP_BPF: 39 } as const;
export type Capability = keyof typeof CAPABILITIES;

/** The live host: what rules ask about, and what metrics show of it. */
export interface LiveHost extends Host {
  /**
   * The last answer of a parent's driver, for a metric that is read again and again.
   * @param notBefore ns on the boot-time clock: the driver is asked again if its answer is older
   */
  latestInstances(parent: string, notBefore: number): ReadonlyMap<string, number> | undefined;
  /** Waits until `fileOwners` can answer, for those who ask only once. @param notBefore as there */
  readFileOwners(notBefore: number): Promise<void>;
}

export interface LiveHostOptions {
  /** They change when modules are loaded. */
  readonly traits: () => Traits;
  /** Undefined where it must not be read, or is switched off. */
  readonly kernelLog: KernelLog | undefined;
  /** Whether the command lines of VMMs may be read, for the name and the UUID of their guests. */
  readonly readsCommandLine: boolean;
}

export function liveHost({ traits, kernelLog, readsCommandLine }: LiveHostOptions): LiveHost {
  const groups = new ControlGroups();
  const instances = new AvailableInstances();
  const limits = new LockedMemoryLimits();
  const owners = new AnswerCache(ownerReader());
  const waiting = new AnswerCache(waitingTasks);
  const iommuGroups = new IommuGroups();
  const groupOf = (creator: Task | number) =>
    typeof creator === 'number' ? groups.ofProcess(creator) : groups.of(creator);
  return {
    get traits() {
      return traits();
    },
    pidsWithKvmFiles: (notBefore) => pidsWithKvmFiles(owners.since(notBefore)),
    availableInstances: (parent, notBefore) => instances.of(parent, notBefore),
    latestInstances: (parent, notBefore) => instances.lately(parent, notBefore),
    controlGroup: (task) => groups.of(task),
    identifyVm: (creator) => identifyVm(creator, { groupOf, readsCommandLine }),
    blockedTask: (task) => blockedTask(task),
    isExiting: (pid) => isExiting(pid),
    lockedMemoryLimit: (pid) => limits.of(pid),
    isAlive: (pid, at) => isAlive(pid, at),
    processName: (pid) => processName(pid),
    stuckThread: (pid) => stuckThread(pid),
    hasDeviceFile: (pid, fd, device) => hasDeviceFile(pid, fd, device),
    fileOwners: (notBefore) => owners.since(notBefore),
    readFileOwners: async (notBefore) => {
      await owners.next(notBefore);
    },
    waitingTasks: (notBefore) => waiting.since(notBefore),
    pciFunction: (device) => pciFunction(device),
    groupMembers: (group) => iommuGroups.membersOf(group),
    hasIommuGroup: (bus, device) => iommuGroups.hasGroup(bus, device),
    kernelLog: () => kernelLog?.lines(),
  };
}

/** What would keep probes from working, before anything is tried. */
export function preflightFailures(root = ''): Problem[] {
  return [missingRights(root), missingBtf(root), lockedDown(root), missingKprobes(root)].filter(
    (one) => one !== undefined,
  );
}

function missingRights(root: string): Problem | undefined {
  const held = effectiveCapabilities(root);
  const missing = (Object.keys(CAPABILITIES) as Capability[]).filter((one) => !held.has(one));
  if (missing.length === 0) return undefined;
  return {
    code: 'host.missing-capabilities',
    message: `this process lacks ${missing.join(', ')}`,
    next: 'run it as root (sudo vfioscope …), or give the service these capabilities',
  };
}

export function effectiveCapabilities(root = ''): Set<Capability> {
  const status = read(`${root}/proc/self/status`);
  const bits = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  return new Set(
    (Object.entries(CAPABILITIES) as [Capability, number][])
      .filter(([, bit]) => (bits >> BigInt(bit)) & 1n)
      .map(([name]) => name),
  );
}

function missingBtf(root: string): Problem | undefined {
  if (existsSync(`${root}/sys/kernel/btf/vmlinux`)) return undefined;
  return {
    code: 'host.no-btf',
    message: `the kernel ${release()} has no BTF (/sys/kernel/btf/vmlinux is missing)`,
    next: 'use a kernel built with CONFIG_DEBUG_INFO_BTF (distributions set it); in a container, mount /sys/kernel/btf',
  };
}

/** @returns none, integrity or confidentiality */
export function lockdownMode(root = ''): string {
  return /\[(\w+)\]/.exec(read(`${root}/sys/kernel/security/lockdown`))?.[1] ?? 'none';
}

function lockedDown(root: string): Problem | undefined {
  if (lockdownMode(root) !== 'confidentiality') return undefined;
  return {
    code: 'host.locked-down',
    message: 'the kernel is locked down (confidentiality), so no program may read its memory',
    next: 'boot with lockdown=integrity or without lockdown; under Secure Boot that is the default of most distributions',
  };
}

function missingKprobes(root: string): Problem | undefined {
  const sources = `${root}/sys/bus/event_source/devices`;
  if (!existsSync(sources) || existsSync(`${sources}/kprobe`)) return undefined;
  return {
    code: 'host.no-kprobes',
    message: `the kernel ${release()} refuses tracing programs: it was built without kprobes`,
    next:
      'run vfioscope on the host itself, not in a sandbox or guest with a restricted kernel; the ' +
      'kernel needs CONFIG_KPROBES and CONFIG_KPROBE_EVENTS, which distributions set',
  };
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
