/** How explanations name things, the same in every rule. */
import type { Device, Task, Vm } from '../lifecycle/objects.ts';

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
