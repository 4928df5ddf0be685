/** What the log says of lifecycles: a line for each kind of event that changes what users know. */
import type { Logger } from 'pino';
import { errnoName } from '../engine/errno.ts';
import { deviceWords, openWords, seconds, vmWords, who } from '../engine/words.ts';
import type { EventKind } from '../events/points.ts';
import { taskOf } from '../events/task.ts';
import type { Transition } from '../lifecycle/transition.ts';
import { SECOND } from '../units.ts';
import { durationFields, type Ids, taskFields } from './log-fields.ts';

/** Writes one line to a logger; `ids` gives the fields that identify an object and its trace. */
export type Write = (log: Logger, transition: Transition, ids: Ids) => void;

export const TRANSITION_LINES: Readonly<Partial<Record<EventKind, Write>>> = {
  'mdev.parent.register:end': (log, { parent, event }, ids) => {
    if (!parent || event.ret < 0) return;
    log.info(
      { event: 'parent.registered', ...ids.parent(parent, event.time), driver: parent.driver },
      `parent ${parent.name} registered by ${parent.driver}`,
    );
  },
  'mdev.parent.unregister:end': (log, { parent, event, duration }, ids) => {
    if (!parent) return;
    log.info(
      {
        event: 'parent.unregistered',
        ...ids.parent(parent, event.time),
        ...durationFields(duration),
      },
      `parent ${parent.name} unregistered${took(duration)}`,
    );
  },
  'mdev.create:end': (log, { device, event, duration }, ids) => {
    if (!device) return;
    const by = who(device.creator);
    if (event.ret < 0) {
      log.info(
        {
          event: 'device.create_failed',
          ...ids.device(device, event.time, 'vfio.device.create', device.createBegan),
          errno: errnoName(-event.ret),
        },
        `failed to create ${deviceWords(device)} on ${device.parentName}: ${errnoName(-event.ret)}, requested by ${by}`,
      );
    } else {
      log.info(
        {
          event: 'device.created',
          ...ids.device(device, event.time, 'vfio.device.create', device.createBegan),
          ...durationFields(duration),
        },
        `created ${deviceWords(device)} on ${device.parentName} by ${by}${took(duration)}`,
      );
    }
  },
  'vfio.device.open:end': (log, { device, open, event }, ids) => {
    if (!device || !open || event.ret < 0) return;
    const vm = open.vm ? `, for ${vmWords(open.vm)}` : ', without a VM';
    log.info(
      {
        event: 'device.opened',
        ...ids.device(device, event.time, 'vfio.device.open', open.firstSeen),
        process: taskFields(open.task),
      },
      `opened ${deviceWords(device)} by ${who(open.task)}${vm}`,
    );
  },
  'vfio.device.close:end': (log, { device, open, event }, ids) => {
    if (!device || !open) return;
    const after = open.openedAt ? ` after ${seconds(event.time - open.openedAt)}` : '';
    log.info(
      {
        event: 'device.closed',
        ...ids.device(device, event.time, 'vfio.device.open', open.firstSeen),
        process: taskFields(open.task),
      },
      `closed ${deviceWords(device)} by ${who(open.task)}${after}`,
    );
  },
  'vfio.cdev.open:end': (log, { device, cdev, event }, ids) => {
    if (!device || !cdev || event.ret < 0) return;
    log.info(
      {
        event: 'cdev.opened',
        ...ids.device(device, event.time),
        process: taskFields(cdev.opener),
      },
      `opened the cdev of ${deviceWords(device)} by ${who(cdev.opener)}: the device is held, but not open by it`,
    );
  },
  'vfio.cdev.bind:end': (log, { device, event }, ids) => {
    if (!device || event.ret >= 0) return;
    const process = taskOf(event);
    const errno = errnoName(-event.ret);
    log.info(
      {
        event: 'cdev.bind_failed',
        ...ids.device(device, event.time),
        ...{ errno, process: taskFields(process) },
      },
      `failed to bind the cdev of ${deviceWords(device)} to iommufd: ${errno}, requested by ${who(process)}`,
    );
  },
  'vfio.cdev.attach:end': (log, { device, event }, ids) => {
    if (!device) return;
    const process = taskOf(event);
    const fields = { ...ids.device(device, event.time), process: taskFields(process) };
    if (event.ret < 0) {
      const errno = errnoName(-event.ret);
      log.info(
        { event: 'cdev.attach_failed', ...fields, errno },
        `failed to attach ${deviceWords(device)} to an address space: ${errno}, requested by ${who(process)}`,
      );
      return;
    }
    log.info(
      { event: 'cdev.attached', ...fields },
      `attached ${deviceWords(device)} to an address space by ${who(process)}`,
    );
  },
  'vfio.cdev.close:end': (log, { device, cdev, event }, ids) => {
    if (!device || !cdev) return;
    const process = taskOf(event);
    const after = cdev.openedAt ? ` after ${seconds(event.time - cdev.openedAt)}` : '';
    const isBound = cdev.boundAt > 0 || cdev.adopted ? '' : ', which was never bound,';
    log.info(
      {
        event: 'cdev.closed',
        ...ids.device(device, event.time),
        process: taskFields(process),
      },
      `closed the cdev of ${deviceWords(device)}${isBound} by ${who(process)}${after}`,
    );
  },
  'vfio.unregister:begin': (log, { device, event }, ids) => {
    if (!device || device.openCount === 0) return;
    log.info(
      {
        event: 'device.removal_waiting',
        ...ids.device(device, event.time, 'vfio.device.wait_for_users', device.unregisterBegan),
      },
      `waiting to remove ${deviceWords(device)}, requested by ${who(device.remover)}: it is ${openWords(device)}`,
    );
  },
  'mdev.remove:end': logRemoved,
  'mdev.remove_child:end': logRemoved,
  'vfio.register:end': (log, { device, event }, ids) => {
    if (!device || device.isMdev || event.ret < 0) return;
    log.info(
      { event: 'device.bound', ...ids.device(device, event.time) },
      `bound ${device.name} to ${device.driver}`,
    );
  },
  'vfio.release:begin': (log, { device, event }, ids) => {
    if (!device || device.isMdev) return;
    log.info(
      { event: 'device.released', ...ids.device(device, event.time) },
      `released ${device.name} by ${device.driver}`,
    );
  },
  'kvm.vm.create:end': (log, { vm, event }, ids) => {
    if (!vm || event.ret < 0) return;
    log.info({ event: 'vm.created', ...ids.vm(vm, event.time) }, `created ${vmWords(vm)}`);
  },
  'kvm.vm.destroy:end': (log, { vm, event }, ids) => {
    if (!vm) return;
    const lived = vm.createdAt ? ` after ${seconds(event.time - vm.createdAt)}` : '';
    log.info(
      { event: 'vm.destroyed', ...ids.vm(vm, event.time) },
      `destroyed ${vmWords(vm)}${lived}`,
    );
  },
};

function logRemoved(log: Logger, { device, event, duration }: Transition, ids: Ids): void {
  if (!device) return;
  const by = who(device.remover);
  if (event.ret < 0) {
    log.info(
      {
        event: 'device.remove_failed',
        ...ids.device(device, event.time, 'vfio.device.remove', device.removeBegan),
        errno: errnoName(-event.ret),
      },
      `failed to remove ${deviceWords(device)}: ${errnoName(-event.ret)}, requested by ${by}`,
    );
    return;
  }
  const lived = device.createdAt
    ? `, ${seconds(event.time - device.createdAt)} after its creation`
    : '';
  log.info(
    {
      event: 'device.removed',
      ...ids.device(device, event.time, 'vfio.device.remove', device.removeBegan),
      ...durationFields(duration),
    },
    `removed ${deviceWords(device)} by ${by}${took(duration)}${lived}`,
  );
}

/** @param ns -1 if unknown */
function took(ns: number): string {
  return ns < 0 ? '' : ` in ${ns < SECOND ? `${(ns / 1e6).toFixed(1)} ms` : seconds(ns)}`;
}
