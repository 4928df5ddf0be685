import type { Rule } from './rule.ts';
import { deviceWords, who } from './words.ts';

export const openDuringUnregister: Rule = {
  id: 'open-during-unregister',
  title: 'A device was opened while its removal was waiting',
  severity: 'critical',
  severityVaries: 'A warning on kernels up to 6.1, where the core lets it happen.',
  meaning:
    'A removal waits for the last user of the device, and yet a new user came in. On kernels up to 6.1 ' +
    'that is possible by design and makes the wait longer, without a limit. Later kernels take the ' +
    'device off the list before they wait, so there it means that the lists are broken.',
  advice:
    'Stop whatever keeps opening the device. On a kernel from 6.2 on, report it with the evidence.',
  origin:
    'vfio/mdev: Improve the create/remove sequence (2019); vfio_device_group_unregister() precedes the ' +
    'wait since 6.2',
  evidence: 'Who opened it, who waits, and since when.',
  provocation: {
    by: 'user',
    how:
      'On 5.10 and 6.1 a second process opens the device while its removal waits for the first. From ' +
      '6.2 on the kernel refuses that with ENODEV.',
  },
  basis: 'state',
  needs: ['vfio.unregister'],
  on: {
    'vfio.device.open:end'({ event, device, open }, { host, report }) {
      if (event.ret !== 0 || !device || !open) return;
      const waiting = device.unregisterBegan > 0 && device.unregisteredAt === 0;
      // An open that was under way when the removal began is part of what it waits for.
      if (!waiting || open.firstSeen < device.unregisterBegan) return;
      const [major, minor] = host.kernel;
      report({
        device,
        task: open.task,
        severity: major > 6 || (major === 6 && minor >= 2) ? 'critical' : 'warning',
        says:
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
        tell(story) {
          const device = story.create(story.parent());
          story.open(device, { vm: story.createVm() });
          story.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          story.open(device, { as: { pid: 900, comm: 'late' } });
        },
      },
    ],
    silent: [
      {
        title: 'the open had begun before the removal',
        tell(story) {
          const device = story.create(story.parent());
          const opening = story.openBegins(device, { vm: story.createVm() });
          story.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          story.openEnds(opening);
        },
      },
      {
        title: 'the open is refused',
        also: ['open-failed'],
        tell(story) {
          const device = story.create(story.parent());
          story.open(device, { vm: story.createVm() });
          story.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          story.getFdFails(device, 19, { as: { pid: 900, comm: 'late' } });
        },
      },
    ],
  },
};
