import type { Moment } from '../lifecycle/moment.ts';
import { type Parent, taskOf } from '../lifecycle/objects.ts';
import type { Rule, RuleContext } from './rule.ts';
import { driverUnregisters } from './story-mdev.ts';
import { who } from './words.ts';

export const driverGoneBeforeParent: Rule = {
  id: 'driver-gone-before-parent',
  title: 'A driver was unregistered before its parents',
  severity: 'critical',
  meaning:
    'A driver of mdevs is being unregistered while a parent still refers to it. Its mdevs lose their ' +
    'driver, and the next creation on that parent binds to a driver that is no longer there, or calls ' +
    'into a module that is unloaded. The right order is the mirror of setting up: the parents first, ' +
    'then the driver.',
  advice:
    'Keep everybody from creating devices on the parents that are named here, until they are ' +
    "unregistered or the host is rebooted. The order in the driver's module_exit is wrong: it has to " +
    'call mdev_unregister_parent() before mdev_unregister_driver(). Report it with the evidence.',
  origin:
    'mdev_unregister_driver() and mdev_device_create() in drivers/vfio/mdev, which uses ' +
    'parent->mdev_driver without asking whether it is registered',
  evidence: 'Who unregistered the driver, and which parents and devices it had.',
  kernels: {
    from: [6, 1],
    because: 'before, mdevs are bound to vfio_mdev, and a parent serves them itself',
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
        title: 'the wrong order in module_exit',
        tell(story) {
          const parent = story.parent();
          driverUnregisters(story, 'mtty');
          story.parentUnregisterEnds(story.parentUnregisterBegins(parent));
        },
      },
      {
        title: 'another thread is still withdrawing the parent',
        tell(story) {
          const parent = story.parent();
          story.create(parent);
          story.parentUnregisterBegins(parent);
          driverUnregisters(story, 'mtty');
        },
      },
    ],
    silent: [
      {
        title: 'the right order',
        tell(story) {
          const parent = story.parent();
          story.parentUnregisterEnds(story.parentUnregisterBegins(parent));
          driverUnregisters(story, 'mtty');
        },
      },
      {
        title: 'another driver goes',
        tell(story) {
          story.create(story.parent());
          driverUnregisters(story, 'mdpy');
        },
      },
      {
        title: 'a driver of which the name cannot be read, and parents whose driver is not known',
        tell(story) {
          story.create(story.parent({ driver: '' }));
          driverUnregisters(story, '');
        },
      },
      {
        title: 'a driver that never had a parent',
        tell(story) {
          driverUnregisters(story, 'mtty');
        },
      },
      {
        title: 'unloaded, and loaded again',
        tell(story) {
          const parent = story.parent();
          story.parentUnregisterEnds(story.parentUnregisterBegins(parent));
          driverUnregisters(story, 'mtty');
          story.create(story.parent());
        },
      },
    ],
  },
};

function check({ event }: Moment, { world, report }: RuleContext): void {
  const driver = event.name('driver');
  // Nothing tells which it is.
  if (driver === '') return;
  for (const parent of world.parents) {
    if (!isRegistered(parent) || !isServedBy(parent, driver)) continue;
    const task = taskOf(event);
    const devices = parent.devices.size;
    report({
      parent,
      task,
      lasting: true,
      says:
        `${who(task)} is unregistering the driver ${driver}, and ${parent.name}, which has ` +
        `${devices === 1 ? 'one device' : `${devices || 'no'} devices`}, is still registered with it. ` +
        'Whoever creates a device there calls into a driver that is gone.',
    });
  }
}

/** One of which only devices on their way out told may be gone by now. */
function isRegistered({ state, unregisterBegan }: Parent): boolean {
  return state === 'registered' || (state === 'unregistering' && unregisterBegan > 0);
}

/** A parent that was found in sysfs shows another driver, that of its hardware; its devices show theirs. */
function isServedBy(parent: Parent, driver: string): boolean {
  if (parent.driver === driver) return true;
  for (const device of parent.devices) if (device.driver === driver) return true;
  return false;
}
