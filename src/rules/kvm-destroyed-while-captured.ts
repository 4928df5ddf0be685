import { type Device, taskOf, type Vm } from '../lifecycle/objects.ts';
import { driverOf } from './refusal.ts';
import type { Rule, RuleContext } from './rule.ts';
import { deviceWords, openers, vmWords, who } from './words.ts';

export const kvmDestroyedWhileCaptured: Rule = {
  id: 'kvm-destroyed-while-captured',
  title: 'A VM was destroyed while a device was open for it',
  severity: 'critical',
  severityVaries:
    'A warning on 6.1 for drivers that do not need a VM, and only when the device stays open.',
  meaning:
    'An open device points to a VM that is gone. Whatever uses that pointer next uses memory that may ' +
    'be something else by now. From 6.2 on every open device holds a reference, so it means that ' +
    'somebody gave back a reference that was not his. On 6.1 the core holds none: drivers that use ' +
    'the VM must, and for the others nothing happens as long as nobody looks at the pointer.',
  advice:
    'Close the device, and stop using that driver on this host until it is mended. The evidence shows ' +
    'who put the last reference. On 6.1 with a driver that has no use for a VM, it is enough that ' +
    'the VMM closes the device before the VM.',
  origin:
    'The thread vfio-pci/zdev: add open/close device hooks (2022), on who keeps struct kvm alive for a ' +
    'device; vfio_device_get_kvm_safe() in drivers/vfio/vfio_main.c',
  evidence:
    'Every reference that was seen to be put, the last one above all, and who has the device open.',
  kernels: {
    from: [6, 0],
    because: 'the core keeps no VM of a device there, only its group does',
  },
  provocation: {
    by: 'user',
    how:
      'On 6.1 all files of the VM are closed while a device is open whose driver takes no reference. ' +
      'Later kernels keep the VM until the device is closed.',
  },
  basis: 'state',
  needs: ['vfio.device.open', 'vfio.device.close', 'vfio.device.kvm_drop'],
  on: {
    'kvm.vm.destroy:begin'({ vm, event }, context) {
      for (const device of vm?.devices ?? []) {
        if (isHarmless(device, context)) continue;
        if (vm && isCaptured(device, vm)) tell(device, vm, context, ` by ${who(taskOf(event))}`);
      }
    },
    'vfio.device.close:end'({ device }, { resolve }) {
      if (device && device.opens.length === 0) resolve(device);
    },
  },
  onClock(context) {
    for (const device of context.world.devices) {
      const { vm } = device;
      // Who closes both is often quicker with the VM.
      if (!vm?.destroyBegan || context.now - vm.destroyBegan < context.thresholds.grace) continue;
      if (isHarmless(device, context) && isCaptured(device, vm)) tell(device, vm, context, '');
    }
  },
  examples: {
    fires: [
      {
        title: 'somebody puts references that are not his',
        tell(story) {
          const vm = story.createVm();
          story.open(story.create(story.parent()), { vm });
          story.putKvm(vm);
          story.putKvm(vm);
        },
      },
    ],
    silent: [
      {
        title: 'the VM is closed first, and lives until the device is closed',
        tell(story) {
          const vm = story.createVm();
          const open = story.open(story.create(story.parent()), { vm });
          story.closeVm(vm);
          story.close(open);
        },
      },
      {
        title: 'the driver puts the last reference in the course of the close',
        tell(story) {
          const vm = story.createVm();
          const open = story.open(story.create(story.parent()), { vm });
          story.closeVm(vm);
          story.closeBegins(open);
          story.putKvm(vm);
        },
      },
      {
        title: 'another VM is destroyed',
        tell(story) {
          const vm = story.createVm();
          story.open(story.create(story.parent()), { vm });
          story.closeVm(story.createVm({ as: { pid: 601, comm: 'qemu' } }));
          story.wait(3);
        },
      },
      {
        title: 'the group has that VM, but the device was opened without one',
        also: ['open-without-kvm', 'kvm-set-after-open'],
        tell(story) {
          const device = story.create(story.parent());
          const vm = story.createVm();
          story.open(device);
          story.setKvm(device, vm);
          story.closeVm(vm);
          story.wait(3);
        },
      },
    ],
  },
};

function isCaptured(device: Device, vm: Vm): boolean {
  return device.vm === vm && !device.vmOfGroup && device.isOpen;
}

/** Nobody will follow its pointer. */
function isHarmless(device: Device, { host, drivers }: RuleContext): boolean {
  const [major, minor] = host.kernel;
  return major === 6 && minor < 2 && !drivers.needKvm.has(driverOf(device));
}

function tell(device: Device, vm: Vm, context: RuleContext, by: string): void {
  const isWarning = isHarmless(device, context);
  context.report({
    device,
    vm,
    task: device.opens[0]?.task,
    lasting: true,
    severity: isWarning ? 'warning' : 'critical',
    says:
      `${deviceWords(device)} is held open by ${openers(device)} for ${vmWords(vm)}, which was ` +
      `destroyed${by}. ` +
      (isWarning
        ? `Its driver ${driverOf(device)} should have no use for the pointer that is left.`
        : 'The device is left with a pointer to memory that is free.'),
  });
}
