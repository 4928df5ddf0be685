import { EAGAIN, EBUSY, ENOENT } from '../engine/errno.ts';
import type { Rule } from '../engine/rule.ts';
import { deviceWords, openWords, who } from '../engine/words.ts';
import { taskOf } from '../events/task.ts';
import type { Device } from '../lifecycle/objects.ts';
import type { World } from '../lifecycle/world.ts';
import { unloadModule } from '../scenario/vfio.ts';

/** Drivers whose module has another name. */
const MODULES: Readonly<Record<string, string>> = { intel_vgpu_mdev: 'kvmgt' };

/** The message names so many devices and counts the others. */
const MOST = 3;

export const vfioModulePinned: Rule = {
  id: 'vfio-module-pinned',
  title: 'A driver could not be unloaded because its devices are open',
  severity: 'info',
  description:
    'A process tried to unload the module of a driver, and was refused because a device of ' +
    'that driver is open: each open holds the module, so that the code which serves the device ' +
    'does not vanish. The module can be unloaded when the last of the devices has been closed. ' +
    'Note that rmmod and modprobe check the count of references first, and then refuse without ' +
    'calling the kernel.',
  remediation:
    'Stop the VMs that have the devices open, or unplug the devices from them, and try again. ' +
    'Do not force it (rmmod -f).',
  references:
    'vfio_df_device_first_open() in drivers/vfio/vfio_main.c, which holds the module of the driver; ' +
    'delete_module() in kernel/module/main.c',
  evidence: 'Who tried to unload the module, and who has which of its devices open.',
  occurrences: 'the module',
  blindSpot:
    'A refusal by rmmod or modprobe themselves, which check the count of references and then ' +
    'do not call the kernel.',
  provocation: {
    by: 'user',
    how:
      '`delete_module` is called for the module of a driver while a process has one of its ' +
      'devices open.',
  },
  basis: 'state',
  needs: ['vfio.device.open', 'vfio.device.close'],
  on: {
    'module.unload:end'({ event, module }, { world, report }) {
      if (module === undefined || (event.ret !== -EAGAIN && event.ret !== -EBUSY)) return;
      const open = openDevicesOf(module, world);
      const task = taskOf(event);
      if (open.length === 0) return;
      const names = open
        .slice(0, MOST)
        .map((device) => `${deviceWords(device)} is ${openWords(device)}`);
      const more = open.length > MOST ? `; ${open.length - MOST} more devices are open, too` : '';
      report({
        device: open[0],
        vm: open[0].vm,
        task,
        sameAs: module,
        message: `${who(task)} could not unload ${module}: ${names.join('; ')}${more}.`,
      });
    },
  },
  examples: {
    fires: [
      {
        title: 'a driver is unloaded while a VM has a device of it',
        run(scenario) {
          scenario.open(scenario.create(scenario.parent()), { vm: scenario.createVm() });
          unloadModule(scenario, 'mtty', { error: EAGAIN });
        },
      },
      {
        title: 'a module whose name is spelled differently from that of its driver',
        run(scenario) {
          scenario.open(scenario.bindPci('0000:01:00.0'), { vm: scenario.createVm() });
          unloadModule(scenario, 'vfio_pci', { error: EAGAIN });
        },
      },
      {
        title: 'one driver of mdevs among several parents',
        run(scenario) {
          const driver = 'vfio_ap_mdev';
          scenario.open(scenario.create(scenario.parent({ name: 'matrix', driver })));
          unloadModule(scenario, 'vfio_ap', { error: EAGAIN });
        },
        also: ['open-without-kvm'],
      },
    ],
    doesNotFire: [
      {
        title: 'closed first',
        run(scenario) {
          scenario.close(
            scenario.open(scenario.create(scenario.parent()), { vm: scenario.createVm() }),
          );
          unloadModule(scenario, 'mtty');
        },
      },
      {
        title: 'held by another module, and no device is open',
        run(scenario) {
          scenario.create(scenario.parent());
          unloadModule(scenario, 'mtty', { error: EAGAIN });
        },
      },
      {
        title: 'a module that has nothing to do with the device that is open',
        run(scenario) {
          scenario.open(scenario.create(scenario.parent()), { vm: scenario.createVm() });
          unloadModule(scenario, 'mdev', { error: EAGAIN });
        },
      },
      {
        title: 'no such module is loaded',
        run(scenario) {
          scenario.open(scenario.create(scenario.parent()), { vm: scenario.createVm() });
          unloadModule(scenario, 'mtty', { error: ENOENT });
        },
      },
    ],
  },
};

/** Called only after a refusal, because it visits all devices. */
function openDevicesOf(module: string, { devices }: World): Device[] {
  const name = normal(module);
  return [...devices].filter(
    ({ isOpen, driver, parent }) =>
      isOpen && (moduleOf(driver) === name || moduleOf(parent?.driver ?? '') === name),
  );
}

/** Names of modules have only _; a driver of mdevs often has the name of its module. */
function moduleOf(driver: string): string {
  return MODULES[driver] ?? normal(driver).replace(/_mdev$/, '');
}

function normal(name: string): string {
  return name.replaceAll('-', '_');
}
