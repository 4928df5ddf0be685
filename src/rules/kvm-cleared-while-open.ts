import { isBeingLeft } from '../engine/exiting.ts';
import type { MemoryDeclaration } from '../engine/memory.ts';
import type { Rule, RuleContext, Severity } from '../engine/rule.ts';
import { capital, deviceWords, openWords, who } from '../engine/words.ts';
import { type Task, taskOf } from '../events/task.ts';
import type { Traits } from '../events/traits.ts';
import type { Device, Vm } from '../lifecycle/objects.ts';
import { duringSnapshot } from '../scenario/vfio.ts';

/** The clearings by processes that exit, by device of the group. */
const CLEARINGS: MemoryDeclaration<Device, { at: number }> = { initial: () => ({ at: 0 }) };

export const kvmClearedWhileOpen: Rule = {
  id: 'kvm-cleared-while-open',
  title: 'The VM of a group was cleared while its device is open',
  severity: 'info',
  severityVaries:
    'A warning on 6.1, where only the driver itself keeps the VM; an error on 5.10, where ' +
    'drivers release it in a worker, or never.',
  description:
    'The VMM removed the group from its kvm-vfio device, or closed that device, before it ' +
    'closed the VFIO device. From 6.2 on the core holds its own reference on the VM, so this ' +
    'is only untidy. On 6.1 the device keeps a pointer to a VM on which the core holds no ' +
    'reference for it; on 5.10 it makes drivers drop their VM while in use, and vfio_ap leaks ' +
    'it.',
  remediation:
    'In the VMM, close the device first, then remove its group from kvm-vfio, then close the VM.',
  references:
    'The thread vfio-pci/zdev: add open/close device hooks (2022), on which object must outlive which; ' +
    'kvm_vfio_file_set_kvm() in virt/kvm/vfio.c',
  evidence: 'Who had the device open, and for which VM.',
  traits: ['coreHoldsVm', 'driversAreNotified'],
  notByCdev:
    'a VMM clears the VM of a cdev before it closes it, and the device keeps its reference until then, so that is the right order',
  provocation: {
    by: 'user',
    how: 'The group is removed from kvm-vfio, or kvm-vfio is closed, before the device is.',
  },
  basis: 'state',
  needs: ['vfio.device.open', 'vfio.device.close'],
  on: {
    'vfio.group.set_kvm:begin'({ group, vmBefore, event }, context) {
      if (!group) return;
      const clearings = context.memory(CLEARINGS);
      // A process that exits closes its files in any order; see onClock.
      const isByExit = !group.vm && event.isExiting;
      for (const device of group.devices) {
        if (isByExit) clearings.of(device).at = event.time;
        else clearings.forget(device);
      }
      if (isByExit || group.vm || !vmBefore) return;
      for (const device of group.devices) {
        if (!hadIt(device, vmBefore) || !wasOpen(device, event.time)) continue;
        reportCleared(device, context, vmBefore, taskOf(event));
      }
    },
    'vfio.device.close:end'({ device }, { resolve }) {
      if (device && device.opens.length === 0) resolve(device);
    },
  },
  onClock(context) {
    const clearings = context.memory(CLEARINGS);
    for (const [device, { at }] of clearings.entries()) {
      if (context.now - at < context.thresholds.grace) continue;
      // A device may take long to close, and what an exiting process has not closed yet, it still will.
      if (isBeingLeft(device, context.host)) continue;
      clearings.forget(device);
      if (hadIt(device, undefined) && wasOpen(device, at)) reportCleared(device, context);
    }
  },
  examples: {
    fires: [
      {
        title: 'the group is removed from kvm-vfio before the device is closed',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.open(device, { vm: scenario.createVm() });
          scenario.clearKvm(device);
        },
      },
      {
        title: 'the VMM exits, but a child still has the device open',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.open(device, { vm: scenario.createVm() });
          scenario.clearKvm(device, { exiting: true });
          scenario.wait(3);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the agent, which takes a host snapshot, holds the file that was just closed',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const open = scenario.open(device, { vm: scenario.createVm() });
          duringSnapshot(scenario, (agent) => {
            scenario.clearKvm(device);
            scenario.close({ ...open, task: agent });
          });
        },
      },
      {
        title: 'the device is closed first',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const open = scenario.open(device, { vm: scenario.createVm() });
          scenario.close(open);
          scenario.clearKvm(device);
        },
      },
      {
        title: 'a killed VMM closes its files in another order',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const open = scenario.open(device, { vm: scenario.createVm() });
          scenario.clearKvm(device, { exiting: true });
          scenario.close(open, { exiting: true });
          scenario.wait(3);
        },
      },
      {
        title: 'the device never had that VM: it was opened before the group did',
        also: ['open-without-kvm', 'kvm-set-after-open'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.open(device);
          scenario.setKvm(device, scenario.createVm());
          scenario.clearKvm(device);
        },
      },
      {
        title: 'cleared again',
        also: ['open-without-kvm'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.setKvm(device, scenario.createVm());
          scenario.clearKvm(device);
          scenario.open(device);
          scenario.clearKvm(device);
        },
      },
      {
        title: 'opened again, without a VM, right after the exit',
        also: ['open-without-kvm'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const open = scenario.open(device, { vm: scenario.createVm() });
          scenario.close(open, { exiting: true });
          scenario.clearKvm(device, { exiting: true });
          scenario.open(device, { as: { pid: 900, comm: 'dpdk' } });
          scenario.wait(3);
        },
      },
    ],
  },
};

/**
 * Reports a device that was open when the VM of its group was cleared.
 * @param task who cleared it; undefined for a process that exited
 */
function reportCleared(device: Device, { host, report }: RuleContext, vm?: Vm, task?: Task): void {
  const group = `the VM of group ${device.groupId}`;
  report({
    device,
    vm: device.vm ?? vm,
    task: task ?? device.opens[0].task,
    severity: severityOn(host.traits),
    stillOpen: true,
    message:
      `${task ? `${who(task)} cleared ${group}` : `${capital(group)} was cleared`} while ` +
      `${deviceWords(device)} was ${openWords(device)}.`,
  });
}

/** @param at ns on the boot-time clock */
function wasOpen({ opens }: Device, at: number): boolean {
  return opens.some(({ firstSeen }) => firstSeen < at);
}

/** A device that was opened without the VM does not lose it. */
function hadIt({ vm, vmOfGroup }: Device, cleared: Vm | undefined): boolean {
  return vmOfGroup || (cleared ? vm === cleared : vm !== undefined);
}

function severityOn({ coreHoldsVm, driversAreNotified }: Traits): Severity {
  if (coreHoldsVm) return 'info';
  return driversAreNotified ? 'error' : 'warning';
}
