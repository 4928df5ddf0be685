import { type Device, type Group, type Task, taskOf, type Vm } from '../lifecycle/objects.ts';
import type { Rule, RuleContext, Severity } from './rule.ts';
import { whileLooking } from './story-vfio.ts';
import { deviceWords, openers } from './words.ts';

export const kvmClearedWhileOpen: Rule = {
  id: 'kvm-cleared-while-open',
  title: 'The VM was taken from a group whose device is open',
  severity: 'info',
  severityVaries:
    'A warning on 6.1, where only the driver itself keeps the VM; an error on 5.10, where drivers let ' +
    'go of it in a worker, or never.',
  meaning:
    'The VMM removed the group from its kvm-vfio device, or closed that device, before it closed the ' +
    'VFIO device. From 6.2 on the core holds its own reference on the VM, so this is only untidy. On ' +
    '6.1 the device keeps a pointer to a VM that nobody holds for it; on 5.10 it makes drivers ' +
    'drop their VM while in use, and vfio_ap leaks it.',
  advice:
    'In the VMM: close the device first, then take its group out of kvm-vfio, then close the VM.',
  origin:
    'The thread vfio-pci/zdev: add open/close device hooks (2022), on which object must outlive which; ' +
    'kvm_vfio_file_set_kvm() in virt/kvm/vfio.c',
  evidence: 'Who had the device open, and for which VM.',
  provocation: {
    by: 'user',
    how: 'The group is taken out of kvm-vfio, or kvm-vfio is closed, before the device is.',
  },
  basis: 'state',
  needs: ['vfio.device.open', 'vfio.device.close'],
  on: {
    'vfio.group.set_kvm:begin'({ group, vmBefore, event }, context) {
      if (!group || group.vm || !vmBefore) return;
      // A process that exits closes its files in any order; see onClock.
      if (event.isExiting) return;
      reportOpen(group, event.time, context, { vm: vmBefore, task: taskOf(event) });
    },
    'vfio.device.close:end'({ device }, { resolve }) {
      if (device && device.opens.length === 0) resolve(device);
    },
  },
  onClock(context) {
    for (const group of context.world.groups.values()) {
      const cleared = group.clearedByExitAt;
      if (!cleared || context.now - cleared < context.thresholds.grace) continue;
      group.clearedByExitAt = 0;
      reportOpen(group, cleared, context);
    }
  },
  examples: {
    fires: [
      {
        title: 'the group is taken out of kvm-vfio before the device is closed',
        tell(story) {
          const device = story.create(story.parent());
          story.open(device, { vm: story.createVm() });
          story.clearKvm(device);
        },
      },
      {
        title: 'the VMM exits, but a child still has the device open',
        tell(story) {
          const device = story.create(story.parent());
          story.open(device, { vm: story.createVm() });
          story.clearKvm(device, { exiting: true });
          story.wait(3);
        },
      },
    ],
    silent: [
      {
        title: 'the agent, which looks at all files, holds the one that was just closed',
        tell(story) {
          const device = story.create(story.parent());
          const open = story.open(device, { vm: story.createVm() });
          whileLooking(story, (agent) => {
            story.clearKvm(device);
            story.close({ ...open, task: agent });
          });
        },
      },
      {
        title: 'the device is closed first',
        tell(story) {
          const device = story.create(story.parent());
          const open = story.open(device, { vm: story.createVm() });
          story.close(open);
          story.clearKvm(device);
        },
      },
      {
        title: 'a killed VMM closes its files in another order',
        tell(story) {
          const device = story.create(story.parent());
          const open = story.open(device, { vm: story.createVm() });
          story.clearKvm(device, { exiting: true });
          story.close(open, { exiting: true });
          story.wait(3);
        },
      },
      {
        title: 'the device never had that VM: it was opened before the group did',
        also: ['open-without-kvm', 'kvm-set-after-open'],
        tell(story) {
          const device = story.create(story.parent());
          story.open(device);
          story.setKvm(device, story.createVm());
          story.clearKvm(device);
        },
      },
      {
        title: 'cleared once more',
        also: ['open-without-kvm'],
        tell(story) {
          const device = story.create(story.parent());
          story.setKvm(device, story.createVm());
          story.clearKvm(device);
          story.open(device);
          story.clearKvm(device);
        },
      },
      {
        title: 'opened anew, without a VM, right after the exit',
        also: ['open-without-kvm'],
        tell(story) {
          const device = story.create(story.parent());
          const open = story.open(device, { vm: story.createVm() });
          story.close(open, { exiting: true });
          story.clearKvm(device, { exiting: true });
          story.open(device, { as: { pid: 900, comm: 'dpdk' } });
          story.wait(3);
        },
      },
    ],
  },
};

interface Clearing {
  readonly vm?: Vm;
  readonly task?: Task;
}

/** @param cleared when; a device that was opened later has nothing to do with it */
function reportOpen(
  group: Group,
  cleared: number,
  { host, report }: RuleContext,
  { vm, task }: Clearing = {},
): void {
  for (const device of group.devices) {
    if (!device.opens.some((open) => open.firstSeen < cleared) || !hadIt(device, vm)) continue;
    report({
      device,
      vm: device.vm ?? vm,
      task: task ?? device.opens[0].task,
      severity: severityOn(host.kernel),
      stillOpen: true,
      says:
        `The VM of group ${group.id} was cleared while ${deviceWords(device)} was held open by ` +
        `${openers(device)}.`,
    });
  }
}

/** A device that was opened without the VM loses nothing with it. */
function hadIt({ vm, vmOfGroup }: Device, cleared: Vm | undefined): boolean {
  return vmOfGroup || (cleared ? vm === cleared : vm !== undefined);
}

function severityOn([major, minor]: readonly [number, number]): Severity {
  if (major > 6 || (major === 6 && minor >= 2)) return 'info';
  return major === 6 ? 'warning' : 'error';
}
