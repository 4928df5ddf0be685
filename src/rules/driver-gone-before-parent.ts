import type { ObservedTransition, Rule, RuleContext } from '../engine/rule.ts';
import { who } from '../engine/words.ts';
import { taskOf } from '../events/task.ts';
import type { Parent } from '../lifecycle/objects.ts';
import { driverUnregisters } from '../scenario/mdev.ts';

export const driverGoneBeforeParent: Rule = {
  id: 'driver-gone-before-parent',
  title: 'A driver was unregistered before its parents',
  severity: 'critical',
  description:
    'A driver of mdevs is being unregistered while a parent still refers to it. Its mdevs lose ' +
    'their driver, and the next creation on that parent binds to a driver that no longer ' +
    'exists, or calls into a module that is unloaded. The right order is the reverse of the ' +
    'set-up: the parents first, then the driver.',
  remediation:
    'Prevent the creation of devices on the parents that the message names, until they are ' +
    "unregistered or the host is rebooted. The order in the driver's module_exit is wrong: it " +
    'has to call mdev_unregister_parent() before mdev_unregister_driver(). Report it with the ' +
    'evidence.',
  references:
    'mdev_unregister_driver() and mdev_device_create() in drivers/vfio/mdev, which uses ' +
    'parent->mdev_driver without asking whether it is registered',
  evidence: 'Who unregistered the driver, and which parents and devices it had.',
  kernels: {
    where: { mdevsHaveDriver: true },
    because: 'mdevs are bound to vfio_mdev, and a parent serves them itself',
  },
  provocation: {
    by: 'driver',
    how: 'A driver does both in the wrong order when it is unloaded.',
  },
  basis: 'state',
  needs: ['mdev.parent.register', 'mdev.parent.unregister'],
  on: {
    'mdev.driver.unregister:begin': check,
    'mdev.parent.unregister:end'({ parent }, { resolve }) {
      if (parent) resolve(parent);
    },
  },
  examples: {
    fires: [
      {
        title: 'the driver is unregistered first in module_exit',
        run(scenario) {
          const parent = scenario.parent();
          driverUnregisters(scenario, 'mtty');
          scenario.parentUnregisterEnds(scenario.parentUnregisterBegins(parent));
        },
      },
      {
        title: 'another thread is still unregistering the parent',
        run(scenario) {
          const parent = scenario.parent();
          scenario.create(parent);
          scenario.parentUnregisterBegins(parent);
          driverUnregisters(scenario, 'mtty');
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the right order',
        run(scenario) {
          const parent = scenario.parent();
          scenario.parentUnregisterEnds(scenario.parentUnregisterBegins(parent));
          driverUnregisters(scenario, 'mtty');
        },
      },
      {
        title: 'another driver is unregistered',
        run(scenario) {
          scenario.create(scenario.parent());
          driverUnregisters(scenario, 'mdpy');
        },
      },
      {
        title: 'a driver whose name cannot be read, and parents whose driver is not known',
        run(scenario) {
          scenario.create(scenario.parent({ driver: '' }));
          driverUnregisters(scenario, '');
        },
      },
      {
        title: 'a driver that never had a parent',
        run(scenario) {
          driverUnregisters(scenario, 'mtty');
        },
      },
      {
        title: 'unloaded, and loaded again',
        run(scenario) {
          const parent = scenario.parent();
          scenario.parentUnregisterEnds(scenario.parentUnregisterBegins(parent));
          driverUnregisters(scenario, 'mtty');
          scenario.create(scenario.parent());
        },
      },
    ],
  },
};

function check({ event }: ObservedTransition, { world, report }: RuleContext): void {
  const driver = event.name('driver');
  // Without a name it is not known which driver it is.
  if (driver === '') return;
  for (const parent of world.parents) {
    if (!isRegistered(parent) || !isServedBy(parent, driver)) continue;
    const task = taskOf(event);
    const devices = parent.devices.size;
    report({
      parent,
      task,
      ongoing: true,
      message:
        `${who(task)} is unregistering the driver ${driver}, and ${parent.name}, which has ` +
        `${devices === 1 ? 'one device' : `${devices || 'no'} devices`}, is still registered with it. ` +
        'Whoever creates a device there calls into a driver that is gone.',
    });
  }
}

/** A parent that is known only from devices that are being removed may be gone by now. */
function isRegistered({ state, unregisterBegan }: Parent): boolean {
  return state === 'registered' || (state === 'unregistering' && unregisterBegan > 0);
}

/** Sysfs shows the driver of the parent's hardware, which is another one; its devices show theirs. */
function isServedBy(parent: Parent, driver: string): boolean {
  if (parent.driver === driver) return true;
  for (const device of parent.devices) if (device.driver === driver) return true;
  return false;
}
