/** How messages name objects and tasks, the same in every rule. */

import type { BlockedTask, Host } from '../events/host.ts';
import type { Task } from '../events/task.ts';
import type { Device, Open, Vm } from '../lifecycle/objects.ts';
import { SECOND } from '../units.ts';
import { isAnother } from './actor.ts';
import type { Party, Violation, VmReference } from './violation.ts';

export function who(task: Pick<Task, 'comm' | 'pid'> | undefined): string {
  return task ? `${task.comm} (pid ${task.pid})` : 'an unobserved process';
}

export function deviceWords(device: Device): string {
  return device.type ? `${device.name} (${device.type})` : device.name;
}

export function vmWords(vm: Vm): string {
  const label = vmLabel(vmReference(vm));
  if (vm.identity?.name ?? vm.identity?.uuid) {
    return vm.task ? `the VM ${label} of ${who(vm.task)}` : `the VM ${label}`;
  }
  if (vm.task) return `the VM of ${who(vm.task)}`;
  return vm.creatorTid
    ? `the VM created by thread ${vm.creatorTid}`
    : 'a VM whose creator was not observed';
}

/**
 * "open (opened by qemu (pid 12))", for a one-shot violation: who had opened the device is known
 * from events, but whoever did may have ended since, or passed the file on.
 */
export function openWords(device: Device): string {
  return device.opens.length === 0
    ? `held open by ${openers(device)}`
    : `open (opened by ${openers(device)})`;
}

/** "qemu (pid 12), qemu (pid 13)" of those who opened the device and whose files are open. */
export function openers(device: Device): string {
  if (device.opens.length === 0) return 'a process that opened it before the agent started';
  // A process that has it open twice is named once.
  return [...new Set(device.opens.map(openerWords))].join(', ');
}

/** Who opened a file of a device; one that was open already may have been passed to whoever had it. */
export function openerWords({ task, openedAt, vm }: Open): string {
  const guest = vm && ofGuest(vmReference(vm));
  return openedAt > 0 ? `${who(task)}${guest ?? ''}` : `${who(task)} or another process before it`;
}

/** " for the VM web-3 (vm27)" behind a process; empty where the guest's name is not known. */
export function ofGuest(vm: VmReference | undefined): string {
  return vm && (vm.name ?? vm.uuid) !== undefined ? ` for the VM ${vmLabel(vm)}` : '';
}

/** Behind the name of a process that does not have a file any more. @param openedAt 0 when that was not observed */
export function hadIt(openedAt: number): string {
  return openedAt > 0 ? 'which opened it' : 'which had it when the agent first looked';
}

/** "mtty", or that it is not known; behind "its driver". */
export function driverWords({ driver }: Device): string {
  return driver || '(whose name was not observed)';
}

/** @param ns a duration */
export function seconds(ns: number): string {
  return ns >= 10 * SECOND ? `${Math.round(ns / SECOND)} s` : `${(ns / SECOND).toFixed(1)} s`;
}

const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

/** Whole hours or minutes that have passed, for what lasts so long that nobody counts seconds. @param ns a duration */
export function longTime(ns: number): string {
  if (ns < 2 * MINUTE) return seconds(ns);
  return ns < 2 * HOUR ? `${Math.floor(ns / MINUTE)} min` : `${Math.floor(ns / HOUR)} h`;
}

const BINARY_UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];

/** "64 KiB", "2.5 GiB" */
export function byteWords(bytes: number): string {
  let [value, unit] = [bytes, 0];
  for (; value >= 1024; value /= 1024) unit++;
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${BINARY_UNITS[unit]}`;
}

/** A duration since a begin that may not have been observed: then it is as old as that is known. */
export function secondsSince(ns: number, isObserved: boolean): string {
  return `${isObserved ? '' : 'at least '}${seconds(ns)}`;
}

/** The id under which users see a VM. */
export function vmId(vm: Vm): string {
  return `vm${vm.serial}`;
}

export function vmReference(vm: Vm): VmReference {
  const { task, creatorTid, identity } = vm;
  return {
    ...{ id: vmId(vm), pid: task?.pid ?? (creatorTid || undefined), comm: task?.comm },
    ...{ name: identity?.name, uuid: identity?.uuid },
  };
}

/** "web-3 (vm27)", or "vm27" where neither name nor UUID of the guest are known. */
export function vmLabel({ id, name, uuid }: Pick<VmReference, 'id' | 'name' | 'uuid'>): string {
  const known = name ?? uuid;
  return known === undefined ? id : `${known} (${id})`;
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
  if (!creator || !remover || !isAnother(creator, remover, host)) return '';
  const words = (task: Task) => inFull({ task, group: host.controlGroup?.(task) });
  return ` It was created by someone else: ${words(creator)}, not ${words(remover)}.`;
}

/**
 * Where a task is in the kernel, as the end of a sentence: ", blocked in pci_dev_wait (D)". Nothing where
 * that is not known.
 */
export function inKernelWords(inKernel: BlockedTask | undefined): string {
  if (!inKernel) return '';
  const { state, wchan, stack } = inKernel;
  const letter = state.charAt(0);
  if (letter === 'R') return ', running in the kernel (R)';
  const where = wchan ?? stack?.[0]?.replace(/\+0x.*/, '');
  const word = letter === 'D' ? 'blocked' : letter === 'S' ? 'waiting' : 'stopped';
  return `, ${word}${where ? ` in ${where}` : ''} (${letter})`;
}

/** " (mtty)" behind "its driver"; empty where its name was not observed. */
export function inParens(driver: string): string {
  return driver === '' ? '' : ` (${driver})`;
}

/** " Its driver is mtty."; empty where its name was not observed. */
export function driverSentence(driver: string): string {
  return driver === '' ? '' : ` Its driver is ${driver}.`;
}

/** How many processes a sentence names. */
const NAMED = 3;

/** "120 times, by mdevctl (pid 7) 40 times, sh (pid 8) and others", of a one-shot violation. */
export function occurrenceWords({
  count,
  processes,
}: Pick<Violation, 'count' | 'processes'>): string {
  const { listed, otherOccurrences } = processes;
  const named = listed
    .slice(0, NAMED)
    .map(({ task, occurrences }) =>
      occurrences > 1 ? `${who(task)} ${plural(occurrences, 'time')}` : who(task),
    );
  const isMore = listed.length > NAMED || otherOccurrences > 0;
  const by = listed.length > 1 || isMore ? [...named, ...(isMore ? ['others'] : [])] : [];
  return plural(count, 'time') + (by.length > 0 ? `, by ${inWords(by)}` : '');
}

/** "1 device", "2 devices", "no devices"; @param many when it is not the same with an s */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count || 'no'} ${count === 1 ? one : many}`;
}

/** "a", "a and b", "a, b and c" */
export function inWords(words: readonly string[]): string {
  if (words.length < 2) return words.join('');
  return `${words.slice(0, -1).join(', ')} and ${words[words.length - 1]}`;
}

/** With a capital, as at the beginning of a sentence. */
export function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** With a small letter, as in the middle of a sentence; names in capitals stay. */
export function uncapital(text: string): string {
  return /^[A-Z][a-z ]/.test(text) ? text.charAt(0).toLowerCase() + text.slice(1) : text;
}
