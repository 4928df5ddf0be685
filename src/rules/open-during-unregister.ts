import type { Rule } from '../engine/rule.ts';
import { deviceWords, who } from '../engine/words.ts';
import { bindCdev, openCdev } from '../scenario/cdev.ts';

export const openDuringUnregister: Rule = {
  id: 'open-during-unregister',
  title: 'A device was opened while its removal was waiting',
  severity: 'critical',
  severityVaries: 'A warning on kernels up to 6.1, where the core allows it.',
  description:
    'A removal waits for the last user of the device, and yet the device was opened again. On ' +
    'kernels up to 6.1 that is possible by design and makes the wait longer, without a limit. ' +
    'Later kernels take the device off the list before they wait, so there it means that the ' +
    'lists are corrupt.',
  remediation:
    'Make whatever opens the device again and again stop trying. If the open succeeded, leave the ' +
    'process that has it open alone until the other guests are moved away. On a kernel from 6.2 on, ' +
    'report it with the evidence.',
  references:
    'vfio/mdev: Improve the create/remove sequence (2019); vfio_device_group_unregister() precedes the ' +
    'wait since 6.2',
  evidence: 'Who opened it, who waits, and since when.',
  traits: ['opensDuringRemoval'],
  provocation: {
    by: 'user',
    how:
      'On 5.10 and 6.1 a second process opens the device while its removal waits for the ' +
      'first. From 6.2 on the kernel refuses that with ENODEV.',
  },
  basis: 'state',
  needs: ['vfio.unregister', 'vfio.device.get_fd'],
  on: {
    'vfio.device.open:end'({ event, device, open }, { host, report }) {
      if (event.ret !== 0 || !device || !open) return;
      const waiting = device.unregisterBegan > 0 && device.unregisteredAt === 0;
      const { opensDuringRemoval } = host.traits;
      // A cdev that was open before the removal may still be bound, and the removal waits for it.
      if (open.requestedAt === 0 && !opensDuringRemoval) return;
      // The removal waits for opens that were requested before it began, also while they wait for a lock.
      if (!waiting || (open.requestedAt || open.firstSeen) < device.unregisterBegan) return;
      report({
        device,
        task: open.task,
        severity: opensDuringRemoval ? 'warning' : 'critical',
        message:
          `${who(open.task)} opened ${deviceWords(device)} while ${who(device.remover)} was waiting ` +
          'for its last user to close it.',
      });
    },
  },
  examples: {
    fires: [
      {
        title: 'a second process opens it while the remover waits for the first',
        also: ['nested-open'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.open(device, { vm: scenario.createVm() });
          scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          scenario.open(device, { as: { pid: 900, comm: 'latecomer' } });
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the open had begun before the removal',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const opening = scenario.openBegins(device, { vm: scenario.createVm() });
          scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          scenario.openEnds(opening);
        },
      },
      {
        title: 'its request had begun before the removal, and waited for the lock of the group',
        also: ['nested-open'],
        run(scenario) {
          const vm = scenario.createVm();
          const device = scenario.create(scenario.parent());
          const first = scenario.openBegins(device, { vm });
          const as = { pid: 601, comm: 'second' };
          const waiting = scenario.openBegins(device, { as, isInDevice: false });
          scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          scenario.openEnds(first);
          scenario.openReaches(waiting);
          scenario.openEnds(waiting);
        },
      },
      {
        title: 'a cdev that was open before the removal is bound while that waits',
        also: ['open-without-kvm'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const cdev = openCdev(scenario, device);
          scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          bindCdev(scenario, cdev);
        },
      },
      {
        title: 'the open is refused',
        also: ['open-failed'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.open(device, { vm: scenario.createVm() });
          scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          scenario.getFdFails(device, 19, { as: { pid: 900, comm: 'latecomer' } });
        },
      },
    ],
  },
};
