import type { Moment } from '../lifecycle/moment.ts';
import { driverOf } from './refusal.ts';
import type { Rule, RuleContext } from './rule.ts';
import { deviceWords } from './words.ts';

export const deviceKvmRefsUnbalanced: Rule = {
  id: 'device-kvm-refs-unbalanced',
  title: 'A driver did not put the references that it took',
  severity: 'error',
  meaning:
    'From the first open of a device to its last close, its driver took another number of references ' +
    'on the VM than it put. One too many keeps the VM, and the memory of its guest, until the next ' +
    'reboot (that is kvm-ref-leak, once the VM is closed). One too few frees the VM under somebody ' +
    'who uses it.',
  advice:
    'Look at the open and close callbacks of the driver that is named here, and at the error paths of ' +
    'its open. Until it is mended, each use of a device of it costs a VM.',
  origin:
    'The thread vfio-pci/zdev: add open/close device hooks (2022), where drivers were to take their ' +
    'reference at open and put it at close; kvm_get_kvm() and kvm_put_kvm() in virt/kvm/kvm_main.c',
  evidence:
    'The gets and puts of the VM in order, with its users_count, and the open and close around them.',
  kernels: {
    from: [6, 1],
    because: 'drivers put their references from a worker there, after the close',
  },
  provocation: {
    by: 'driver',
    how: 'The driver takes a reference on the VM at its open and does not put it at its close.',
  },
  basis: 'state',
  needs: ['kvm.get', 'kvm.put'],
  on: {
    'vfio.device.close:end': checkWhenUnused,
    'vfio.device.open:end'(moment, context) {
      if (moment.event.ret < 0) checkWhenUnused(moment, context);
    },
  },
  examples: {
    fires: [
      {
        title: 'taken at open and not put at close',
        tell(story) {
          const vm = story.createVm();
          const opening = story.openBegins(story.create(story.parent()), { vm });
          story.getKvm(vm);
          story.close(story.openEnds(opening));
        },
      },
      {
        title: 'taken and not put by an open that fails',
        also: ['open-failed'],
        tell(story) {
          const vm = story.createVm();
          const opening = story.openBegins(story.create(story.parent()), { vm });
          story.getKvm(vm);
          story.openEnds(opening, { error: 5 });
        },
      },
      {
        title: 'put at close, and never taken',
        tell(story) {
          const vm = story.createVm();
          const open = story.open(story.create(story.parent()), { vm });
          story.closeBegins(open);
          story.putKvm(vm);
          story.closeEnds(open);
        },
      },
    ],
    silent: [
      {
        title: 'taken at open and put at close',
        tell(story) {
          const vm = story.createVm();
          const opening = story.openBegins(story.create(story.parent()), { vm });
          story.getKvm(vm);
          const open = story.openEnds(opening);
          story.closeBegins(open);
          story.putKvm(vm);
          story.closeEnds(open);
        },
      },
      {
        title: 'what the VMM takes and puts meanwhile does not count',
        tell(story) {
          const vm = story.createVm();
          const open = story.open(story.create(story.parent()), { vm });
          story.getKvm(vm);
          story.close(open);
          story.putKvm(vm);
        },
      },
      {
        title: 'another thread takes a reference while the device is being opened',
        tell(story) {
          const vm = story.createVm();
          const as = { pid: 601, comm: 'helper', memory: vm.task.pid };
          const opening = story.openBegins(story.create(story.parent()), { vm, as });
          story.getKvm(vm);
          story.close(story.openEnds(opening));
          story.putKvm(vm);
        },
      },
      {
        title: 'opened twice: the driver takes at the first open and puts at the last close',
        also: ['nested-open'],
        tell(story) {
          const vm = story.createVm();
          const device = story.create(story.parent());
          const opening = story.openBegins(device, { vm });
          story.getKvm(vm);
          const first = story.openEnds(opening);
          const second = story.open(device, { vm });
          story.close(first);
          story.closeBegins(second);
          story.putKvm(vm);
          story.closeEnds(second);
        },
      },
      {
        title: 'it was open before it was first seen, so what was taken then is not known',
        tell(story) {
          const vm = story.createVm();
          const open = story.openUnseen(story.create(story.parent()), vm);
          story.closeBegins(open);
          story.putKvm(vm);
          story.closeEnds(open);
        },
      },
    ],
  },
};

/** Nobody has the device open any more, and everything since its first open was seen. */
function checkWhenUnused({ device, vm }: Moment, { world, report }: RuleContext): void {
  if (!device?.firstOpen || device.driverRefs === 0 || device.opens.length > 0) return;
  if (device.openCount > 0 || world.qualityOf(device.firstOpen) !== 'observed') return;
  const refs = Math.abs(device.driverRefs);
  const references = `${refs} reference${refs === 1 ? '' : 's'}`;
  report({
    device,
    vm,
    task: device.firstOpen.task,
    says:
      `${driverOf(device)} ` +
      (device.driverRefs > 0
        ? `took ${references} on a VM that it did not put`
        : `put ${references} on a VM that it had not taken`) +
      ` between the first open of ${deviceWords(device)} and its last close.`,
  });
}
