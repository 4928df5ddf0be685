import type { Device } from '../lifecycle/objects.ts';
import type { Rule, RuleContext } from './rule.ts';
import { deviceWords, who } from './words.ts';

export const removeOrderViolated: Rule = {
  id: 'remove-order-violated',
  title: 'A device was taken apart in the wrong order',
  severity: 'critical',
  meaning:
    'To take an mdev apart mirrors setting it up: its driver withdraws it from VFIO, which waits for ' +
    'those who have it open, then lets go of it, and only then is it freed. Here a later step came ' +
    'before an earlier one, so the kernel still has ways to an object that its driver believes to be ' +
    'gone, or to memory that is free.',
  advice:
    'Compare the order in the evidence with the right one: unbind begins, VFIO unregister begins and ' +
    "ends, the vfio_device is freed, unbind ends, the mdev is freed. The driver's remove callback is " +
    'where to look. Until it is mended, do not remove its devices on hosts that matter.',
  origin:
    'vfio/mdev: Improve the create/remove sequence (Parav Pandit, 2019), where the mirrored order was ' +
    'agreed on; mdev_device_remove_common() in drivers/vfio/mdev/mdev_core.c',
  evidence: 'The whole teardown of the device, in order.',
  provocation: {
    by: 'driver',
    how: 'A driver leaves it to devres to unregister its vfio_device, which is after the bus let go of it.',
  },
  basis: 'history',
  needs: ['mdev.unbind', 'vfio.register', 'vfio.register_emulated', 'vfio.unregister'],
  on: {
    'mdev.unbind:end'({ device }, context) {
      // With users left that is removed-while-open.
      if (!device || device.openCount > 0 || !isWithdrawable(device)) return;
      tell(device, context, 'its driver let go of it without withdrawing it from VFIO');
    },
    'mdev.release:begin'({ device, illegal }, context) {
      if (!device || device.state === 'creating' || device.createError) return;
      if (illegal?.automaton === 'device') {
        tell(device, context, `it was freed while it was ${illegal.from}`);
      } else if (device.unbindBegan > device.unboundAt) {
        tell(device, context, 'it was freed before its driver had let go of it');
      } else if (isWithdrawable(device)) {
        tell(device, context, 'it was freed although VFIO still has it');
      }
    },
  },
  examples: {
    fires: [
      {
        title: 'a driver forgets to withdraw the device',
        tell(story) {
          const device = story.create(story.parent());
          story.unbindWithoutUnregister(story.removeBegins(device, { idle: true }));
        },
      },
      {
        title: 'the device is freed although nobody removes it',
        tell(story) {
          story.freeMdev(story.create(story.parent()));
        },
      },
    ],
    silent: [
      {
        title: 'the right order, by the user and with the parent',
        tell(story) {
          const parent = story.parent();
          const [first, second] = [story.create(parent), story.create(parent)];
          story.remove(first);
          const unregistering = story.parentUnregisterBegins(parent);
          story.childRemoved(unregistering, second);
          story.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'a create that fails frees the device without an unbind',
        tell(story) {
          const creation = story.createEnters(story.parent());
          story.probeFails(creation, 12);
        },
      },
      {
        title: 'the removal of an open device waits until it is closed',
        tell(story) {
          const device = story.create(story.parent());
          const open = story.open(device, { vm: story.createVm() });
          const removal = story.removeBegins(device);
          story.wait(3);
          story.close(open);
          story.removeEnds(removal);
        },
      },
    ],
  },
};

/** VFIO knows the device, and nobody has withdrawn it. */
function isWithdrawable({ vfio }: Device): boolean {
  return vfio === 'registered' || vfio === 'unregistering';
}

function tell(device: Device, { report }: RuleContext, what: string): void {
  const by = device.remover ? ` Its remover is ${who(device.remover)}.` : '';
  report({
    device,
    task: device.remover,
    says: `${deviceWords(device)} was taken apart in the wrong order: ${what}.${by}`,
  });
}
