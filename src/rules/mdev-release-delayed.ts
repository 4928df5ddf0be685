import type { Rule } from '../engine/rule.ts';
import { deviceWords, inParens, seconds, who } from '../engine/words.ts';
import { childRemovedUnfreed, mdevFromBefore, removeUnfreed } from '../scenario/mdev.ts';

export const mdevReleaseDelayed: Rule = {
  id: 'mdev-release-delayed',
  title: 'A removed device is not freed',
  severity: 'error',
  description:
    'The removal of an mdev has ended, and it should have been freed by then. It is not: ' +
    'something holds a reference on it and does not put it. Its UUID stays taken, so it cannot ' +
    'be created again, and on most drivers its instance of the parent is lost. When its parent ' +
    'is unregistered, the memory that the device still refers to is freed: see ' +
    'child-outlives-parent.',
  remediation:
    'Do not unload the driver; only a reboot frees the device if the reference is lost. Check ' +
    'the driver first: it, or something that it calls, has called get_device() and not ' +
    'put_device(). An open file in sysfs does not do this. Report it with the evidence.',
  references:
    'vfio/mdev: Improve the create/remove sequence (2019), whose last step is to put the last reference ' +
    'on the device; mdev_device_remove_common() in drivers/vfio/mdev/mdev_core.c',
  evidence: 'The whole lifecycle of the device, who removed it and when, and its driver.',
  blindSpot: 'Who holds the reference, because get_device() and put_device() are not traced.',
  provocation: {
    by: 'driver',
    how: 'A driver takes a reference on each mdev in its probe, and puts it only on request.',
  },
  basis: 'state',
  needs: ['mdev.probe', 'mdev.remove', 'mdev.remove_child'],
  on: {
    'mdev.release:begin'({ device }, { resolve }) {
      if (device) resolve(device);
    },
    'mdev.parent.unregister:end'({ parent }, { resolve }) {
      // From here on child-outlives-parent reports it.
      for (const device of parent?.devices ?? []) resolve(device);
    },
  },
  onClock({ world, now, thresholds, report }) {
    for (const device of world.devices) {
      const { removedAt, remover, parent } = device;
      if (removedAt === 0 || parent?.state === 'gone') continue;
      if (now - removedAt < thresholds.grace) continue;
      report({
        device,
        task: remover,
        ongoing: true,
        message:
          `${who(remover)} removed ${deviceWords(device)} ${seconds(now - removedAt)} ago, and it is ` +
          `still not freed: something holds a reference on it. Check its driver` +
          `${inParens(device.driver)} first.`,
      });
    }
  },
  examples: {
    fires: [
      {
        title: 'a driver has taken a reference and does not put it',
        run(scenario) {
          removeUnfreed(scenario, scenario.create(scenario.parent()));
          scenario.wait(3);
        },
      },
      {
        title: 'the unregistration of its parent has passed it, and waits for another device',
        run(scenario) {
          const parent = scenario.parent();
          const [first, second] = [scenario.create(parent), scenario.create(parent)];
          const unregistering = scenario.parentUnregisterBegins(parent);
          childRemovedUnfreed(scenario, unregistering, first);
          scenario.wait(3);
          scenario.childRemoved(unregistering, second);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'freed before its removal ends, as it should be',
        run(scenario) {
          scenario.remove(scenario.create(scenario.parent()));
          scenario.wait(3);
        },
      },
      {
        title: 'freed shortly after: another process held a reference for a moment',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          removeUnfreed(scenario, device);
          scenario.wait(1);
          scenario.freeMdev(device);
          scenario.wait(3);
        },
      },
      {
        title: 'its removal waits for an opener, so it has not ended',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.open(device, { vm: scenario.createVm() });
          scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          scenario.wait(5);
        },
      },
      {
        title: 'one from before the agent is removed and freed',
        run(scenario) {
          scenario.remove(mdevFromBefore(scenario.parent()));
          scenario.wait(3);
        },
      },
      {
        title: 'its parent is gone as well: that is child-outlives-parent',
        also: ['child-outlives-parent'],
        run(scenario) {
          const parent = scenario.parent();
          removeUnfreed(scenario, scenario.create(parent));
          scenario.parentUnregisterEnds(scenario.parentUnregisterBegins(parent));
          scenario.wait(3);
        },
      },
      {
        title: 'created again under its UUID',
        run(scenario) {
          const parent = scenario.parent();
          const device = scenario.create(parent);
          scenario.remove(device);
          scenario.create(parent, { uuid: device.uuid });
          scenario.wait(3);
        },
      },
    ],
  },
};
