import { boundCdev, boundDeviceOf, cdevWords, WITH_CDEVS } from '../engine/cdev-bind.ts';
import { EBUSY } from '../engine/errno.ts';
import {
  type BusyGroup,
  busyGroup,
  reportBusyGroup,
  reportKnownUsers,
  userWords,
} from '../engine/group-user.ts';
import type { MemoryDeclaration } from '../engine/memory.ts';
import type { Rule, RuleContext } from '../engine/rule.ts';
import { deviceWords, seconds, who } from '../engine/words.ts';
import { taskOf } from '../events/task.ts';
import type { Device } from '../lifecycle/objects.ts';
import { bindCdev, bindCdevFails, closeCdev, openCdev } from '../scenario/cdev.ts';
import { closeGroup, openGroup } from '../scenario/vfio.ts';

export const cdevGroupConflict: Rule = {
  id: 'cdev-group-conflict',
  title: 'A device was wanted by its cdev and by its group at once',
  severity: 'warning',
  description:
    'A device can be used by its cdev (/dev/vfio/devices/vfioN, bound to an iommufd) or by its group ' +
    '(/dev/vfio/N), not by both: while the group is open, no device of it can be bound, and while a device ' +
    'is bound, its group cannot be opened. The second of the two got EBUSY, which does not show by whom the ' +
    'device is used. Mostly two VMMs, or two versions of a launcher, share a host.',
  remediation:
    'Have the process that the message names close the device, or its group, if it is not meant to use it. Use ' +
    'either cdevs or groups for all devices of an IOMMU group.',
  references:
    'vfio_device_block_group() and vfio_group_fops_open() in drivers/vfio/group.c, with ' +
    'cdev_device_open_cnt and opened_file of a group',
  evidence: 'Who got EBUSY, and who has the group open or the device bound, since when.',
  occurrences: 'the device, and whether its group or its cdev was refused',
  provocation: {
    by: 'user',
    how: 'A cdev is bound while the group of its device is open, and a group is opened while a cdev is bound.',
  },
  kernels: WITH_CDEVS,
  basis: 'event',
  needs: ['vfio.cdev.bind', 'vfio.cdev.close', 'vfio.group.close'],
  on: {
    'vfio.cdev.block_group:end'({ event, device, group }, context) {
      if (event.ret !== -EBUSY || !device || !group) return;
      const busy = busyGroup(group, taskOf(event), event.time, context.world);
      reportBusyGroup(device, busy, context.memory(WAITING), context, reporter(context));
    },
    'vfio.group.open:end'({ event, group }, { now, report }) {
      const device = event.ret === -EBUSY && group ? boundDeviceOf(group) : undefined;
      const cdev = device && boundCdev(device);
      if (!device || !cdev || !group) return;
      const task = taskOf(event);
      const ago = cdev.boundAt > 0 ? ` ${seconds(now - cdev.boundAt)} before` : '';
      const bound = cdev.binder
        ? `${who(cdev.binder)} bound ${deviceWords(device)} to an iommufd by ${cdevWords(cdev)}${ago}`
        : `${deviceWords(device)} is bound to an iommufd by ${cdevWords(cdev)}`;
      report({
        device,
        task,
        sameAs: `group of ${device.name}`,
        stillOpen: true,
        message: `${who(task)} could not open VFIO group ${group.id}: EBUSY, because ${bound}. The group cannot be opened before that is closed.`,
      });
    },
  },
  onClock(context) {
    reportKnownUsers(context.memory(WAITING), context, reporter(context));
  },
  examples: {
    fires: [
      {
        title: 'a cdev is bound while the group is open',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          openGroup(scenario, device, { as: { pid: 601, comm: 'qemu' } });
          bindCdevFails(scenario, openCdev(scenario, device), EBUSY, { at: 'group' });
        },
      },
      {
        title: 'the group is opened while a cdev is bound',
        also: ['open-without-kvm'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          bindCdev(scenario, openCdev(scenario, device));
          scenario.groupOpenFails(device, EBUSY, { as: { pid: 601, comm: 'dpdk' } });
        },
      },
    ],
    doesNotFire: [
      {
        title: 'bound after the group was closed',
        also: ['open-without-kvm'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          openGroup(scenario, device);
          closeGroup(scenario, device, { container: false });
          bindCdev(scenario, openCdev(scenario, device));
        },
      },
      {
        title: 'the group is opened after the cdev was closed',
        also: ['open-without-kvm'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const cdev = openCdev(scenario, device);
          bindCdev(scenario, cdev);
          closeCdev(scenario, cdev);
          openGroup(scenario, device);
        },
      },
      {
        title: 'a cdev that is not bound is in nobody’s way',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          openCdev(scenario, device);
          openGroup(scenario, device);
        },
      },
    ],
  },
};

/** Binds that failed because of a group, of which /proc has not shown yet who has it open. */
const WAITING: MemoryDeclaration<Device, BusyGroup[]> = { initial: () => [] };

function reporter(context: RuleContext) {
  return (busy: BusyGroup, device: Device): void => {
    const { id, task } = busy;
    context.report({
      device,
      task,
      sameAs: `cdev of ${device.name}`,
      stillOpen: true,
      message:
        `${who(task)} could not bind ${deviceWords(device)} to an iommufd: EBUSY, as long as its group ${id} ` +
        `is open: ${userWords(busy, context)}.`,
    });
  };
}
