import type { Rule } from '../engine/rule.ts';
import { deviceWords, who } from '../engine/words.ts';
import type { EventCursor } from '../events/cursor.ts';
import { taskOf } from '../events/task.ts';
import { EVENT } from '../events/wire.gen.ts';
import type { Device } from '../lifecycle/objects.ts';
import type { World } from '../lifecycle/world.ts';
import {
  createIn,
  initialiseIn,
  lose,
  probeBeginsUnregistered,
  registers,
  removeKeepingVdev,
  unregisterEnds,
} from '../scenario/vfio.ts';

const KEY_VDEV = EVENT.vdev >> 2;

export const vfioDoubleInit: Rule = {
  id: 'vfio-double-init',
  title: 'A vfio_device was initialised while it was in use',
  severity: 'critical',
  severityVaries:
    'An error where the driver allocates another vfio_device in its own memory: the first one ' +
    'leaks, but nothing is overwritten.',
  description:
    'A driver may keep its vfio_device in its own memory and use it for one device after the ' +
    'other, but only when the last reference on it has been put. Here it was initialised ' +
    'before that: its reference counts, its lists and its locks were overwritten while ' +
    'somebody may have held them, which corrupts memory at once or when they are put. From 6.2 ' +
    'on the core allocates the memory; a driver that does it there has two vfio_devices for ' +
    'one device and will free only one of them.',
  remediation:
    "Move the VMs off this host and reboot it. Report it to the driver's vendor with the " +
    'evidence: after vfio_put_device() the driver has to wait for its release callback before ' +
    'it uses the memory again.',
  references:
    'vfio/ccw: Use the new device life cycle helpers (Yi Liu, 2022), where a completion was added so ' +
    'that the next probe finds the memory unused; vfio_init_device() in drivers/vfio/vfio_main.c',
  evidence: 'The whole lifecycle of the vfio_device, and who initialised it again.',
  kernels: {
    where: { vfioDeviceIsCounted: true },
    because: 'registration creates the vfio_device, see vfio-double-register',
  },
  provocation: {
    by: 'driver',
    how:
      'On 6.1 a driver calls vfio_init_device() again in its probe; on later kernels, which do ' +
      'not let it choose the memory, it allocates a second vfio_device for the same device.',
  },
  basis: 'history',
  needs: ['vfio.release'],
  needsStep: ['vfio.init'],
  on: {
    'vfio.init:begin'({ event, device }, { world, report }) {
      const overwritten = before(event, world);
      const lost = overwritten ?? device;
      if (!lost?.hasVdev || (!overwritten && lost.vfio === 'unregistered')) return;
      const task = taskOf(event);
      const by = `by ${who(task)}`;
      report({
        device: lost,
        task,
        severity: overwritten ? 'critical' : 'error',
        message: overwritten
          ? `The vfio_device of ${deviceWords(lost)} was initialised again ${by}` +
            `${device && device !== lost ? ` for ${deviceWords(device)}` : ''} while it was ` +
            `${lost.vfio}: it has not been freed since it was initialised.`
          : `A second vfio_device was initialised for ${deviceWords(lost)} ${by}, although its first one is ` +
            `${lost.vfio} and has not been freed.`,
      });
    },
  },
  examples: {
    fires: [
      {
        title: '6.1: a driver initialises its vfio_device twice',
        run(scenario) {
          const creation = probeBeginsUnregistered(
            scenario,
            scenario.createEnters(scenario.parent()),
          );
          initialiseIn(scenario, creation.device, creation.device);
          registers(scenario, creation.device);
          scenario.createEnds(creation);
        },
      },
      {
        title: '6.1: a driver uses its memory for the next device before the last one is freed',
        run(scenario) {
          const parent = scenario.parent();
          const first = scenario.create(parent);
          removeKeepingVdev(scenario, first);
          createIn(scenario, first, scenario.createEnters(parent));
        },
      },
      {
        title: 'a driver allocates two for one device',
        run(scenario) {
          const creation = probeBeginsUnregistered(
            scenario,
            scenario.createEnters(scenario.parent()),
          );
          scenario.initialise(creation.device);
          registers(scenario, creation.device);
          scenario.createEnds(creation);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'memory used again when the last reference on it is gone, as vfio_ccw of 6.1 does',
        run(scenario) {
          const parent = scenario.parent();
          const first = scenario.create(parent);
          scenario.remove(first);
          createIn(scenario, first, scenario.createEnters(parent));
        },
      },
      {
        title: 'allocated again after the first could not be registered and was freed',
        run(scenario) {
          const creation = probeBeginsUnregistered(
            scenario,
            scenario.createEnters(scenario.parent()),
          );
          registers(scenario, creation.device, { error: 12 });
          scenario.freeVdev(creation.device);
          scenario.initialise(creation.device);
          registers(scenario, creation.device);
          scenario.createEnds(creation);
        },
      },
      {
        title: 'a PCI device is bound to another driver and comes back',
        run(scenario) {
          for (let i = 0; i < 2; i++) {
            const device = scenario.bindPci('0000:01:00.0');
            scenario.unbindPciBegins(device);
            scenario.unbindPciEnds(device);
          }
        },
      },
      {
        title: 'a PCI device comes back while a process still closes a file of its old vfio_device',
        run(scenario) {
          const device = scenario.bindPci('0000:01:00.0');
          scenario.unbindPciBegins(device);
          unregisterEnds(scenario, device);
          scenario.initialise(device);
        },
      },
      {
        title: 'its release was among events that were lost',
        run(scenario) {
          const parent = scenario.parent();
          const first = scenario.create(parent);
          removeKeepingVdev(scenario, first);
          lose(scenario);
          createIn(scenario, first, scenario.createEnters(parent));
        },
      },
    ],
  },
};

/** The device whose vfio_device is at the address of the new one; only 6.1 shows it beforehand. */
function before(event: EventCursor, world: World): Device | undefined {
  const known = event.has(EVENT.vdev)
    ? world.vdevKeys.find(event.words, event.word + KEY_VDEV)
    : undefined;
  return known?.hasVdev ? known : undefined;
}
