import { isInRemoveCallback } from '../engine/conditions.ts';
import { heldOpen, keptRegistered, stuckHolders } from '../engine/holder-words.ts';
import type { Rule, RuleContext } from '../engine/rule.ts';
import { STALL_SEVERITY, stallSeverity } from '../engine/stall.ts';
import type { Attribution } from '../engine/violation.ts';
import {
  createdByAnother,
  deviceWords,
  inParens,
  seconds,
  secondsSince,
  who,
} from '../engine/words.ts';
import type { Task } from '../events/task.ts';
import { POINT } from '../events/wire.gen.ts';
import type { Call } from '../lifecycle/calls.ts';
import type { Device } from '../lifecycle/objects.ts';
import { inProgress } from '../lifecycle/operations.ts';
import type { World } from '../lifecycle/world.ts';
import { unbindBegins } from '../scenario/vfio.ts';

export const removeStall: Rule = {
  id: 'remove-stall',
  title: 'A removal does not return',
  severity: 'warning',
  severityVaries: STALL_SEVERITY,
  description:
    'The removal of a device waits until everybody has closed it. Meanwhile the remover is ' +
    'blocked (after one signal even uninterruptibly), its UUID is taken, and its parent cannot be ' +
    'unregistered. From 6.2 on the device can no longer be opened; on kernels up to 6.1 it can, and each ' +
    'further open makes the wait longer. Most mdev drivers do not ask the ' +
    'VMM to release the device, so this lasts until somebody stops the VM. A removal may also ' +
    'be stuck in the driver, which then is at fault; the message says which.',
  remediation:
    'Unplug the device from its VM, or stop the process that the message names as its holder. When ' +
    'nothing else keeps the device, the removal returns; do not kill the remover. If the message says that the driver ' +
    'has not returned, from a close or from the removal, no process can end it: read where that is ' +
    "blocked, and report it. If holder and remover wait for each other's lock, or if a reference " +
    'on the registration was lost, killing a process does not help, and only a reboot does.',
  references:
    'vfio/mdev: Improve the create/remove sequence (Parav Pandit and Pierre Morel, 2019); ' +
    'vfio_unregister_group_dev() in drivers/vfio/vfio_main.c',
  evidence:
    'Who waits, since when and where in the kernel, who has the device open and for which VM, ' +
    'and who created the device, if that was somebody else.',
  blindSpot:
    'A removal that began before the agent, where the stacks of threads must not be read, or where neither ' +
    'the files of its process nor sysfs show which device it is. A file on its way through a socket, which ' +
    'no process has. Before 6.13, the kernel does not show of which device a file is: one that was not seen ' +
    'to be opened may be of any, and a process may have another one at the number that it once got.',
  provocation: {
    by: 'user',
    how: 'A device is removed, or unbound from its driver, while a process has it open.',
  },
  basis: 'state',
  // Where no kernel module offers mdevs, the removals of PCI devices are judged.
  optional: ['mdev.unbind'],
  on: {
    'vfio.unregister:begin'({ device, event, call }, context) {
      const { unbindBegan } = device ?? {};
      if (device && unbindBegan && isInRemoveCallback(device))
        conclude(device, call, event.time - unbindBegan, 'took', context);
    },
    'vfio.unregister:end'({ device, duration, call }, context) {
      // A wait that began before the agent has no duration, and one within a removal no other end.
      if (device) conclude(device, call, duration, 'waited', context);
    },
    'mdev.unbind:end'({ device, call }, context) {
      if (device) conclude(device, call, inDriver(device), 'took', context);
    },
  },
  onClock(context) {
    const { world, host, now, thresholds, report } = context;
    const removers = removersIn(world);
    for (const device of world.devices) {
      if (device.removeKnownBy !== 'begin') reportDriver(device, device.remover, context);
      const waited = waitingFor(device, now);
      if (waited < thresholds.removeStall) continue;
      const remover = removers.get(device) ?? device.remover;
      report({
        device,
        vm: device.vm,
        task: remover,
        blocked: remover,
        ongoing: true,
        severity: stallSeverity(waited, thresholds.removeStall),
        message: (attribution) =>
          `The removal of ${deviceWords(device)} by ${byWhom(device, remover)} has been waiting for ` +
          `${sinceBegan(waited, device, remover)}: ${reason(device, attribution, context)}.` +
          stuckHolders(attribution, host) +
          createdByAnother(device, host),
      });
    }
    for (const [device, remover] of removers) reportDriver(device, remover, context);
  },
  examples: {
    fires: [
      {
        title: 'removed while a VM uses it',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.open(device, { vm: scenario.createVm() });
          scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          scenario.wait(11);
        },
      },
      {
        title: 'a passed-through PCI device unbound while open',
        run(scenario) {
          const device = scenario.bindPci('0000:01:00.0');
          scenario.open(device, { vm: scenario.createVm() });
          scenario.unbindPciBegins(device);
          scenario.wait(11);
        },
      },
      {
        title: 'it is open, and the opener closes it between two ticks',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const open = scenario.open(device, { vm: scenario.createVm() });
          const removal = scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          scenario.pass(10.5);
          scenario.close(open);
          scenario.removeEnds(removal);
        },
      },
      {
        title: 'its driver does not return from its remove callback',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const removal = scenario.removeBegins(device, { idle: true });
          unbindBegins(scenario, removal);
          scenario.wait(11);
        },
      },
      {
        title: 'nobody has it open, but its group is in use',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.close(scenario.open(device, { vm: scenario.createVm() }));
          scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          scenario.wait(11);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the opener closes it in time',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const open = scenario.open(device, { vm: scenario.createVm() });
          const removal = scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          scenario.wait(5);
          scenario.close(open);
          scenario.removeEnds(removal);
          scenario.wait(20);
        },
      },
    ],
  },
};

/**
 * The devices that are being unbound or unregistered, and by whom: others may have begun to remove the
 * same device since, and wait for its lock.
 */
function removersIn(world: World): ReadonlyMap<Device, Task> {
  const { calls } = world;
  const removers = new Map<Device, Task>();
  for (const { device, tid, task } of inProgress(world, 'remove')) {
    const isInside = calls.of(tid, POINT.MDEV_UNBIND) ?? calls.of(tid, POINT.VFIO_UNREGISTER);
    if (device && isInside) removers.set(device, task);
  }
  return removers;
}

/**
 * How long its driver's remove callback took since the wait for users, if there was one; ns. The time until
 * a vfio_device is freed is left to release-wait-stall.
 */
function inDriver(device: Device): number {
  const { unbindBegan, unboundAt, unregisteredAt, vdevReleasedAt } = device;
  const isLeftOut = device.vfio === 'unregistered' && device.hasVdev;
  if (unbindBegan === 0 || isLeftOut) return -1;
  return unboundAt - Math.max(unbindBegan, unregisteredAt, vdevReleasedAt);
}

/** A part of the removal has ended. @param lasted ns; negative when it is not known */
function conclude(
  device: Device,
  call: Readonly<Call> | undefined,
  lasted: number,
  word: 'waited' | 'took',
  { thresholds, resolve, conclude }: RuleContext,
): void {
  const threshold = thresholds.removeStall;
  if (lasted < threshold) {
    resolve(device);
    return;
  }
  const remover = call?.task ?? device.remover;
  const what = `The removal of ${deviceWords(device)} by ${byWhom(device, remover)}`;
  conclude({
    device,
    task: remover,
    ongoing: true,
    severity: stallSeverity(lasted, threshold),
    message:
      word === 'waited'
        ? `${what} waited for ${seconds(lasted)} until nobody had the device open.`
        : `${what} took ${seconds(lasted)} in the driver${inParens(device.driver)}.`,
  });
}

/** A driver that has not returned from its remove callback, before or after the wait for users. */
function reportDriver(
  device: Device,
  remover: Task | undefined,
  { world, now, thresholds, report }: RuleContext,
): void {
  // A driver that waits for the release of its vfio_device is left to release-wait-stall.
  const isWaiting = device.unregisterBegan > 0 && (device.unregisteredAt === 0 || device.hasVdev);
  if (!isInRemoveCallback(device) || isWaiting || world.isUnverified) return;
  const lasted = now - Math.max(device.unbindBegan, device.unregisteredAt);
  if (lasted < thresholds.removeStall) return;
  report({
    device,
    task: remover,
    blocked: remover,
    ongoing: true,
    severity: stallSeverity(lasted, thresholds.removeStall),
    message:
      `The removal of ${deviceWords(device)} by ${byWhom(device, remover)} has been in the driver` +
      `${inParens(device.driver)} for ${sinceBegan(lasted, device, remover)}: its remove callback has not returned` +
      `${isOpen(device) ? '' : ', although nobody has the device open'}.`,
  });
}

function byWhom({ removeKnownBy }: Device, remover: Task | undefined): string {
  return removeKnownBy === 'elimination' ? `probably ${who(remover)}` : who(remover);
}

/** A time since its removal began, which is longer where the begin was not observed. */
function sinceBegan(time: number, { removeKnownBy }: Device, remover: Task | undefined): string {
  return secondsSince(time, remover !== undefined && removeKnownBy === 'begin');
}

/** ns since its removal began to wait, 0 when it does not. */
function waitingFor(device: Device, now: number): number {
  const waits = device.unregisterBegan > 0 && device.unregisteredAt === 0;
  return waits ? now - device.unregisterBegan : 0;
}

function isOpen({ openCount, opens }: Device): boolean {
  return openCount > 0 || opens.length > 0;
}

function reason(device: Device, { holders }: Attribution, context: RuleContext): string {
  return isOpen(device)
    ? `it ${heldOpen(device, holders, context.now)}`
    : keptRegistered(device, holders, context);
}
