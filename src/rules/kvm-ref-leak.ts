import type { Vm } from '../lifecycle/objects.ts';
import type { World } from '../lifecycle/world.ts';
import type { Rule } from './rule.ts';
import { seconds, vmWords } from './words.ts';

export const kvmRefLeak: Rule = {
  id: 'kvm-ref-leak',
  title: 'A VM lives on though nothing holds it',
  severity: 'error',
  meaning:
    'Every descriptor of the VM is closed and no device is open for it, yet its users_count is not ' +
    'zero: somebody took a reference and never put it. The memory of the guest stays allocated until ' +
    'the next reboot, and unloading the KVM module may corrupt the kernel.',
  advice:
    'Look at the evidence for the driver that was open last: it is the first suspect. Do not unload ' +
    'kvm or the vendor module of the CPU. Only a reboot frees the memory.',
  origin:
    'The thread vfio-pci/zdev: add open/close device hooks (2022), on who may hold struct kvm; ' +
    'kvm_put_kvm() in virt/kvm/kvm_main.c',
  evidence: 'The life of the VM: which devices were open for it, and how many references are left.',
  provocation: {
    by: 'driver',
    how: 'The driver takes a reference on the VM at its open and does not put it at its close.',
  },
  basis: 'history',
  needs: [
    'kvm.vm.init',
    'kvm.vm.fd_close',
    'kvm.put',
    'vfio.device.kvm_capture',
    'vfio.device.kvm_drop',
  ],
  on: {
    'kvm.vm.destroy:begin'({ vm }, { resolve }) {
      if (vm) resolve(vm);
    },
  },
  onClock({ world, host, now, thresholds, report }) {
    for (const vm of world.vms) {
      if (vm.state !== 'released' || vm.devices.size > 0) continue;
      const leaked = now - vm.fdClosedAt;
      if (leaked < thresholds.kvmRefLeak) continue;
      // Looked at twice: the files of a process that is just exiting are not to be seen.
      const notBefore = vm.unheldAt ? vm.unheldAt + thresholds.grace : vm.fdClosedAt;
      if (now < notBefore) continue;
      if (mayHaveFiles(vm, world, host.pidsWithKvmFiles(notBefore))) {
        vm.unheldAt = 0;
        continue;
      }
      if (vm.unheldAt === 0) {
        vm.unheldAt = now;
        continue;
      }
      report({
        vm,
        task: vm.task,
        lasting: true,
        says:
          `${vmWords(vm).replace(/^t/, 'T')} was closed ${seconds(leaked)} ago, no file and no device ` +
          `holds it, but ${vm.users} reference${vm.users === 1 ? '' : 's'} keep it alive.`,
      });
    }
  },
  examples: {
    fires: [
      {
        title: 'a driver takes a reference at open and forgets it at close',
        tell(story) {
          const vm = story.createVm();
          const open = story.open(story.create(story.parent()), { vm });
          story.getKvm(vm);
          story.close(open);
          story.closeVm(vm);
          story.exit(vm.task);
          story.wait(9);
        },
      },
    ],
    silent: [
      {
        title: 'the VM is destroyed with its last reference',
        tell(story) {
          const vm = story.createVm();
          story.close(story.open(story.create(story.parent()), { vm }));
          story.closeVm(vm);
          story.wait(6);
        },
      },
      {
        title: 'a vcpu is still open in the process that made the VM',
        tell(story) {
          const vm = story.createVm();
          story.getKvm(vm);
          story.closeVm(vm);
          story.wait(20);
        },
      },
      {
        title: 'a file of it was handed to another process',
        tell(story) {
          const vm = story.createVm();
          story.getKvm(vm);
          story.takesKvmFile({ pid: 700, comm: 'vcpu-server' });
          story.closeVm(vm);
          story.exit(vm.task);
          story.wait(20);
        },
      },
      {
        title: 'the VM of another process mirrors it, as for the migration of encrypted guests',
        tell(story) {
          const vm = story.createVm();
          const as = { pid: 700, comm: 'migration' };
          story.createVm({ as });
          story.getKvm(vm, { as });
          story.closeVm(vm);
          story.exit(vm.task);
          story.wait(20);
        },
      },
      {
        title: 'the process that held a vcpu open exits, and the VM ends with it',
        tell(story) {
          const vm = story.createVm();
          story.getKvm(vm);
          story.closeVm(vm);
          story.wait(6);
          story.exit(vm.task);
          story.wait(1);
          story.putKvm(vm);
          story.wait(9);
        },
      },
      {
        title: 'a device is still open: that is vm-pinned-by-device',
        tell(story) {
          const vm = story.createVm();
          story.open(story.create(story.parent()), { vm });
          story.closeVm(vm);
          story.exit(vm.task);
          story.wait(9);
        },
      },
    ],
  },
};

/**
 * Whether some process may hold a vcpu, kvm-vfio, statistics or debugfs file of
 * the VM: files tell only that they are KVM's, not whose, so every process that
 * has any counts as a possible holder, unless it is known as the maker of another VM
 * and had nothing to do with this one. A VM that mirrors an encrypted one holds that.
 */
function mayHaveFiles(vm: Vm, world: World, pids: ReadonlySet<number> | undefined): boolean {
  if (!pids) return true;
  if (vm.task && pids.has(vm.task.pid)) return true;
  const makersOfOthers = new Set<number>();
  for (const other of world.vms) {
    if (other !== vm && other.task) makersOfOthers.add(other.task.pid);
  }
  for (const { pid } of vm.timeline.entries()) makersOfOthers.delete(pid);
  for (const pid of pids) {
    if (!makersOfOthers.has(pid)) return true;
  }
  return false;
}
