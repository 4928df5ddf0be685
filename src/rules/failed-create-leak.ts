import { errnoName } from '../engine/errno.ts';
import type { ObservedTransition, Rule, RuleContext } from '../engine/rule.ts';
import { deviceWords, inParens, seconds, who } from '../engine/words.ts';
import type { Device } from '../lifecycle/objects.ts';
import { probeFailsLeaking } from '../scenario/mdev.ts';

export const failedCreateLeak: Rule = {
  id: 'failed-create-leak',
  title: 'A failed creation leaked the device or its vfio_device',
  severity: 'error',
  description:
    'A creation failed after its driver had begun to set the device up. Everything allocated ' +
    'for it should have been freed before the creator got the error; here the mdev or its ' +
    'vfio_device was not. With the mdev, its UUID stays taken although the device does not ' +
    'exist, and its instance of the parent may be lost. With the vfio_device, memory leaks at ' +
    'each attempt, and a tool that retries leaks it fast.',
  remediation:
    "Stop the tool that retries. Then check the error path of the driver's probe callback: " +
    'each vfio_alloc_device() needs its vfio_put_device(), each get_device() its put_device(). ' +
    'Report it with the evidence. Only a reboot frees what has leaked.',
  references:
    'The thread vfio: Add struct device to vfio_device, and vfio/mdev: Check globally for duplicate ' +
    'devices (May 2018), on what an error path has to undo; mdev_device_create() in ' +
    'drivers/vfio/mdev/mdev_core.c',
  evidence: 'Who requested the device, what the kernel returned, and how far its driver had come.',
  kernels: {
    where: { mdevsHaveDriver: true },
    because: 'what the driver does for a creation comes before all that can be observed of it',
  },
  provocation: {
    by: 'driver',
    how: 'The probe of a driver fails after it took a reference that it does not put.',
  },
  basis: 'history',
  needs: ['mdev.probe', 'mdev.release', 'vfio.init', 'vfio.release'],
  on: {
    'mdev.create:end': checkVfio,
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
      const { createError, createFailedAt, parent } = device;
      if (createError === 0 || parent?.state === 'gone') continue;
      if (now - createFailedAt < thresholds.grace) continue;
      report({
        device,
        task: device.creator,
        ongoing: true,
        message:
          `${failure(device)} ${seconds(now - createFailedAt)} ago, and the mdev is still not freed: ` +
          `something holds a reference on it. Its UUID stays taken. ${advice(device)}`,
      });
    }
  },
  examples: {
    fires: [
      {
        title: 'a driver took a reference on the mdev, failed, and did not put it',
        also: ['create-failed'],
        run(scenario) {
          probeFailsLeaking(scenario, scenario.createEnters(scenario.parent()), 'mdev');
          scenario.wait(3);
        },
      },
      {
        title: 'a driver allocated a vfio_device, failed, and did not put it',
        also: ['create-failed'],
        run(scenario) {
          probeFailsLeaking(scenario, scenario.createEnters(scenario.parent()), 'vfio_device');
        },
      },
    ],
    doesNotFire: [
      {
        title: 'a driver fails and cleans up',
        also: ['create-failed'],
        run(scenario) {
          scenario.probeFails(scenario.createEnters(scenario.parent()), 5);
          scenario.wait(3);
        },
      },
      {
        title: 'refused before the driver was called: there is nothing to free',
        also: ['create-failed'],
        run(scenario) {
          scenario.createFails(scenario.parent(), 12);
          scenario.wait(3);
        },
      },
      {
        title: 'freed before the driver was called',
        also: ['create-failed'],
        run(scenario) {
          const creation = scenario.createEnters(scenario.parent());
          scenario.freeMdev(creation.device);
          scenario.event('mdev.create:end', creation.task, { ret: -12 });
          scenario.wait(3);
        },
      },
      {
        title: 'freed shortly after: another process held a reference for a moment',
        also: ['create-failed'],
        run(scenario) {
          const creation = scenario.createEnters(scenario.parent());
          probeFailsLeaking(scenario, creation, 'mdev');
          scenario.wait(1);
          scenario.freeMdev(creation.device);
          scenario.wait(3);
        },
      },
      {
        title: 'the next attempt under the same UUID works',
        also: ['create-failed'],
        run(scenario) {
          const parent = scenario.parent();
          const creation = scenario.createEnters(parent);
          scenario.probeFails(creation, 5);
          scenario.create(parent, { uuid: creation.device.uuid });
          scenario.wait(3);
        },
      },
      {
        title: 'its parent is gone as well: that is child-outlives-parent',
        also: ['child-outlives-parent', 'create-failed'],
        run(scenario) {
          const parent = scenario.parent();
          probeFailsLeaking(scenario, scenario.createEnters(parent), 'mdev');
          scenario.parentUnregisterEnds(scenario.parentUnregisterBegins(parent));
          scenario.wait(3);
        },
      },
    ],
  },
};

/** Only its driver refers to a vfio_device that is not registered, so nothing else frees it later. */
function checkVfio({ event, device }: ObservedTransition, { report }: RuleContext): void {
  if (event.ret >= 0 || !device || device.releasedAt === 0) return;
  if (device.vfio === 'none' || device.vfio === 'released') return;
  report({
    device,
    task: device.creator,
    message: `${failure(device)}, and the vfio_device that was allocated for it was not freed. ${advice(device)}`,
  });
}

function failure(device: Device): string {
  const { creator, createError } = device;
  return `The creation of ${deviceWords(device)} by ${who(creator)} failed with ${errnoName(createError)}`;
}

function advice({ driver }: Device): string {
  return `Check the error path of its driver${inParens(driver)} first.`;
}
