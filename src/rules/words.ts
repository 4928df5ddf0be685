/** How explanations name things, the same in every rule. */
import type { Device, Task, Vm } from '../lifecycle/objects.ts';
import type { Host } from './rule.ts';
import type { Blocked, Holder, Party, Violation, VmReference } from './violation.ts';

export function who(task: Task | undefined): string {
  return task ? `${task.comm} (pid ${task.pid})` : 'a process that was not seen';
}

export function deviceWords(device: Device): string {
  return device.type ? `${device.name} (${device.type})` : device.name;
}

export function vmWords(vm: Vm): string {
  if (vm.task) return `the VM of ${who(vm.task)}`;
  return vm.makerTid ? `the VM made by thread ${vm.makerTid}` : 'a VM whose maker was not seen';
}

/** "qemu (pid 12), qemu (pid 13)" of those who have the device open. */
export function openers(device: Device): string {
  if (device.opens.length === 0) return 'a process that opened it before the agent started';
  return device.opens.map((open) => who(open.task)).join(', ');
}

/** @param ns a duration */
export function seconds(ns: number): string {
  return ns >= 1e10 ? `${Math.round(ns / 1e9)} s` : `${(ns / 1e9).toFixed(1)} s`;
}

/** The id under which users see a VM. */
export function vmId(vm: Vm): string {
  return `vm${vm.serial}`;
}

export function vmReference(vm: Vm): VmReference {
  return { id: vmId(vm), pid: vm.task?.pid ?? (vm.makerTid || undefined), comm: vm.task?.comm };
}

/**
 * Whether two tasks act for different people or programs. Their process ids tell nothing: each
 * command of a shell is a process of its own. A control group of 0 is one that was not seen.
 */
export function isAnother(one: Task, other: Task): boolean {
  if (one.uid !== other.uid) return true;
  return one.cgroup !== other.cgroup && one.cgroup !== 0 && other.cgroup !== 0;
}

/** "qemu (pid 12, uid 107, machine-qemu-1-a.scope)" */
export function inFull({ task, group }: Party): string {
  const { pid, uid, comm, cgroup } = task;
  const place = group?.unit ?? group?.path ?? (cgroup ? `cgroup ${cgroup}` : undefined);
  const container = group?.container && `container ${group.container.slice(0, 12)}`;
  const facts = [`pid ${pid}`, uid < 0 ? undefined : `uid ${uid}`, place, container];
  return `${comm} (${facts.filter((fact) => fact).join(', ')})`;
}

/** A sentence when someone else than its creator removes the device, else nothing. */
export function createdByAnother({ creator, remover }: Device, host: Host): string {
  if (!creator || !remover || !isAnother(creator, remover)) return '';
  const words = (task: Task) => inFull({ task, group: host.controlGroup?.(task) });
  return ` It was created by someone else: ${words(creator)}, not ${words(remover)}.`;
}

/** "qemu (pid 12): device 0000:01:00.0, fd 20, for vm3, opened 34 s ago". @param now ns on the boot-time clock */
export function holderWords(holder: Holder, now: number): string {
  const { holds, how, device, fd, vm, since } = holder;
  const file = { device: `device ${device ?? 'file'}`, vm: 'the VM', kvm: 'files of KVM' }[holds];
  const facts = [
    how === 'may hold' ? `perhaps by ${file}` : file,
    fd < 0 ? undefined : `fd ${fd}`,
    holds === 'device' && vm ? `for ${vm.id}` : undefined,
    since ? `opened ${seconds(now - since)} ago` : undefined,
    how === 'passed on' ? 'which it has passed on' : undefined,
  ].filter((fact) => fact);
  return `${inFull(holder)}: ${facts.join(', ')}`;
}

/** "bash (pid 7), in vfio_unregister_group_dev, D (disk sleep)" */
export function blockedWords(blocked: Blocked): string {
  const { state, wchan } = blocked.inKernel ?? {};
  const facts = [inFull(blocked), wchan && `in ${wchan}`, state];
  return facts.filter((fact) => fact).join(', ');
}

/** Who is behind a violation, one line each. */
export function behindLines({ holders, blocked, creator, remover, lastSeen }: Violation): string[] {
  return [
    ...holders.map((holder) => `held by    ${holderWords(holder, lastSeen)}`),
    ...(blocked ? [`blocked    ${blockedWords(blocked)}`] : []),
    ...(creator ? [`created by ${inFull(creator)}`] : []),
    ...(remover ? [`removed by ${inFull(remover)}`] : []),
  ];
}

/** As a sentence begins. */
export function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
