import type { Moment } from '../lifecycle/moment.ts';
import { taskOf } from '../lifecycle/objects.ts';
import type { World } from '../lifecycle/world.ts';
import { EBUSY, EEXIST, EINVAL, errnoName } from './errno.ts';
import type { Rule, RuleContext } from './rule.ts';
import { bind, unbind } from './story-mdev.ts';
import { probeBeginsUnregistered, registers } from './story-vfio.ts';
import { deviceWords, who } from './words.ts';

export const vfioDoubleRegister: Rule = {
  id: 'vfio-double-register',
  title: 'A device was registered with VFIO twice',
  severity: 'error',
  meaning:
    'A driver registered a device that VFIO already knows. The kernel refuses that in most cases (with ' +
    'EBUSY up to 6.1, with EINVAL or EEXIST later) and writes a warning with a stack to its log. The ' +
    'device works as before, but its driver believes that it has failed, or counts one registration ' +
    'too many, and what it undoes then is the first one.',
  advice:
    'Look for the warning in the log of the kernel, which has the stack of the driver. Do not remove ' +
    'the device while it is in use. Report it to the makers of the driver with the evidence.',
  origin:
    'vfio/ccw: Use the new device life cycle helpers (Yi Liu, 2022), on what belongs to one life of a ' +
    'vfio_device; vfio_device_set_group() in drivers/vfio/group.c, before 6.2 __vfio_register_dev() in ' +
    'drivers/vfio/vfio_main.c',
  evidence: 'Who registered it, and what the kernel answered.',
  provocation: {
    by: 'driver',
    how: 'A driver calls the function that registers its vfio_device twice in its probe.',
  },
  basis: 'event',
  needs: ['vfio.unregister'],
  on: {
    'vfio.register:end': check,
    'vfio.register_emulated:end': check,
  },
  examples: {
    fires: [
      {
        title: 'the second is refused, for its group has the device',
        tell(story) {
          const device = story.create(story.parent());
          registers(story, device, { error: EEXIST });
        },
      },
      {
        title: 'a PCI device, on a kernel that answers with EINVAL',
        tell(story) {
          registers(story, story.bindPci('0000:01:00.0'), { error: EINVAL });
        },
      },
      {
        title: 'the kernel says so itself',
        tell(story) {
          const creation = probeBeginsUnregistered(story, story.createEnters(story.parent()));
          registers(story, creation.device, { error: EBUSY });
          story.freeVdev(creation.device);
        },
      },
      {
        title: 'nobody refuses it',
        tell(story) {
          registers(story, story.create(story.parent()));
        },
      },
    ],
    silent: [
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
        title: 'an mdev gets its driver back, as 5.10 allows',
        tell(story) {
          const device = story.create(story.parent());
          unbind(story, device);
          bind(story, device);
        },
      },
      {
        title: 'tried again after the first attempt failed',
        tell(story) {
          const creation = probeBeginsUnregistered(story, story.createEnters(story.parent()));
          registers(story, creation.device, { error: 12 });
          registers(story, creation.device);
          story.createEnds(creation);
        },
      },
      {
        title: 'the UUID of a device that was removed is used again',
        tell(story) {
          const parent = story.parent();
          const device = story.create(parent);
          story.remove(device);
          story.create(parent, { uuid: device.uuid });
        },
      },
    ],
  },
};

function check(moment: Moment, { world, report }: RuleContext): void {
  const { event, device } = moment;
  if (!device || (event.ret !== -EBUSY && !isRegistered(moment, world))) return;
  const task = taskOf(event);
  const answer = event.ret < 0 ? `was refused with ${errnoName(-event.ret)}` : 'was not refused';
  report({
    device,
    task,
    says:
      `${who(task)} registered ${deviceWords(device)}, which VFIO already knows, and ${answer}. Its ` +
      `driver is ${device.driver || 'not known'}.`,
  });
}

/** Whether it was before, as far as it was seen whole: to be refused leaves it as it is. */
function isRegistered({ event, device, illegal }: Moment, world: World): boolean {
  if (!device || world.qualityOf(device) !== 'observed') return false;
  return event.ret < 0
    ? device.vfio === 'registered' || device.vfio === 'unregistering'
    : illegal?.automaton === 'vfio';
}
