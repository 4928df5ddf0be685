import type { EventCursor } from '../events/cursor.ts';
import { EVENT } from '../events/wire.gen.ts';
import { type Device, taskOf } from '../lifecycle/objects.ts';
import type { World } from '../lifecycle/world.ts';
import type { Rule } from './rule.ts';
import {
  createIn,
  initialiseIn,
  lose,
  probeBeginsUnregistered,
  registers,
  removeKeepingVdev,
  unregisterEnds,
} from './story-vfio.ts';
import { deviceWords, who } from './words.ts';

const KEY_VDEV = EVENT.vdev >> 2;

export const vfioDoubleInit: Rule = {
  id: 'vfio-double-init',
  title: 'A vfio_device was initialised while it was in use',
  severity: 'critical',
  severityVaries:
    'An error where the driver makes another vfio_device in memory of its own: the first one is lost, ' +
    'but nothing is overwritten.',
  meaning:
    'A driver may keep its vfio_device in memory of its own and use it for one device after the other, ' +
    'but only when the last reference on it is gone. Here it was initialised before that: its reference ' +
    'counts, its lists and its locks were written over while somebody may have held them, which ' +
    'corrupts memory at once or when they are put. From 6.2 on the core brings the memory; there, a ' +
    'driver that does it has two vfio_devices for one device and will free only one of them.',
  advice:
    'Take the VMs off this host and reboot it. Report it to the makers of the driver with the evidence: ' +
    'after vfio_put_device() it has to wait for its release callback before it uses the memory again.',
  origin:
    'vfio/ccw: Use the new device life cycle helpers (Yi Liu, 2022), where a completion was added so ' +
    'that the next probe finds the memory unused; vfio_init_device() in drivers/vfio/vfio_main.c',
  evidence: 'The whole life of the vfio_device, and who initialised it again.',
  kernels: {
    from: [6, 1],
    because: 'there a vfio_device comes to be by being registered, see vfio-double-register',
  },
  provocation: {
    by: 'driver',
    how:
      'On 6.1 a driver calls vfio_init_device() once more in its probe; on later kernels, which do not ' +
      'let it choose the memory, it makes a second vfio_device for the same device.',
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
        says: overwritten
          ? `The vfio_device of ${deviceWords(lost)} was initialised again ${by}` +
            `${device && device !== lost ? ` for ${deviceWords(device)}` : ''} while it was ` +
            `${lost.vfio}: it has not been freed since it was made.`
          : `A second vfio_device was made for ${deviceWords(lost)} ${by}, although its first one is ` +
            `${lost.vfio} and has not been freed.`,
      });
    },
  },
  examples: {
    fires: [
      {
        title: '6.1: a driver initialises its vfio_device twice',
        tell(story) {
          const creation = probeBeginsUnregistered(story, story.createEnters(story.parent()));
          initialiseIn(story, creation.device, creation.device);
          registers(story, creation.device);
          story.createEnds(creation);
        },
      },
      {
        title: '6.1: a driver uses its memory for the next device before the last one is freed',
        tell(story) {
          const parent = story.parent();
          const first = story.create(parent);
          removeKeepingVdev(story, first);
          createIn(story, first, story.createEnters(parent));
        },
      },
      {
        title: 'a driver makes two for one device',
        tell(story) {
          const creation = probeBeginsUnregistered(story, story.createEnters(story.parent()));
          story.initialise(creation.device);
          registers(story, creation.device);
          story.createEnds(creation);
        },
      },
    ],
    silent: [
      {
        title: 'memory used again when the last reference on it is gone, as vfio_ccw of 6.1 does',
        tell(story) {
          const parent = story.parent();
          const first = story.create(parent);
          story.remove(first);
          createIn(story, first, story.createEnters(parent));
        },
      },
      {
        title: 'made anew after the first could not be registered and was freed',
        tell(story) {
          const creation = probeBeginsUnregistered(story, story.createEnters(story.parent()));
          registers(story, creation.device, { error: 12 });
          story.freeVdev(creation.device);
          story.initialise(creation.device);
          registers(story, creation.device);
          story.createEnds(creation);
        },
      },
      {
        title: 'a PCI device goes to another driver and comes back',
        tell(story) {
          for (let i = 0; i < 2; i++) {
            const device = story.bindPci('0000:01:00.0');
            story.unbindPciBegins(device);
            story.unbindPciEnds(device);
          }
        },
      },
      {
        title: 'a PCI device comes back while somebody still closes a file of its old vfio_device',
        tell(story) {
          const device = story.bindPci('0000:01:00.0');
          story.unbindPciBegins(device);
          unregisterEnds(story, device);
          story.initialise(device);
        },
      },
      {
        title: 'its release was among events that were lost',
        tell(story) {
          const parent = story.parent();
          const first = story.create(parent);
          removeKeepingVdev(story, first);
          lose(story);
          createIn(story, first, story.createEnters(parent));
        },
      },
    ],
  },
};

/** Whose vfio_device is where the new one is to be; only 6.1 tells it beforehand. */
function before(event: EventCursor, world: World): Device | undefined {
  const known = event.has(EVENT.vdev)
    ? world.vdevKeys.find(event.u32, event.word + KEY_VDEV)
    : undefined;
  return known?.hasVdev ? known : undefined;
}
