import { boundDeviceOf } from '../engine/cdev-bind.ts';
import {
  EACCES,
  EBUSY,
  EEXIST,
  EINVAL,
  EIO,
  EMFILE,
  ENODEV,
  EPERM,
  ESRCH,
  errnoName,
} from '../engine/errno.ts';
import {
  type BusyGroup,
  busyGroup,
  reportBusyGroup,
  reportKnownUsers,
  userWords,
} from '../engine/group-user.ts';
import type { MemoryDeclaration } from '../engine/memory.ts';
import { NEEDS_RAW_IO, whyRefused } from '../engine/open-refusal.ts';
import { refusalOf } from '../engine/refusal.ts';
import type { Rule, RuleContext } from '../engine/rule.ts';
import { siblingsWords } from '../engine/siblings.ts';
import { seconds, who } from '../engine/words.ts';
import { type Task, taskOf } from '../events/task.ts';
import type { Device } from '../lifecycle/objects.ts';
import { groupHas, openGroup } from '../scenario/vfio.ts';
import { SECOND } from '../units.ts';

export const openFailed: Rule = {
  id: 'open-failed',
  title: 'A device could not be opened',
  severity: 'warning',
  description:
    'A VMM tried to open a device and was refused. The kernel log says nothing about it, and ' +
    'the VMM shows one errno that can mean several things. The message says what it meant ' +
    'here: that follows from how far the open got, and from what else is known of the device.',
  remediation: 'Fix the cause that the message gives, and open the device again.',
  references:
    'vfio_group_fops_open() and vfio_group_ioctl_get_device_fd() in drivers/vfio/group.c, ' +
    'vfio_group_use_container() in drivers/vfio/container.c, vfio_df_open() in drivers/vfio/vfio_main.c',
  evidence: 'Who tried, which name in which group, how far the open got, and the errno.',
  occurrences: 'the device, or the group where that is not known, and the errno',
  blindSpot:
    'A refusal before VFIO is reached, by the mode of the file or a device cgroup. Before 6.0, ' +
    'whether the driver or the kernel refused.',
  notByCdev: 'bind-refused and cdev-group-conflict report what is refused there',
  provocation: {
    by: 'user',
    how:
      'A device is requested in a group without container, or by a wrong name; a group is ' +
      'opened that is open already.',
  },
  basis: 'event',
  needs: ['vfio.device.open', 'vfio.group.set_kvm'],
  on: {
    'vfio.device.get_fd:end'(transition, context) {
      const { event, device, request } = transition;
      // Causes that have rules of their own are left to these.
      if (event.ret >= 0 || !request || refusalOf(transition, context)) return;
      context.report({
        device,
        task: request.task,
        sameAs: `${device?.name ?? ''} in group ${request.groupId} ${event.ret}`,
        message:
          `${who(request.task)} could not open ${request.name} in group ${request.groupId}: ` +
          `${errnoName(-event.ret)}${afterLong(transition.duration)}, ` +
          `${whyRefused(transition, request, context)}.` +
          `${device?.isMdev && request.openError > 0 ? siblingsWords(device, device) : ''}`,
      });
    },
    'vfio.group.open:end'(transition, context) {
      const { event, group } = transition;
      // What a bound cdev is in the way of is reported as cdev-group-conflict.
      if (event.ret === -EBUSY && group && boundDeviceOf(group)) return;
      const [device = lastDevice(event.groupId, context)] = group?.devices ?? [];
      const task = taskOf(event);
      if (event.ret !== -EBUSY || !group || !device) {
        const why = groupReason(-event.ret, event.groupId, context);
        if (why) reportGroup({ id: event.groupId, task, device, errno: -event.ret, why }, context);
        return;
      }
      const busy = busyGroup(group, task, event.time, context.world);
      reportBusyGroup(device, busy, context.memory(WAITING), context, reporter(context));
    },
  },
  onClock(context) {
    reportKnownUsers(context.memory(WAITING), context, reporter(context));
  },
  examples: {
    fires: [
      {
        title: 'a virtual function is requested with a wrong VF token',
        run(scenario) {
          scenario.getFdFails(scenario.bindPci('0000:02:00.1'), EACCES, { hasOptions: true });
        },
      },
      {
        title: 'a virtual function is requested without the VF token that it needs',
        run(scenario) {
          scenario.getFdFails(scenario.bindPci('0000:02:00.1'), EACCES);
        },
      },
      {
        title: 'a device that has no virtual functions is requested with a VF token',
        run(scenario) {
          scenario.getFdFails(scenario.bindPci('0000:02:00.1'), EINVAL, { hasOptions: true });
        },
      },
      {
        title: 'an mdev is requested with a VF token',
        run(scenario) {
          scenario.getFdFails(scenario.create(scenario.parent()), ENODEV, { hasOptions: true });
        },
      },
      {
        title: 'the group has no container yet',
        run(scenario) {
          scenario.getFdFails(scenario.create(scenario.parent()), EINVAL);
        },
      },
      {
        title: 'the driver refuses',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const opening = scenario.openBegins(device, { vm: scenario.createVm() });
          scenario.openEnds(opening, { error: EIO });
        },
      },
      {
        title: 'the container has no IOMMU set',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const opening = scenario.openBegins(device, { vm: scenario.createVm() });
          scenario.openEnds(opening, { error: EINVAL });
        },
      },
      {
        title: 'the device is being removed',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const open = scenario.open(device, { vm: scenario.createVm() });
          const removal = scenario.removeBegins(device);
          scenario.getFdFails(device, ENODEV);
          scenario.close(open);
          scenario.removeEnds(removal);
        },
      },
      {
        title: 'the process has too many files',
        run(scenario) {
          scenario.getFdFails(scenario.create(scenario.parent()), EMFILE);
        },
      },
      {
        title: 'the group is open already',
        run(scenario) {
          scenario.groupOpenFails(scenario.create(scenario.parent()), EBUSY);
        },
      },
      {
        title: 'another process has opened the group, and no device of it',
        run(scenario) {
          const device = scenario.bindPci('0000:01:00.0');
          openGroup(scenario, device, { as: { pid: 700, comm: 'spdk' } });
          scenario.wait(30);
          scenario.groupOpenFails(device, EBUSY);
        },
      },
      {
        title: 'the same process has the group open, and a device of it',
        run(scenario) {
          const device = scenario.bindPci('0000:01:00.0');
          openGroup(scenario, device);
          scenario.open(device, { vm: scenario.createVm() });
          scenario.groupOpenFails(device, EBUSY);
        },
      },
      {
        title: 'the group has lost its last device',
        run(scenario) {
          const device = scenario.bindPci('0000:01:00.0');
          scenario.unbindPciBegins(device);
          scenario.unbindPciEnds(device);
          scenario.groupOpenFails(device, ENODEV);
        },
      },
      {
        title: 'the driver refuses a second device on its parent',
        run(scenario) {
          const parent = scenario.parent();
          scenario.open(scenario.create(parent), { vm: scenario.createVm() });
          const as = { pid: 601, comm: 'qemu' };
          const vm = scenario.createVm({ as });
          scenario.openEnds(scenario.openBegins(scenario.create(parent), { vm, as }), {
            error: EIO,
          });
        },
      },
    ],
    doesNotFire: [
      {
        title: 'an open that works',
        run(scenario) {
          scenario.open(scenario.create(scenario.parent()), { vm: scenario.createVm() });
        },
      },
      {
        title: 'a sibling is bound to a driver of the host: that is group-not-viable',
        also: ['group-not-viable'],
        run(scenario) {
          const device = scenario.bindPci('0000:01:00.0');
          groupHas(scenario, device, [{ name: '0000:01:00.1', driver: 'snd_hda_intel' }]);
          scenario.getFdFails(device, EINVAL);
        },
      },
      {
        title: 'refused because it has no VM: that is open-without-kvm',
        also: ['open-without-kvm'],
        run(scenario) {
          const parent = scenario.parent({ name: '0000:00:02.0', driver: 'intel_vgpu_mdev' });
          scenario.openEnds(scenario.openBegins(scenario.create(parent)), { error: ESRCH });
        },
      },
      {
        title: 'refused because the VM has another device of that driver: that is kvm-used-twice',
        also: ['kvm-used-twice'],
        run(scenario) {
          const parent = scenario.parent({ name: '0000:00:02.0', driver: 'intel_vgpu_mdev' });
          const vm = scenario.createVm();
          scenario.open(scenario.create(parent), { vm });
          scenario.openEnds(scenario.openBegins(scenario.create(parent), { vm }), {
            error: EEXIST,
          });
        },
      },
      {
        title: 'refused because the VM is that of another process: that is foreign-opener',
        also: ['foreign-opener'],
        run(scenario) {
          const parent = scenario.parent({ name: '0000:00:02.0', driver: 'intel_vgpu_mdev' });
          const as = { pid: 601, comm: 'child' };
          const opening = scenario.openBegins(scenario.create(parent), {
            vm: scenario.createVm(),
            as,
          });
          scenario.openEnds(opening, { error: ESRCH });
        },
      },
    ],
  },
};

/** A failure that took long was probably a wait for the device that timed out, so the time is a hint. */
const WORTH_SAYING = 1 * SECOND;

/** @param duration ns, -1 when it is not known */
function afterLong(duration: number): string {
  return duration >= WORTH_SAYING ? ` after ${seconds(duration)}` : '';
}

/** Groups that could not be opened, of which /proc has not shown yet who has them open. */
const WAITING: MemoryDeclaration<Device, BusyGroup[]> = { initial: () => [] };

function reporter(context: RuleContext) {
  return (busy: BusyGroup, device: Device): void => {
    const { id, task } = busy;
    const why = `because ${userWords(busy, context)}`;
    reportGroup({ id, task, device, errno: EBUSY, why }, context);
  };
}

function reportGroup(
  {
    id,
    task,
    device,
    errno,
    why,
  }: {
    readonly id: number;
    readonly task: Task;
    readonly device: Device | undefined;
    readonly errno: number;
    readonly why: string;
  },
  { report }: RuleContext,
): void {
  report({
    device,
    task,
    sameAs: `group ${id} ${-errno}`,
    stillOpen: true,
    message:
      `${who(task)} could not open VFIO group ${id}${device ? `, the group of ${device.name}` : ''}: ` +
      `${errnoName(errno)}, ${why}.`,
  });
}

/** @returns undefined for an errno that has nothing to do with the group */
function groupReason(errno: number, groupId: number, context: RuleContext): string | undefined {
  switch (errno) {
    case EBUSY:
      return 'because it is already open';
    case ENODEV:
      return `because it has no device any more${lastWords(groupId, context)}`;
    case EPERM:
      return NEEDS_RAW_IO;
    default:
      return undefined;
  }
}

/** The file of a group that lost its devices may still exist, as in a container with a /dev of its own. */
function lastWords(groupId: number, context: RuleContext): string {
  const last = lastDevice(groupId, context);
  return last
    ? `: ${last.name} was the last one observed in it, and ${who(last.remover)} unbound it ` +
        `${seconds(context.now - last.unregisteredAt)} ago`
    : '';
}

function lastDevice(groupId: number, { world }: RuleContext): Device | undefined {
  return world.devices.ended
    .list()
    .findLast((device) => device.groupId === groupId && device.unregisteredAt > 0);
}
