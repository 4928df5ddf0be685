import { EEXIST } from '../engine/errno.ts';
import type { ObservedTransition, Rule, RuleContext } from '../engine/rule.ts';
import { deviceWords, who } from '../engine/words.ts';
import { mdevFromBefore, probeFailsLeaking } from '../scenario/mdev.ts';

export const duplicateUuidLive: Rule = {
  id: 'duplicate-uuid-live',
  title: 'Two devices exist under one UUID',
  severity: 'critical',
  description:
    'A mediated device was created under a UUID that another one has, and the kernel allowed ' +
    'it. All mdevs of the host are linked by their UUID under one bus directory: one of the ' +
    'two cannot be reached, and it is left to chance which of them a VMM opens, or an ' +
    'administrator removes. Kernels before 4.18 searched only the same parent; since then the ' +
    'list of all mdevs is searched under a lock, so this means that the list is corrupt.',
  remediation:
    'Do not start VMs with that UUID, and remove neither device (the message names both). Move the ' +
    'other guests away, and reboot. Report it with the evidence.',
  references:
    'vfio/mdev: Check globally for duplicate devices (Alex Williamson, May 2018); ' +
    'mdev_device_create() in drivers/vfio/mdev/mdev_core.c',
  evidence: 'The lifecycles of both devices, with their parents and who created them.',
  provocation: {
    by: 'nothing',
    how: 'The core refuses it on every parent of the host, whatever drivers do.',
  },
  basis: 'history',
  needs: ['mdev.create', 'mdev.release'],
  on: { 'mdev.probe:begin': check },
  examples: {
    fires: [
      {
        title: 'the same UUID on another parent',
        run(scenario) {
          const { uuid } = scenario.create(scenario.parent({ name: 'mtty' }));
          scenario.create(scenario.parent({ name: 'mdpy' }), { uuid });
        },
      },
      {
        title: 'the same UUID twice on one parent',
        run(scenario) {
          const parent = scenario.parent();
          const { uuid } = scenario.create(parent);
          scenario.create(parent, { uuid });
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the second is refused: that is duplicate-uuid',
        also: ['duplicate-uuid'],
        run(scenario) {
          const parent = scenario.parent();
          const { uuid } = scenario.create(parent);
          scenario.createFails(parent, EEXIST, { uuid });
        },
      },
      {
        title: 'the first was removed',
        run(scenario) {
          const parent = scenario.parent();
          const device = scenario.create(parent);
          scenario.remove(device);
          scenario.create(parent, { uuid: device.uuid });
        },
      },
      {
        title: 'the first is freed just when the second is requested',
        run(scenario) {
          const parent = scenario.parent();
          const device = scenario.create(parent);
          const removal = scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          const creation = scenario.createEnters(parent, { uuid: device.uuid });
          scenario.removeEnds(removal);
          scenario.createEnds(scenario.probeBegins(creation));
        },
      },
      {
        title: 'the creation of the first failed, and it was freed later',
        also: ['create-failed'],
        run(scenario) {
          const parent = scenario.parent();
          const creation = scenario.createEnters(parent);
          const { device } = creation;
          probeFailsLeaking(scenario, creation, 'mdev');
          scenario.freeMdev(device);
          scenario.create(parent, { uuid: device.uuid });
        },
      },
      {
        title: 'the first existed before the agent: its end may have been missed',
        run(scenario) {
          const parent = scenario.parent();
          const device = mdevFromBefore(parent);
          scenario.open(device, { vm: scenario.createVm() });
          scenario.create(parent, { uuid: device.uuid });
        },
      },
    ],
  },
};

/** When the core calls the driver's probe, it has searched for the UUID and not found it. */
function check({ device }: ObservedTransition, { world, report }: RuleContext): void {
  if (device?.state !== 'creating' || !device.holder) return;
  const { holder, creator, parentName } = device;
  if (holder.releasedAt > 0 || world.qualityOf(holder) !== 'observed') return;
  report({
    device,
    task: creator,
    message:
      `${who(creator)} is creating ${deviceWords(device)} on ${parentName}, and the kernel allows ` +
      `it, although that UUID belongs to a device on ${holder.parentName} which ` +
      `${who(holder.creator)} created and which is not freed.`,
  });
}
