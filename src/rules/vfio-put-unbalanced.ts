import type { Moment } from '../lifecycle/moment.ts';
import { type Device, taskOf } from '../lifecycle/objects.ts';
import type { Rule, RuleContext } from './rule.ts';
import {
  createIn,
  probeBeginsUnregistered,
  registers,
  removeReturns,
  unregisterEnds,
} from './story-vfio.ts';
import { deviceWords, who } from './words.ts';

/** What is done to a vfio_device when it is freed too early, by its state at that time. */
const EARLY: Readonly<Record<string, string>> = {
  registered: 'while it was registered, so it can still be found and opened',
  unregistering: 'while its withdrawal was waiting for those who have it open',
  released: 'for a second time',
};

export const vfioPutUnbalanced: Rule = {
  id: 'vfio-put-unbalanced',
  title: 'A vfio_device was freed too early, or used after that',
  severity: 'critical',
  meaning:
    'Somebody put a reference on the vfio_device that was not theirs, so it was freed while others ' +
    'still needed it: before it was withdrawn, twice, or before its last use. From here on the kernel ' +
    'works with memory that may belong to something else by now.',
  advice:
    'Take the VMs off this host and reboot it; do not wait for a crash to do that. Report it to the ' +
    'makers of the driver with the evidence: count its calls of vfio_put_device().',
  origin:
    'vfio/ccw: Use the new device life cycle helpers (Yi Liu, 2022), which made every driver put its ' +
    'vfio_device itself; vfio_device_release() in drivers/vfio/vfio_main.c',
  evidence: 'Who put the last reference, or used the vfio_device after that.',
  kernels: {
    from: [6, 1],
    because: 'a vfio_device is freed by withdrawing it, and drivers have no reference to put',
  },
  provocation: {
    by: 'driver',
    how:
      'From 6.6 on, where a device leaves the bus before its removal waits, a driver puts its ' +
      'vfio_device during that wait, and does not return from its release until nobody uses it.',
  },
  basis: 'history',
  needs: ['vfio.register', 'vfio.register_emulated'],
  needsStep: ['vfio.init', 'vfio.release'],
  on: {
    'vfio.release:begin'(moment, context) {
      const { device, illegal } = moment;
      if (!device || illegal?.automaton !== 'vfio') return;
      const early = EARLY[illegal.from];
      if (early) tell(device, moment, context, `was freed ${early}`);
    },
    'vfio.unregister:begin'(moment, context) {
      const { device, illegal } = moment;
      const isFreed = illegal?.automaton === 'vfio' && illegal.from === 'released';
      if (device && isFreed) tell(device, moment, context, 'was withdrawn after it had been freed');
    },
    'vfio.device.open:begin'(moment, context) {
      const { device } = moment;
      if (device && isFreed(device)) {
        tell(device, moment, context, 'was opened after it had been freed');
      }
    },
    'vfio.device.close:begin'(moment, context) {
      const { device } = moment;
      if (device && isFreed(device)) {
        tell(device, moment, context, 'is being closed after it has been freed');
      }
    },
  },
  examples: {
    fires: [
      {
        title: 'a driver puts its vfio_device before it withdraws it',
        tell(story) {
          story.freeVdev(story.create(story.parent()));
        },
      },
      {
        title: 'freed while the removal waits for a VMM, which closes it then',
        tell(story) {
          const device = story.create(story.parent());
          const open = story.open(device, { vm: story.createVm() });
          story.removeBegins(device);
          story.freeVdev(device);
          story.close(open);
        },
      },
      {
        title: 'put twice at the end',
        tell(story) {
          const device = story.create(story.parent());
          const removal = story.removeBegins(device);
          unregisterEnds(story, device);
          story.freeVdev(device);
          story.freeVdev(device);
          removeReturns(story, removal);
        },
      },
      {
        title: 'opened although it was freed before it could be registered',
        tell(story) {
          const creation = probeBeginsUnregistered(story, story.createEnters(story.parent()));
          story.freeVdev(creation.device);
          story.createEnds(creation);
          story.open(creation.device, { vm: story.createVm() });
        },
      },
    ],
    silent: [
      {
        title: 'freed after it was withdrawn',
        tell(story) {
          const device = story.create(story.parent());
          story.close(story.open(device, { vm: story.createVm() }));
          story.remove(device);
        },
      },
      {
        title: 'freed because it could not be registered',
        tell(story) {
          const creation = probeBeginsUnregistered(story, story.createEnters(story.parent()));
          registers(story, creation.device, { error: 12 });
          story.freeVdev(creation.device);
          story.freeMdev(creation.device);
        },
      },
      {
        title: 'a create that fails after the vfio_device was made',
        tell(story) {
          story.probeFails(story.createEnters(story.parent()), 5);
        },
      },
      {
        title: 'the same memory serves the next device, which is opened and freed in its turn',
        tell(story) {
          const parent = story.parent();
          const first = story.create(parent);
          story.remove(first);
          const second = createIn(story, first, story.createEnters(parent));
          story.close(story.open(second, { vm: story.createVm() }));
          story.remove(second);
        },
      },
    ],
  },
};

/** 5.10 frees and makes a vfio_device again without a word; there nothing tells that it was made. */
function isFreed({ vfio, initialisedAt }: Device): boolean {
  return vfio === 'released' && initialisedAt > 0;
}

function tell(device: Device, { event }: Moment, { report }: RuleContext, what: string): void {
  const task = taskOf(event);
  report({
    device,
    vm: device.vm,
    task,
    says:
      `The vfio_device of ${deviceWords(device)} ${what}, by ${who(task)}. Its driver is ` +
      `${device.driver || 'not known'}.`,
  });
}
