import { isBeingLeft } from '../engine/exiting.ts';
import { heldOpen } from '../engine/holder-words.ts';
import { driverOf } from '../engine/refusal.ts';
import type { Rule, RuleContext } from '../engine/rule.ts';
import { deviceWords, vmWords, who } from '../engine/words.ts';
import { taskOf } from '../events/task.ts';
import type { Device, Vm } from '../lifecycle/objects.ts';

export const kvmDestroyedWhileCaptured: Rule = {
  id: 'kvm-destroyed-while-captured',
  title: 'A VM was destroyed while a device was open for it',
  severity: 'critical',
  severityVaries:
    'A warning on 6.1 for drivers that do not need a VM, and only when the device stays open.',
  description:
    'An open device points to a VM that is gone. Whatever uses that pointer next uses memory ' +
    'that may be something else by now. From 6.2 on every open device holds a reference, so it ' +
    'means that somebody put a reference that was not theirs. On 6.1 the core holds none: ' +
    'drivers that use the VM must, and for the others nothing happens as long as nobody ' +
    'follows the pointer.',
  remediation:
    'Move the other guests away first: closing the device may crash the host. Then reboot, and stop ' +
    'using that driver until it is fixed. The evidence shows who put the last reference. On 6.1 with a driver that does not use a VM, it is ' +
    'enough that the VMM closes the device before the VM.',
  references:
    'The thread vfio-pci/zdev: add open/close device hooks (2022), on who keeps struct kvm alive for a ' +
    'device; vfio_device_get_kvm_safe() in drivers/vfio/vfio_main.c',
  evidence:
    'Every put of a reference that was observed, the last one above all, and who has the ' +
    'device open.',
  kernels: {
    where: { driversAreNotified: false },
    because: 'the core keeps no VM of a device, only its group does',
  },
  traits: ['coreHoldsVm'],
  provocation: {
    by: 'user',
    how:
      'On 6.1 all files of the VM are closed while a device is open whose driver takes no ' +
      'reference. Later kernels keep the VM until the device is closed.',
  },
  basis: 'state',
  needs: ['vfio.device.open', 'vfio.device.close', 'vfio.device.kvm_drop'],
  on: {
    'kvm.vm.destroy:begin'({ vm, event }, context) {
      for (const device of vm?.devices ?? []) {
        if (isHarmless(device, context)) continue;
        if (vm && isCaptured(device, vm))
          reportDestroyed(device, vm, context, ` by ${who(taskOf(event))}`);
      }
    },
    'vfio.device.close:end'({ device }, { resolve }) {
      if (device && device.opens.length === 0) resolve(device);
    },
  },
  onClock(context) {
    for (const device of context.world.devices) {
      const { vm } = device;
      // A process that closes both often closes the VM first.
      if (!vm?.destroyBegan || context.now - vm.destroyBegan < context.thresholds.grace) continue;
      if (isBeingLeft(device, context.host)) continue;
      if (isHarmless(device, context) && isCaptured(device, vm))
        reportDestroyed(device, vm, context, '');
    }
  },
  examples: {
    fires: [
      {
        title: 'somebody puts references that are not theirs',
        run(scenario) {
          const vm = scenario.createVm();
          scenario.open(scenario.create(scenario.parent()), { vm });
          scenario.putKvm(vm);
          scenario.putKvm(vm);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the VM is closed first, and exists until the device is closed',
        run(scenario) {
          const vm = scenario.createVm();
          const open = scenario.open(scenario.create(scenario.parent()), { vm });
          scenario.closeVm(vm);
          scenario.close(open);
        },
      },
      {
        title: 'the driver puts the last reference in the course of the close',
        run(scenario) {
          const vm = scenario.createVm();
          const open = scenario.open(scenario.create(scenario.parent()), { vm });
          scenario.closeVm(vm);
          scenario.closeBegins(open);
          scenario.putKvm(vm);
        },
      },
      {
        title: 'another VM is destroyed',
        run(scenario) {
          const vm = scenario.createVm();
          scenario.open(scenario.create(scenario.parent()), { vm });
          scenario.closeVm(scenario.createVm({ as: { pid: 601, comm: 'qemu' } }));
          scenario.wait(3);
        },
      },
      {
        title: 'the group has that VM, but the device was opened without one',
        also: ['open-without-kvm', 'kvm-set-after-open'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const vm = scenario.createVm();
          scenario.open(device);
          scenario.setKvm(device, vm);
          scenario.closeVm(vm);
          scenario.wait(3);
        },
      },
    ],
  },
};

function isCaptured(device: Device, vm: Vm): boolean {
  return device.vm === vm && !device.vmOfGroup && device.isOpen;
}

/** Nothing will follow its pointer. */
function isHarmless(device: Device, { host, drivers }: RuleContext): boolean {
  return host.traits.coreHoldsVm === false && !drivers.needKvm.has(driverOf(device));
}

function reportDestroyed(device: Device, vm: Vm, context: RuleContext, by: string): void {
  const isWarning = isHarmless(device, context);
  context.report({
    device,
    vm,
    task: device.opens[0]?.task,
    ongoing: true,
    severity: isWarning ? 'warning' : 'critical',
    message: ({ holders }) =>
      `${deviceWords(device)}, opened for ${vmWords(vm)}, which was destroyed${by}, ` +
      `${heldOpen(device, holders, context.now)}. ` +
      (isWarning
        ? `Its driver ${driverOf(device)} should not use the pointer that is left.`
        : 'The device is left with a pointer to freed memory.'),
  });
}
