/** What the running host says about itself: version, rights, and who holds KVM files. */
import { existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import type { FileOwner, Host } from '../rules/rule.ts';
import { AvailableInstances } from './available-instances.ts';
import { blockedTask } from './blocked-task.ts';
import { ControlGroups } from './control-groups.ts';
import { fileOwners, hasDeviceFile, pidsWithKvmFiles } from './file-owners.ts';
import { bootTime } from './os.ts';

/** Bits of CapEff: include/uapi/linux/capability.h. */
const CAPABILITIES = { CAP_SYS_ADMIN: 21, CAP_PERFMON: 38, CAP_BPF: 39 } as const;
export type Capability = keyof typeof CAPABILITIES;

/** How long the answer to "who holds files" may be used again, ns. */
const FILES_FRESH = 5e9;

/** [major, minor] of the running kernel. */
export function kernelVersion(text = release()): readonly [number, number] {
  const [major = 0, minor = 0] = text.split('.').map((part) => Number.parseInt(part, 10) || 0);
  return [major, minor];
}

/** Whether the running kernel is of that version or newer. */
export function isSince([major, minor]: readonly [number, number]): boolean {
  const [ours, oursMinor] = kernelVersion();
  return ours > major || (ours === major && oursMinor >= minor);
}

/** The live host, as rules ask about it. */
export function liveHost(): Host {
  const groups = new ControlGroups();
  const instances = new AvailableInstances();
  let owners: readonly FileOwner[] | undefined;
  let readAt = Number.NEGATIVE_INFINITY;
  const ownersSince = (notBefore: number) => {
    const now = bootTime();
    if (readAt < notBefore || now - readAt > FILES_FRESH) {
      owners = fileOwners();
      readAt = now;
    }
    return owners;
  };
  return {
    kernel: kernelVersion(),
    pidsWithKvmFiles: (notBefore) => pidsWithKvmFiles(ownersSince(notBefore)),
    availableInstances: (parent, notBefore) => instances.of(parent, notBefore),
    controlGroup: (task) => groups.of(task),
    blockedTask: (task) => blockedTask(task),
    hasDeviceFile: (pid, fd) => hasDeviceFile(pid, fd),
    fileOwners: ownersSince,
  };
}

/** Something about this host that keeps probes from working. */
export interface Obstacle {
  readonly what: string;
  readonly next: string;
}

/** What would keep probes from working, before anything is tried. */
export function obstacles(root = ''): Obstacle[] {
  return [missingRights(root), missingBtf(root), lockedDown(root), missingKprobes(root)].filter(
    (one) => one !== undefined,
  );
}

function missingRights(root: string): Obstacle | undefined {
  const held = effectiveCapabilities(root);
  const missing = (Object.keys(CAPABILITIES) as Capability[]).filter((one) => !held.has(one));
  if (missing.length === 0) return undefined;
  return {
    what: `this process lacks ${missing.join(', ')}`,
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

function missingBtf(root: string): Obstacle | undefined {
  if (existsSync(`${root}/sys/kernel/btf/vmlinux`)) return undefined;
  return {
    what: `the kernel ${release()} has no BTF (/sys/kernel/btf/vmlinux is missing)`,
    next: 'use a kernel built with CONFIG_DEBUG_INFO_BTF (distributions set it); in a container, mount /sys/kernel/btf',
  };
}

/** @returns none, integrity or confidentiality */
export function lockdownMode(root = ''): string {
  return /\[(\w+)\]/.exec(read(`${root}/sys/kernel/security/lockdown`))?.[1] ?? 'none';
}

function lockedDown(root: string): Obstacle | undefined {
  if (lockdownMode(root) !== 'confidentiality') return undefined;
  return {
    what: 'the kernel is locked down (confidentiality), so no program may read its memory',
    next: 'boot with lockdown=integrity or without lockdown; under Secure Boot that is the default of most distributions',
  };
}

function missingKprobes(root: string): Obstacle | undefined {
  const sources = `${root}/sys/bus/event_source/devices`;
  if (!existsSync(sources) || existsSync(`${sources}/kprobe`)) return undefined;
  return {
    what: `the kernel ${release()} refuses tracing programs: it was built without kprobes`,
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
