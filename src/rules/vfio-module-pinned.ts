import type { Device } from '../lifecycle/objects.ts';
import { taskOf } from '../lifecycle/objects.ts';
import type { World } from '../lifecycle/world.ts';
import { EAGAIN, EBUSY, ENOENT } from './errno.ts';
import type { Rule } from './rule.ts';
import { unloadModule } from './story-vfio.ts';
import { deviceWords, openers, who } from './words.ts';

/** Drivers whose name tells nothing of their module. */
const MODULES: Readonly<Record<string, string>> = { intel_vgpu_mdev: 'kvmgt' };

/** More than that many are only counted. */
const MOST = 3;

export const vfioModulePinned: Rule = {
  id: 'vfio-module-pinned',
  title: 'A driver could not be unloaded because its devices are open',
  severity: 'info',
  meaning:
    'Somebody asked the kernel to unload the module of a driver, and was refused because a device of ' +
    'that driver is open: each open holds the module, so that the code which serves the device does ' +
    'not vanish. The module can go when the last of the devices has been closed. Note that rmmod and ' +
    'modprobe look at the count of references first, and then refuse without asking the kernel.',
  advice:
    'Stop the VMs that have the devices open, or unplug the devices from them, and try again. Do not ' +
    'force it (rmmod -f).',
  origin:
    'vfio_df_device_first_open() in drivers/vfio/vfio_main.c, which holds the module of the driver; ' +
    'delete_module() in kernel/module/main.c',
  evidence: 'Who wanted the module to go, and who has which of its devices open.',
  provocation: {
    by: 'user',
    how: '`delete_module` is called for the module of a driver while a process has one of its devices open.',
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
        .map((device) => `${deviceWords(device)} is held open by ${openers(device)}`);
      const more = open.length > MOST ? `; ${open.length - MOST} more devices are open, too` : '';
      report({
        device: open[0],
        vm: open[0].vm,
        task,
        says: `${who(task)} could not unload ${module}: ${names.join('; ')}${more}.`,
      });
    },
  },
  examples: {
    fires: [
      {
        title: 'a driver is to be unloaded while a VM has a device of it',
        tell(story) {
          story.open(story.create(story.parent()), { vm: story.createVm() });
          unloadModule(story, 'mtty', { error: EAGAIN });
        },
      },
      {
        title: 'a module whose name is written in another way than that of its driver',
        tell(story) {
          story.open(story.bindPci('0000:01:00.0'), { vm: story.createVm() });
          unloadModule(story, 'vfio_pci', { error: EAGAIN });
        },
      },
      {
        title: 'one driver of mdevs among several parents',
        tell(story) {
          const driver = 'vfio_ap_mdev';
          story.open(story.create(story.parent({ name: 'matrix', driver })));
          unloadModule(story, 'vfio_ap', { error: EAGAIN });
        },
        also: ['open-without-kvm'],
      },
    ],
    silent: [
      {
        title: 'closed first',
        tell(story) {
          story.close(story.open(story.create(story.parent()), { vm: story.createVm() }));
          unloadModule(story, 'mtty');
        },
      },
      {
        title: 'held by another module, and no device is open',
        tell(story) {
          story.create(story.parent());
          unloadModule(story, 'mtty', { error: EAGAIN });
        },
      },
      {
        title: 'a module that has nothing to do with the device that is open',
        tell(story) {
          story.open(story.create(story.parent()), { vm: story.createVm() });
          unloadModule(story, 'mdev', { error: EAGAIN });
        },
      },
      {
        title: 'no such module is loaded',
        tell(story) {
          story.open(story.create(story.parent()), { vm: story.createVm() });
          unloadModule(story, 'mtty', { error: ENOENT });
        },
      },
    ],
  },
};

/** To be called when somebody was refused: it looks at all devices. */
function openDevicesOf(module: string, { devices }: World): Device[] {
  const name = normal(module);
  return [...devices].filter(
    ({ isOpen, driver, parent }) =>
      isOpen && (moduleOf(driver) === name || moduleOf(parent?.driver ?? '') === name),
  );
}

/** Modules spell their names with _ only; a driver of mdevs is often called after its module. */
function moduleOf(driver: string): string {
  return MODULES[driver] ?? normal(driver).replace(/_mdev$/, '');
}

function normal(name: string): string {
  return name.replaceAll('-', '_');
}
