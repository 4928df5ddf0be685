import { creatorsOf } from '../engine/kvm-owners.ts';
import type { MemoryDeclaration } from '../engine/memory.ts';
import type { Finding, Rule } from '../engine/rule.ts';
import { capital, deviceWords, plural, seconds, vmWords } from '../engine/words.ts';
import type { Device, Vm } from '../lifecycle/objects.ts';
import type { World } from '../lifecycle/world.ts';
import { SECOND } from '../units.ts';

interface Check {
  /** When no process was first found to hold a file of the VM, after its descriptor was closed; ns. */
  unheldAt: number;
  /** When the leak was last reported, ns. */
  reportedAt: number;
}

const CHECKS: MemoryDeclaration<Vm, Check> = {
  initial: () => ({ unheldAt: 0, reportedAt: Number.NEGATIVE_INFINITY }),
};

/** How often a leak that is known is checked again, since that reads a file of /proc; ns. */
const RENEW = 10 * SECOND;

export const kvmRefLeak: Rule = {
  id: 'kvm-ref-leak',
  title: 'A closed VM is kept alive by a leaked reference',
  severity: 'error',
  description:
    'The VM is a zombie: every descriptor of it is closed and no device is open for it, yet its users_count is ' +
    'not zero: somebody took a reference and never put it. The memory of the guest stays ' +
    'allocated until the next reboot, and unloading the KVM module may corrupt the kernel.',
  remediation:
    'Do not unload kvm or the vendor module of the CPU. If a process passes files of VMs through sockets, or ' +
    'registers them with io_uring, end it first: no process shows such a file. Otherwise only a reboot frees ' +
    'the memory. If the message says that the kernel lost the reference of a device, see ' +
    '`kvm-dropped-while-open`. If it does not, check the driver that was open last first; the evidence shows it.',
  references:
    'The thread vfio-pci/zdev: add open/close device hooks (2022), on who may hold struct kvm; ' +
    'kvm_put_kvm() in virt/kvm/kvm_main.c',
  evidence:
    'The lifecycle of the VM: which devices were open for it, and how many references are left.',
  blindSpot:
    'A file of the VM that is on its way through a socket, or registered with io_uring: no process has it ' +
    'open. Which VM an open file of KVM belongs to. While a process that may hold a file of this VM ' +
    'is alive, the rule does not fire; in a replay it never fires.',
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
  onClock({ world, host, now, thresholds, memory, report, conclude }) {
    for (const [vm, { reportedAt }] of memory(CHECKS).entries()) {
      if (vm.outlivedKvm && reportedAt > 0) conclude(unloaded(vm));
    }
    const holders = new PossibleHolders(world);
    for (const vm of world.vms) {
      if (vm.state !== 'zombie' || vm.devices.length > 0) continue;
      const leaked = now - vm.fdClosedAt;
      if (leaked < thresholds.kvmRefLeak) continue;
      // Checked twice, because the files of a process that is just exiting cannot be read.
      const check = memory(CHECKS).of(vm);
      if (now - check.reportedAt < RENEW) continue;
      // When a descriptor was found again and closed after the first check, that check is void.
      const isSecond = check.unheldAt > vm.fdClosedAt;
      const notBefore = isSecond ? check.unheldAt + thresholds.grace : vm.fdClosedAt;
      if (now < notBefore) continue;
      // However long its creator takes to exit, its files are not to be seen meanwhile.
      const pids = host.pidsWithKvmFiles(notBefore);
      const isHeld =
        (pids !== undefined && holders.mayHave(vm, pids)) ||
        (vm.task !== undefined && host.isExiting?.(vm.task.pid) === true);
      if (isHeld) {
        check.unheldAt = 0;
        continue;
      }
      // The files are being read, or cannot be.
      if (!pids) continue;
      if (!isSecond) {
        check.unheldAt = now;
        continue;
      }
      check.reportedAt = now;
      const { lostReferenceOf: device } = vm;
      report({
        vm,
        task: vm.task,
        ongoing: true,
        message:
          `${capital(vmWords(vm))} was closed ${seconds(leaked)} ago, no process has a file of it open ` +
          `and no device holds it, but ${plural(vm.users, 'reference')} ${vm.users === 1 ? 'keeps' : 'keep'} it alive.` +
          (device ? lostWords(device) : ''),
        others: device ? [device] : [],
      });
    }
  },
  examples: {
    fires: [
      {
        title: 'a driver takes a reference at open and forgets it at close',
        run(scenario) {
          const vm = scenario.createVm();
          const open = scenario.open(scenario.create(scenario.parent()), { vm });
          scenario.getKvm(vm);
          scenario.close(open);
          scenario.closeVm(vm);
          scenario.exit(vm.task);
          scenario.wait(9);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the VM is destroyed with its last reference',
        run(scenario) {
          const vm = scenario.createVm();
          scenario.close(scenario.open(scenario.create(scenario.parent()), { vm }));
          scenario.closeVm(vm);
          scenario.wait(6);
        },
      },
      {
        title: 'a vcpu is still open in the process that created the VM',
        run(scenario) {
          const vm = scenario.createVm();
          scenario.getKvm(vm);
          scenario.closeVm(vm);
          scenario.wait(20);
        },
      },
      {
        title: 'a file of it was passed to another process',
        run(scenario) {
          const vm = scenario.createVm();
          scenario.getKvm(vm);
          scenario.takesKvmFile({ pid: 700, comm: 'vcpu-server' });
          scenario.closeVm(vm);
          scenario.exit(vm.task);
          scenario.wait(20);
        },
      },
      {
        title: 'the VM of another process mirrors it, as for the migration of encrypted guests',
        run(scenario) {
          const vm = scenario.createVm();
          const as = { pid: 700, comm: 'migration' };
          scenario.createVm({ as });
          scenario.getKvm(vm, { as });
          scenario.closeVm(vm);
          scenario.exit(vm.task);
          scenario.wait(20);
        },
      },
      {
        title: 'the process that held a vcpu open exits, and the VM ends with it',
        run(scenario) {
          const vm = scenario.createVm();
          scenario.getKvm(vm);
          scenario.closeVm(vm);
          scenario.wait(6);
          scenario.exit(vm.task);
          scenario.wait(1);
          scenario.putKvm(vm);
          scenario.wait(9);
        },
      },
      {
        title: 'a device is still open: that is vm-pinned-by-device',
        run(scenario) {
          const vm = scenario.createVm();
          scenario.open(scenario.create(scenario.parent()), { vm });
          scenario.closeVm(vm);
          scenario.exit(vm.task);
          scenario.wait(9);
        },
      },
    ],
  },
};

function lostWords(device: Device): string {
  return (
    ` One is that of ${deviceWords(device)}: the kernel lost it when the bind of a second file of the device was ` +
    'refused (kvm-dropped-while-open).'
  );
}

function unloaded(vm: Vm): Finding {
  return {
    vm,
    task: vm.task,
    ongoing: true,
    message:
      `KVM was unloaded although a leaked reference kept ${vmWords(vm)}: its memory stays allocated ` +
      'until the next reboot.',
  };
}

/**
 * Which processes may hold a file of a VM, as engine/kvm-owners.ts says. One that created another VM counts
 * all the same if one of its calls concerned this one: a VM that mirrors an encrypted one holds a
 * reference on that.
 */
class PossibleHolders {
  readonly #world: World;
  #creators: ReadonlySet<number> | undefined;
  /** Whether a process that created no VM is among these. */
  readonly #hasOutsider = new Map<ReadonlySet<number>, boolean>();

  constructor(world: World) {
    this.#world = world;
  }

  mayHave(vm: Vm, pids: ReadonlySet<number>): boolean {
    if (vm.task && pids.has(vm.task.pid)) return true;
    let hasOutsider = this.#hasOutsider.get(pids);
    if (hasOutsider === undefined) {
      this.#creators ??= creatorsOf(this.#world);
      hasOutsider = hasOther(pids, this.#creators);
      this.#hasOutsider.set(pids, hasOutsider);
    }
    return hasOutsider || vm.timeline.entries().some(({ pid }) => pids.has(pid));
  }
}

function hasOther(pids: ReadonlySet<number>, known: ReadonlySet<number>): boolean {
  for (const pid of pids) if (!known.has(pid)) return true;
  return false;
}
