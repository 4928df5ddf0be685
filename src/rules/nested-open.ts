import type { Rule } from './rule.ts';
import { deviceWords, openers, who } from './words.ts';

export const nestedOpen: Rule = {
  id: 'nested-open',
  title: 'A device was opened a second time',
  severity: 'info',
  severityVaries: 'A warning when another process has it open.',
  meaning:
    'A device file was opened while another one on the same device was open. The group interface ' +
    'allows it. The driver does not see the second open, and everything that was settled at the first ' +
    'one, the VM above all, holds for both. From another process it is usually a mistake.',
  advice: 'Check that both openers know of each other. Close one of them if they do not.',
  origin:
    'vfio_df_open() in drivers/vfio/vfio_main.c; the 2022 thread on "need to respect the open_count"',
  evidence: 'Everybody who has the device open, and the VM that they share.',
  provocation: {
    by: 'user',
    how: 'Two device files are asked for, by one process and by two.',
  },
  basis: 'state',
  on: {
    'vfio.device.open:end'({ event, device, open }, { report }) {
      if (event.ret !== 0 || !device || !open || device.openCount <= 1) return;
      const foreign = device.opens.some((other) => other.task.pid !== open.task.pid);
      const others = openers(device);
      report({
        device,
        task: open.task,
        stillOpen: true,
        severity: foreign ? 'warning' : 'info',
        says:
          `${who(open.task)} opened ${deviceWords(device)}, which is now open ${device.openCount} ` +
          `times: ${others}.`,
      });
    },
  },
  examples: {
    fires: [
      {
        title: 'the same process opens it twice',
        tell(story) {
          const device = story.create(story.parent());
          const vm = story.createVm();
          story.open(device, { vm });
          story.open(device, { vm });
        },
      },
      {
        title: 'a child of the VMM opens it once more',
        tell(story) {
          const device = story.create(story.parent());
          const vm = story.createVm();
          story.open(device, { vm });
          story.open(device, { vm, as: { pid: 601, comm: 'child' } });
        },
      },
    ],
    silent: [
      {
        title: 'a child inherits the file: that is no open',
        tell(story) {
          const open = story.open(story.create(story.parent()), { vm: story.createVm() });
          story.close({ ...open, task: { pid: 601, comm: 'child' } });
        },
      },
      {
        title: 'a second open that is refused',
        also: ['open-failed'],
        tell(story) {
          const device = story.create(story.parent());
          const vm = story.createVm();
          story.open(device, { vm });
          story.getFdFails(device, 24);
        },
      },
      {
        title: 'two devices of one VM',
        tell(story) {
          const parent = story.parent();
          const vm = story.createVm();
          story.open(story.create(parent), { vm });
          story.open(story.create(parent), { vm });
        },
      },
      {
        title: 'opened again after it was closed',
        tell(story) {
          const device = story.create(story.parent());
          const vm = story.createVm();
          story.close(story.open(device, { vm }));
          story.open(device, { vm });
        },
      },
    ],
  },
};
