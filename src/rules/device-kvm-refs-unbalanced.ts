import { driverOf } from '../engine/refusal.ts';
import type { ObservedTransition, Rule, RuleContext } from '../engine/rule.ts';
import { deviceWords } from '../engine/words.ts';

export const deviceKvmRefsUnbalanced: Rule = {
  id: 'device-kvm-refs-unbalanced',
  title: "A driver's gets and puts of the VM do not balance",
  severity: 'error',
  description:
    'From the first open of a device to its last close, its driver did not put as many ' +
    'references on the VM as it took. One too many keeps the VM, and the memory of its guest, ' +
    'until the next reboot (that is kvm-ref-leak, once the VM is closed). One too few frees ' +
    'the VM while somebody uses it.',
  remediation:
    'Check the open and close callbacks of the driver that the message names, and the error ' +
    'paths of its open. Until it is fixed, each use of one of its devices costs a VM.',
  references:
    'The thread vfio-pci/zdev: add open/close device hooks (2022), where drivers were to take their ' +
    'reference at open and put it at close; kvm_get_kvm() and kvm_put_kvm() in virt/kvm/kvm_main.c',
  evidence:
    'The gets and puts of the VM in order, with its users_count, and the open and close around ' +
    'them.',
  blindSpot:
    'References that the driver takes or puts outside its open and close, in a worker for ' +
    'instance.',
  kernels: {
    where: { driversAreNotified: false },
    because: 'drivers put their references from a worker, after the close',
  },
  provocation: {
    by: 'driver',
    how: 'The driver takes a reference on the VM at its open and does not put it at its close.',
  },
  basis: 'state',
  needs: ['kvm.get', 'kvm.put'],
  on: {
    'vfio.device.close:end': checkWhenUnused,
    'vfio.device.open:end'(transition, context) {
      if (transition.event.ret < 0) checkWhenUnused(transition, context);
    },
  },
  examples: {
    fires: [
      {
        title: 'taken at open and not put at close',
        run(scenario) {
          const vm = scenario.createVm();
          const opening = scenario.openBegins(scenario.create(scenario.parent()), { vm });
          scenario.getKvm(vm);
          scenario.close(scenario.openEnds(opening));
        },
      },
      {
        title: 'taken and not put by an open that fails',
        also: ['open-failed'],
        run(scenario) {
          const vm = scenario.createVm();
          const opening = scenario.openBegins(scenario.create(scenario.parent()), { vm });
          scenario.getKvm(vm);
          scenario.openEnds(opening, { error: 5 });
        },
      },
      {
        title: 'put at close, and never taken',
        run(scenario) {
          const vm = scenario.createVm();
          const open = scenario.open(scenario.create(scenario.parent()), { vm });
          scenario.closeBegins(open);
          scenario.putKvm(vm);
          scenario.closeEnds(open);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'taken at open and put at close',
        run(scenario) {
          const vm = scenario.createVm();
          const opening = scenario.openBegins(scenario.create(scenario.parent()), { vm });
          scenario.getKvm(vm);
          const open = scenario.openEnds(opening);
          scenario.closeBegins(open);
          scenario.putKvm(vm);
          scenario.closeEnds(open);
        },
      },
      {
        title: 'what the VMM takes and puts meanwhile does not count',
        run(scenario) {
          const vm = scenario.createVm();
          const open = scenario.open(scenario.create(scenario.parent()), { vm });
          scenario.getKvm(vm);
          scenario.close(open);
          scenario.putKvm(vm);
        },
      },
      {
        title: 'another thread takes a reference while the device is being opened',
        run(scenario) {
          const vm = scenario.createVm();
          const as = { pid: 601, comm: 'helper', memory: vm.task.pid };
          const opening = scenario.openBegins(scenario.create(scenario.parent()), { vm, as });
          scenario.getKvm(vm);
          scenario.close(scenario.openEnds(opening));
          scenario.putKvm(vm);
        },
      },
      {
        title: 'opened twice: the driver takes at the first open and puts at the last close',
        also: ['nested-open'],
        run(scenario) {
          const vm = scenario.createVm();
          const device = scenario.create(scenario.parent());
          const opening = scenario.openBegins(device, { vm });
          scenario.getKvm(vm);
          const first = scenario.openEnds(opening);
          const second = scenario.open(device, { vm });
          scenario.close(first);
          scenario.closeBegins(second);
          scenario.putKvm(vm);
          scenario.closeEnds(second);
        },
      },
      {
        title: 'it was open before it was first observed, so what was taken then is not known',
        run(scenario) {
          const vm = scenario.createVm();
          const open = scenario.openUnobserved(scenario.create(scenario.parent()), vm);
          scenario.closeBegins(open);
          scenario.putKvm(vm);
          scenario.closeEnds(open);
        },
      },
    ],
  },
};

/** Nobody has the device open any more, and everything since its first open was observed. */
function checkWhenUnused({ device, vm }: ObservedTransition, { world, report }: RuleContext): void {
  if (!device?.firstOpen || device.driverRefs === 0 || device.opens.length > 0) return;
  if (device.openCount > 0 || world.qualityOf(device.firstOpen) !== 'observed') return;
  const refs = Math.abs(device.driverRefs);
  const references = `${refs} reference${refs === 1 ? '' : 's'}`;
  report({
    device,
    vm,
    task: device.firstOpen.task,
    since: device.firstOpen.firstSeen,
    message:
      `${driverOf(device)} ` +
      (device.driverRefs > 0
        ? `took ${references} on a VM that it did not put`
        : `put ${references} on a VM that it had not taken`) +
      ` between the first open of ${deviceWords(device)} and its last close.`,
  });
}
