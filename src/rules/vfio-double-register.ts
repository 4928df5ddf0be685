import { EBUSY, EEXIST, EINVAL, errnoName } from '../engine/errno.ts';
import type { ObservedTransition, Rule, RuleContext } from '../engine/rule.ts';
import { deviceWords, driverSentence, who } from '../engine/words.ts';
import { taskOf } from '../events/task.ts';
import type { World } from '../lifecycle/world.ts';
import { bind, unbind } from '../scenario/mdev.ts';
import { probeBeginsUnregistered, registers } from '../scenario/vfio.ts';

export const vfioDoubleRegister: Rule = {
  id: 'vfio-double-register',
  title: 'A device was registered with VFIO twice',
  severity: 'error',
  description:
    'A driver registered a device that VFIO already knows. The kernel refuses that in most ' +
    'cases (with EBUSY up to 6.1, with EINVAL or EEXIST later) and writes a warning with a ' +
    'stack to its log. The device works as before, but its driver believes that it has failed, ' +
    'or counts one registration too many, and what it undoes then is the first one.',
  remediation:
    'Do not remove the device while it is in use. Find the warning in the kernel log, which ' +
    "has the stack of the driver, and report it to the driver's vendor with the evidence.",
  references:
    'vfio/ccw: Use the new device life cycle helpers (Yi Liu, 2022), on what belongs to one lifecycle of a ' +
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
        run(scenario) {
          const device = scenario.create(scenario.parent());
          registers(scenario, device, { error: EEXIST });
        },
      },
      {
        title: 'a PCI device, on a kernel that answers with EINVAL',
        run(scenario) {
          registers(scenario, scenario.bindPci('0000:01:00.0'), { error: EINVAL });
        },
      },
      {
        title: 'the kernel itself reports it',
        run(scenario) {
          const creation = probeBeginsUnregistered(
            scenario,
            scenario.createEnters(scenario.parent()),
          );
          registers(scenario, creation.device, { error: EBUSY });
          scenario.freeVdev(creation.device);
        },
      },
      {
        title: 'nothing refuses it',
        run(scenario) {
          registers(scenario, scenario.create(scenario.parent()));
        },
      },
    ],
    doesNotFire: [
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
        title: 'an mdev is bound to its driver again, as 5.10 allows',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          unbind(scenario, device);
          bind(scenario, device);
        },
      },
      {
        title: 'tried again after the first attempt failed',
        run(scenario) {
          const creation = probeBeginsUnregistered(
            scenario,
            scenario.createEnters(scenario.parent()),
          );
          registers(scenario, creation.device, { error: 12 });
          registers(scenario, creation.device);
          scenario.createEnds(creation);
        },
      },
      {
        title: 'the UUID of a device that was removed is used again',
        run(scenario) {
          const parent = scenario.parent();
          const device = scenario.create(parent);
          scenario.remove(device);
          scenario.create(parent, { uuid: device.uuid });
        },
      },
    ],
  },
};

function check(transition: ObservedTransition, { world, report }: RuleContext): void {
  const { event, device } = transition;
  if (!device || (event.ret !== -EBUSY && !isRegistered(transition, world))) return;
  const task = taskOf(event);
  const answer = event.ret < 0 ? `was refused with ${errnoName(-event.ret)}` : 'was not refused';
  report({
    device,
    task,
    message:
      `${who(task)} registered ${deviceWords(device)}, which VFIO already knows, and ${answer}.` +
      driverSentence(device.driver),
  });
}

/** Whether VFIO knew it before; a refused registration does not change that. */
function isRegistered({ event, device, illegal }: ObservedTransition, world: World): boolean {
  if (!device || world.qualityOf(device) !== 'observed') return false;
  return event.ret < 0
    ? device.vfio === 'registered' || device.vfio === 'unregistering'
    : illegal?.automaton === 'vfio';
}
