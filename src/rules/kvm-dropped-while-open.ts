import { cdevWords } from '../engine/cdev-bind.ts';
import { EINVAL } from '../engine/errno.ts';
import type { Rule, RuleContext } from '../engine/rule.ts';
import { deviceWords, openers, vmWords, who } from '../engine/words.ts';
import type { EventCursor } from '../events/cursor.ts';
import { taskOf } from '../events/task.ts';
import type { Device, Vm } from '../lifecycle/objects.ts';
import {
  bindCdev,
  bindCdevFails,
  closeCdev,
  openCdev,
  openCdevForVm,
  setCdevKvm,
} from '../scenario/cdev.ts';

const OTHER = { pid: 601, comm: 'launcher' };

export const kvmDroppedWhileOpen: Rule = {
  id: 'kvm-dropped-while-open',
  title: 'A device lost its VM while it was open',
  severity: 'error',
  description:
    'A device that is open for a VM holds a reference on it until its last close. The kernel dropped the VM ' +
    'before that, which is a fault of VFIO and not of the driver: when it refuses to bind a second file of a cdev, ' +
    'it drops the VM that the first bind has captured. If no VM is set for the second file, the device has no VM ' +
    'from then on and nothing keeps the VM for it; a driver that uses it, as i915 GVT does at the close, follows ' +
    'a null pointer. If one is set, the reference on the first VM is lost: that VM is never freed.',
  remediation:
    'Keep other processes from binding the cdev: let one process open and bind it. Shut the guest down in its own ' +
    'time; move other guests away before a device of i915 GVT is closed, because that may crash the host. Then ' +
    'reboot the host if a reference is lost. A fix was proposed in 2024; ask the vendor of the kernel for it.',
  references:
    'vfio_df_ioctl_bind_iommufd() in drivers/vfio/device_cdev.c, whose error path calls vfio_device_put_kvm(); ' +
    'vfio: Get/put KVM only for the first/last vfio_df_open/close in cdev path (June 2024)',
  evidence:
    'The bind that was refused and the drop within it, who made it, and who has the device bound.',
  kernels: {
    where: { devicesHaveCdevs: true, opensAreCounted: true },
    because:
      'a device can be opened by its group alone, or the kernel does not show how often it is open',
  },
  provocation: {
    by: 'user',
    how: 'A cdev is bound with a VM set for it, and then by a second file, without a VM and with one.',
  },
  basis: 'state',
  needs: ['vfio.cdev.bind', 'vfio.device.open', 'vfio.device.kvm_capture'],
  on: {
    'vfio.device.kvm_drop:begin'({ event, device, vm }, { world, report }) {
      if (!device || !vm || event.openCount <= 0) return;
      const own = device.opens.find(({ state }) => state === 'open')?.vm;
      const lost = own?.lostReferenceOf === device ? own : undefined;
      // The device had no VM: that of the second file was captured and dropped.
      if (vm === device.vmOffered && !lost) return;
      report({
        device,
        vm: lost ?? vm,
        task: taskOf(event),
        message:
          `The kernel dropped ${vmWords(vm)} from ${deviceWords(device)} while that was open: ` +
          `${cause(event, device, world)}. ${consequence(vm, lost)}`,
      });
    },
  },
  examples: {
    fires: [
      {
        title: 'a second file without a VM is refused',
        also: ['bind-refused'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const cdev = openCdevForVm(scenario, device);
          bindCdev(scenario, cdev);
          bindCdevFails(scenario, openCdev(scenario, device, { as: OTHER }), EINVAL, {
            at: 'device',
          });
          closeCdev(scenario, cdev);
        },
      },
      {
        title: 'a second file with another VM is refused',
        also: ['bind-refused'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const cdev = openCdevForVm(scenario, device);
          bindCdev(scenario, cdev);
          const second = openCdev(scenario, device, { as: OTHER });
          setCdevKvm(scenario, second, scenario.createVm({ as: OTHER }));
          bindCdevFails(scenario, second, EINVAL, { at: 'device' });
        },
      },
      {
        title: 'a second file with the same VM is refused',
        also: ['bind-refused'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const vm = scenario.createVm();
          const [cdev, second] = [openCdev(scenario, device), openCdev(scenario, device)];
          setCdevKvm(scenario, cdev, vm);
          setCdevKvm(scenario, second, vm);
          bindCdev(scenario, cdev);
          bindCdevFails(scenario, second, EINVAL, { at: 'device' });
        },
      },
    ],
    doesNotFire: [
      {
        title: 'dropped after the last close',
        run(scenario) {
          const cdev = openCdevForVm(scenario, scenario.create(scenario.parent()));
          bindCdev(scenario, cdev);
          closeCdev(scenario, cdev);
        },
      },
      {
        title: 'the bind of the only file fails',
        also: ['bind-refused'],
        run(scenario) {
          const cdev = openCdevForVm(scenario, scenario.create(scenario.parent()));
          bindCdevFails(scenario, cdev, EINVAL, { at: 'device' });
        },
      },
      {
        title: 'the same file is bound again',
        also: ['bind-refused'],
        run(scenario) {
          const cdev = openCdevForVm(scenario, scenario.create(scenario.parent()));
          bindCdev(scenario, cdev);
          bindCdevFails(scenario, cdev, EINVAL, { at: 'descriptor' });
        },
      },
      {
        title: 'the device is bound without a VM, and the second file has one',
        also: ['bind-refused', 'open-without-kvm'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          bindCdev(scenario, openCdev(scenario, device));
          const second = openCdev(scenario, device, { as: OTHER });
          setCdevKvm(scenario, second, scenario.createVm({ as: OTHER }));
          bindCdevFails(scenario, second, EINVAL, { at: 'device' });
        },
      },
      {
        title: 'a second open by the group fails',
        also: ['open-failed'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const vm = scenario.createVm();
          scenario.open(device, { vm });
          scenario.openEnds(scenario.openBegins(device, { vm }), { error: EINVAL });
        },
      },
    ],
  },
};

/** What the thread was doing that dropped the VM. */
function cause(event: EventCursor, device: Device, { calls }: RuleContext['world']): string {
  const request = calls.requestOf(event.tid);
  const task = who(taskOf(event));
  if (!request) return `${task} was not observed in a bind, and ${openers(device)} has it bound`;
  const refusal = request.openError > 0 ? 'was refused the bind of' : 'was binding';
  const [cdev] = device.cdevs;
  return `${task} ${refusal} a second file of ${cdev ? cdevWords(cdev) : 'its cdev'}, which ${openers(device)} had bound`;
}

function consequence(vm: Vm, lost: Vm | undefined): string {
  const without = 'The device has no VM until it is closed';
  if (!lost) return `${without}, and nothing keeps the VM for it.`;
  const which =
    lost === vm ? 'the reference that it had before' : `its reference on ${vmWords(lost)}`;
  return `${without}, and ${which} is lost: that VM is not freed before the next reboot.`;
}
