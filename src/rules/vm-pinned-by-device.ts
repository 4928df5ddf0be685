import { type Rule, SECOND } from './rule.ts';
import { capital, deviceWords, openers, seconds, vmWords } from './words.ts';

const LONG = 60 * SECOND;

export const vmPinnedByDevice: Rule = {
  id: 'vm-pinned-by-device',
  title: 'A closed VM is kept alive by an open device',
  severity: 'info',
  severityVaries: 'A warning once it has lasted for a minute.',
  meaning:
    'All file descriptors of the VM are closed, but a VFIO device that was opened for it is still open ' +
    'and holds a reference. The memory of the VM, and everything else it owns, stays allocated. Since ' +
    '6.2 that is by design, and a normal exit takes milliseconds; lasting, it means that a process ' +
    'forgot the device or passed its descriptor on.',
  advice: 'Find the process that has the device open (it is named here) and let it close it.',
  origin:
    'vfio_device_get_kvm_safe() in drivers/vfio/vfio_main.c, born in the thread vfio-pci/zdev: add ' +
    'open/close device hooks (2022)',
  evidence: 'The lives of the VM and of the device, and who has the device open.',
  provocation: {
    by: 'user',
    how: 'A VMM closes all files of its VM and keeps the device open.',
  },
  basis: 'state',
  needs: ['kvm.vm.fd_close', 'vfio.device.close'],
  // Where the core takes no reference, no device keeps a VM alive.
  needsStep: ['vfio.device.kvm_capture'],
  on: {
    'kvm.vm.destroy:begin'({ vm }, { resolve }) {
      for (const device of vm?.devices ?? []) resolve(device);
    },
    'vfio.device.kvm_drop:begin'({ device }, { resolve }) {
      if (device) resolve(device);
    },
  },
  onClock({ world, now, thresholds, report }) {
    for (const vm of world.vms) {
      if (vm.state !== 'released') continue;
      const pinned = now - vm.fdClosedAt;
      if (pinned < thresholds.vmPinned) continue;
      for (const device of vm.devices) {
        report({
          device,
          vm,
          task: device.opens[0]?.task,
          lasting: true,
          severity: pinned >= LONG ? 'warning' : 'info',
          says:
            `${capital(vmWords(vm))} was closed ${seconds(pinned)} ago and lives on, because ` +
            `${deviceWords(device)} is still held open by ${openers(device)}.`,
        });
      }
    }
  },
  examples: {
    fires: [
      {
        title: 'the VM is closed, the device stays open',
        tell(story) {
          const vm = story.createVm();
          story.open(story.create(story.parent()), { vm });
          story.closeVm(vm);
          story.wait(11);
        },
      },
    ],
    silent: [
      {
        title: 'both are closed within moments, VM first',
        tell(story) {
          const vm = story.createVm();
          const open = story.open(story.create(story.parent()), { vm });
          story.closeVm(vm);
          story.close(open);
          story.wait(11);
        },
      },
      {
        title: 'a VMM with much memory takes its time to exit',
        tell(story) {
          const device = story.create(story.parent());
          const vm = story.createVm();
          const open = story.open(device, { vm });
          story.clearKvm(device, { exiting: true });
          story.closeVm(vm);
          story.wait(1);
          story.close(open, { exiting: true });
          story.exit(vm.task);
          story.wait(11);
        },
      },
      {
        title: 'closed with a device open that was opened without it',
        also: ['open-without-kvm'],
        tell(story) {
          const vm = story.createVm();
          story.open(story.create(story.parent()));
          story.closeVm(vm);
          story.wait(61);
        },
      },
      {
        title: 'a running VM with an open device',
        tell(story) {
          story.open(story.create(story.parent()), { vm: story.createVm() });
          story.wait(60);
        },
      },
    ],
  },
};
