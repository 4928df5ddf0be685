import { heldOpen, stuckHolders } from '../engine/holder-words.ts';
import type { Rule } from '../engine/rule.ts';
import { capital, deviceWords, secondsSince, vmWords } from '../engine/words.ts';
import type { Device, Vm } from '../lifecycle/objects.ts';
import type { World } from '../lifecycle/world.ts';
import { SECOND } from '../units.ts';

const LONG = 60 * SECOND;

export const vmPinnedByDevice: Rule = {
  id: 'vm-pinned-by-device',
  title: 'A closed VM is kept alive by an open device',
  severity: 'info',
  severityVaries:
    'A warning once it has lasted for a minute, unless the device serves another VM by then, as after ' +
    'a live update of the VMM.',
  description:
    'All file descriptors of the VM are closed, but a VFIO device that was opened for it is ' +
    'still open and holds a reference. The memory of the VM, and everything else it owns, ' +
    'stays allocated. Since 6.2 that is by design, and a normal exit takes milliseconds; if it ' +
    'lasts, a process forgot the device or passed its descriptor on. A VMM that is updated while its ' +
    'guest runs passes it on purpose: the new process makes a VM of its own, and the device, which ' +
    'is never closed, holds the old one.',
  remediation:
    'Make the process that has the device open close it; the message names it. After a live update ' +
    'nothing needs to be done: the memory of the guest is shared with its new VM, and what is left ' +
    'of the old one is freed when the device is closed.',
  references:
    'vfio_device_get_kvm_safe() in drivers/vfio/vfio_main.c, from the thread vfio-pci/zdev: add ' +
    'open/close device hooks (2022)',
  evidence: 'The lifecycles of the VM and of the device, and who has the device open.',
  provocation: {
    by: 'user',
    how: 'A VMM closes all files of its VM and keeps the device open.',
  },
  basis: 'state',
  needs: ['kvm.vm.fd_close', 'vfio.device.close'],
  // On a kernel whose core takes no reference, no device keeps a VM alive.
  needsStep: ['vfio.device.kvm_capture'],
  on: {
    'kvm.vm.destroy:begin'({ vm }, { resolve }) {
      for (const device of vm?.devices ?? []) resolve(device);
    },
    'vfio.device.kvm_drop:begin'({ device }, { resolve }) {
      if (device) resolve(device);
    },
  },
  onClock({ world, host, now, thresholds, report }) {
    let running: ReadonlyMap<number, Vm> | undefined;
    for (const vm of world.vms) {
      if (vm.state !== 'zombie') continue;
      const pinned = now - vm.fdClosedAt;
      if (pinned < thresholds.vmPinned) continue;
      for (const device of vm.devices) {
        running ??= runningByCreator(world);
        const successor = successorOf(vm, device, world, running);
        report({
          device,
          vm,
          task: device.opens[0]?.task,
          ongoing: true,
          severity: pinned >= LONG && !successor ? 'warning' : 'info',
          message: (attribution) =>
            `${capital(vmWords(vm))} was closed ${secondsSince(pinned, !vm.isCloseInferred)} ago and is kept alive, because ` +
            `${deviceWords(device)} ${heldOpen(device, attribution.holders, now)}.` +
            `${successor ? handedOver(successor) : ''}${stuckHolders(attribution, host)}`,
        });
      }
    }
  },
  examples: {
    fires: [
      {
        title: 'the VM is closed, the device stays open',
        run(scenario) {
          const vm = scenario.createVm();
          scenario.open(scenario.create(scenario.parent()), { vm });
          scenario.closeVm(vm);
          scenario.wait(11);
        },
      },
      {
        title: 'the VMM was updated while its guest ran, and stays at info',
        also: ['kvm-changed-while-open'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const vm = scenario.createVm();
          scenario.open(device, { vm });
          scenario.setKvm(device, scenario.createVm({ as: { pid: 900, comm: 'qemu' } }));
          scenario.closeVm(vm);
          scenario.wait(70);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'both are closed within a second, VM first',
        run(scenario) {
          const vm = scenario.createVm();
          const open = scenario.open(scenario.create(scenario.parent()), { vm });
          scenario.closeVm(vm);
          scenario.close(open);
          scenario.wait(11);
        },
      },
      {
        title: 'a VMM with much memory is slow to exit',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const vm = scenario.createVm();
          const open = scenario.open(device, { vm });
          scenario.clearKvm(device, { exiting: true });
          scenario.closeVm(vm);
          scenario.wait(1);
          scenario.close(open, { exiting: true });
          scenario.exit(vm.task);
          scenario.wait(11);
        },
      },
      {
        title: 'closed with a device open that was opened without it',
        also: ['open-without-kvm'],
        run(scenario) {
          const vm = scenario.createVm();
          scenario.open(scenario.create(scenario.parent()));
          scenario.closeVm(vm);
          scenario.wait(61);
        },
      },
      {
        title: 'a running VM with an open device',
        run(scenario) {
          scenario.open(scenario.create(scenario.parent()), { vm: scenario.createVm() });
          scenario.wait(60);
        },
      },
    ],
  },
};

/** The latest running VM that each process has made. */
function runningByCreator({ vms }: World): ReadonlyMap<number, Vm> {
  const running = new Map<number, Vm>();
  for (const vm of vms) if (vm.state === 'running' && vm.task) running.set(vm.task.pid, vm);
  return running;
}

/**
 * The running VM that the device serves by now: the one that is set for its group, or that an opener
 * of it, which keeps its id when it executes another program, has made since.
 */
function successorOf(
  vm: Vm,
  device: Device,
  world: World,
  running: ReadonlyMap<number, Vm>,
): Vm | undefined {
  const ofGroup = world.groups.get(device.groupId)?.vm;
  if (ofGroup && ofGroup !== vm && ofGroup.state === 'running') return ofGroup;
  return device.opens
    .map(({ task }) => running.get(task.pid))
    .find((other) => other !== undefined && other.createdAt > vm.createdAt);
}

function handedOver(vm: Vm): string {
  return ` Its VMM was probably updated while the guest ran: the device serves ${vmWords(vm)} by now.`;
}
