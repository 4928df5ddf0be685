import { cdevWords, WITH_CDEVS } from '../engine/cdev-bind.ts';
import type { Rule } from '../engine/rule.ts';
import { deviceWords, vmWords, who } from '../engine/words.ts';
import { taskOf } from '../events/task.ts';
import { bindCdev, closeCdev, openCdev, openCdevForVm, setCdevKvm } from '../scenario/cdev.ts';

export const kvmSetAfterBind: Rule = {
  id: 'kvm-set-after-bind',
  title: 'The VM of a device cdev was set after it was bound',
  severity: 'warning',
  description:
    'VFIO reads the VM of a device once, when its cdev is bound to an iommufd. The VM was set only after ' +
    'that, so the device works without one, or with the one that it had, until the file is closed. Nothing fails: ' +
    'whatever the driver does for a VM (tracking its memory, letting its interrupts bypass the host) ' +
    'is silently missing.',
  remediation:
    'Unplug the device and plug it in again: that repairs a running VM if its file is then added before the ' +
    'bind. In the VMM, or where the descriptor is ' +
    'passed to it already bound, add the file to the kvm-vfio device (KVM_DEV_VFIO_FILE_ADD) ' +
    'before VFIO_DEVICE_BIND_IOMMUFD.',
  references:
    'vfio_device_file_set_kvm() and vfio_df_get_kvm_safe() in drivers/vfio; ' +
    'the order in Documentation/driver-api/vfio.rst, section on device cdevs',
  evidence: 'Who set the VM of the cdev, who had bound it, and for which VM, if any.',
  provocation: {
    by: 'user',
    how: 'A cdev is bound first, and added to kvm-vfio then.',
  },
  kernels: WITH_CDEVS,
  basis: 'state',
  needs: ['vfio.device.kvm_capture', 'vfio.cdev.bind'],
  on: {
    'vfio.cdev.set_kvm:begin'({ event, device, cdev, vm }, { report }) {
      if (!device || !cdev?.isBound || !vm || device.vm === vm) return;
      const task = taskOf(event);
      const has = device.vm && !device.vm.isGone ? vmWords(device.vm) : 'no VM';
      report({
        device,
        vm,
        task,
        message:
          `${who(task)} set ${vmWords(vm)} for ${deviceWords(device)} by ${cdevWords(cdev)}, but ` +
          `${cdev.binder ? `${who(cdev.binder)} had already bound that` : 'that was already bound'} to an iommufd. ` +
          `The device works for ${has} until the file is closed.`,
      });
    },
  },
  examples: {
    fires: [
      {
        title: 'the cdev is bound first',
        also: ['open-without-kvm'],
        run(scenario) {
          const cdev = openCdev(scenario, scenario.create(scenario.parent()));
          bindCdev(scenario, cdev);
          setCdevKvm(scenario, cdev, scenario.createVm());
        },
      },
      {
        title: 'a launcher passes it to the VMM already bound',
        also: ['open-without-kvm'],
        run(scenario) {
          const launcher = { pid: 601, comm: 'launcher' };
          const cdev = openCdev(scenario, scenario.bindPci('0000:01:00.0'), { as: launcher });
          bindCdev(scenario, cdev, { as: launcher });
          setCdevKvm(scenario, cdev, scenario.createVm());
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the right order',
        run(scenario) {
          const cdev = openCdevForVm(scenario, scenario.create(scenario.parent()));
          bindCdev(scenario, cdev);
        },
      },
      {
        title: 'the VM that it has is set again',
        run(scenario) {
          const cdev = openCdev(scenario, scenario.create(scenario.parent()));
          const vm = scenario.createVm();
          setCdevKvm(scenario, cdev, vm);
          bindCdev(scenario, cdev);
          setCdevKvm(scenario, cdev, vm);
        },
      },
      {
        title: 'it is cleared when the VMM exits',
        run(scenario) {
          const cdev = openCdevForVm(scenario, scenario.create(scenario.parent()));
          bindCdev(scenario, cdev);
          closeCdev(scenario, cdev);
        },
      },
    ],
  },
};
