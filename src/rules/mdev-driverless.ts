import type { ObservedTransition, Rule, RuleContext } from '../engine/rule.ts';
import { deviceWords, who } from '../engine/words.ts';
import type { Traits } from '../events/traits.ts';
import type { Device } from '../lifecycle/objects.ts';
import {
  bind,
  createEndsDespiteRefusal,
  createReturns,
  probeEnds,
  unbind,
} from '../scenario/mdev.ts';

export const mdevDriverless: Rule = {
  id: 'mdev-driverless',
  title: 'A device has no driver',
  severity: 'warning',
  description:
    'An mdev is on its bus without a driver, so it cannot be opened. Mostly somebody has ' +
    'unbound it in sysfs, as is done with PCI devices. For mdevs that is one-way since Linux ' +
    '6.1: the bus matches no driver to an existing device, so `bind` fails with ENODEV, and ' +
    'the device occupies its instance of the parent until it is removed. On 5.10 it may also ' +
    'have been created without a driver: a creation succeeds there when vfio_mdev is not ' +
    'loaded, or refuses.',
  remediation:
    'Remove the device and create it again. On 5.10 it can be bound again, through ' +
    '/sys/bus/mdev/drivers/vfio_mdev/bind, once vfio_mdev is loaded. Keep tools that rebind ' +
    'devices away from mdevs.',
  references: 'mdev_match() and mdev_remove() in drivers/vfio/mdev/mdev_driver.c',
  evidence: 'When its driver was unbound, by which task, and who created it.',
  provocation: {
    by: 'user',
    how: 'The UUID of a device is written to the unbind file of its driver.',
  },
  basis: 'state',
  needs: ['mdev.probe', 'mdev.unbind', 'mdev.remove', 'mdev.remove_child', 'mdev.release'],
  on: {
    'mdev.probe:end'({ event, device }, { resolve }) {
      if (device && event.ret === 0) resolve(device);
    },
    'mdev.create:end': checkCreation,
  },
  onClock({ world, host, now, thresholds, report }) {
    for (const device of world.devices) {
      if (device.state !== 'unbound' || device.removedAt > 0) continue;
      if (now - driverlessSince(device) < thresholds.grace) continue;
      // It is removed with its parent.
      if (device.parent?.state === 'unregistering') continue;
      report({
        device,
        task: device.creator,
        ongoing: true,
        message:
          `${deviceWords(device)} has no driver: ${howItCame(device)}. It cannot be opened` +
          `${ofBinding(host.traits)}.`,
      });
    }
  },
  examples: {
    fires: [
      {
        title: 'unbound in sysfs',
        run(scenario) {
          unbind(scenario, scenario.create(scenario.parent()));
          scenario.wait(3);
        },
      },
      {
        title: '5.10: created although its driver refused it',
        run(scenario) {
          createEndsDespiteRefusal(scenario, scenario.createEnters(scenario.parent()));
          scenario.wait(3);
        },
      },
      {
        title: '5.10: created while vfio_mdev was not loaded',
        run(scenario) {
          createReturns(scenario, scenario.createEnters(scenario.parent()));
        },
      },
    ],
    doesNotFire: [
      {
        title: 'removed: it is unbound and then gone',
        run(scenario) {
          scenario.remove(scenario.create(scenario.parent()));
          scenario.wait(3);
        },
      },
      {
        title: 'removed with its parent',
        run(scenario) {
          const parent = scenario.parent();
          const device = scenario.create(parent);
          const unregistering = scenario.parentUnregisterBegins(parent);
          scenario.childRemoved(unregistering, device);
          scenario.parentUnregisterEnds(unregistering);
          scenario.wait(3);
        },
      },
      {
        title: 'unbound, and removed right away',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          unbind(scenario, device);
          const removal = scenario.removeBegins(device, { idle: true });
          scenario.freeMdev(device);
          scenario.removeEnds(removal);
          scenario.wait(3);
        },
      },
      {
        title: '5.10: unbound, and bound again',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          unbind(scenario, device);
          scenario.wait(1);
          bind(scenario, device);
          scenario.wait(3);
        },
      },
      {
        title: 'its driver is slow to set it up',
        run(scenario) {
          const creation = scenario.createBegins(scenario.parent());
          scenario.wait(9);
          scenario.createEnds(creation);
        },
      },
      {
        title: 'removed before its creator is back in user space',
        run(scenario) {
          const creation = scenario.createBegins(scenario.parent());
          probeEnds(scenario, creation);
          scenario.remove(creation.device, { as: { pid: 700, comm: 'bash' } });
          createReturns(scenario, creation);
          scenario.wait(3);
        },
      },
      {
        title: 'its driver refuses it, and its creation fails',
        also: ['create-failed'],
        run(scenario) {
          scenario.probeFails(scenario.createEnters(scenario.parent()), 5);
          scenario.wait(3);
        },
      },
    ],
  },
};

/** A device that was never set up has no later event of its own, so it is reported at once. */
function checkCreation(
  { event, device }: ObservedTransition,
  { world, report }: RuleContext,
): void {
  if (event.ret !== 0 || !device || device.probeBegan > 0) return;
  // The event that it was set up may be among the lost ones.
  if (world.qualityOf(device) !== 'observed') return;
  report({
    device,
    task: device.creator,
    message:
      `${who(device.creator)} created ${deviceWords(device)}, and no driver was bound to it. It ` +
      'cannot be opened until one takes it.',
  });
}

/** Since when it has no driver; for a device that was found so, since it was found. */
function driverlessSince({ unboundAt, createdAt, firstSeen }: Device): number {
  return Math.max(unboundAt, createdAt, firstSeen);
}

function howItCame({ unboundAt, probeError }: Device): string {
  if (unboundAt > 0) return 'it was unbound and nobody removed it';
  return probeError > 0 ? 'its driver refused it when it was created' : 'it was found so';
}

function ofBinding({ mdevsStayUnbound }: Traits): string {
  if (mdevsStayUnbound === undefined) return '';
  return mdevsStayUnbound ? ', nor be bound again; it can only be removed' : ' until it is bound';
}
