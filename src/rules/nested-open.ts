import type { Rule } from '../engine/rule.ts';
import { deviceWords, openers, who } from '../engine/words.ts';
import type { Open } from '../lifecycle/objects.ts';

export const nestedOpen: Rule = {
  id: 'nested-open',
  title: 'A device was opened a second time',
  severity: 'info',
  severityVaries: 'A warning when another process has it open.',
  description:
    'A device file was opened while another one on the same device was open. The group ' +
    'interface allows it. The driver does not see the second open, and everything that was ' +
    'settled at the first one, the VM above all, holds for both. From another process it is ' +
    'usually an error of the VMM.',
  remediation: 'Check that both openers know of each other. Close one of them if they do not.',
  references:
    'vfio_df_open() in drivers/vfio/vfio_main.c; the 2022 thread on "need to respect the open_count"',
  evidence: 'Everybody who has the device open, and the VM that they share.',
  blindSpot: 'A file that was inherited or passed on, because that is no open.',
  provocation: {
    by: 'user',
    how: 'Two device files are opened, by one process and by two.',
  },
  basis: 'state',
  on: {
    'vfio.device.open:end'({ event, device, open }, { report }) {
      if (event.ret !== 0 || !device || !open || device.openCount <= 1) return;
      const others = openers(device);
      report({
        device,
        task: open.task,
        stillOpen: true,
        severity: isSharedWithOthers(open) ? 'warning' : 'info',
        message:
          `${who(open.task)} opened ${deviceWords(device)}, which is now open ${device.openCount} ` +
          `times, opened by ${others}.`,
      });
    },
  },
  examples: {
    fires: [
      {
        title: 'the same process opens it twice',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const vm = scenario.createVm();
          scenario.open(device, { vm });
          scenario.open(device, { vm });
        },
      },
      {
        title: 'a child of the VMM opens it again',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const vm = scenario.createVm();
          scenario.open(device, { vm });
          scenario.open(device, { vm, as: { pid: 601, comm: 'child' } });
        },
      },
    ],
    doesNotFire: [
      {
        title: 'a child inherits the file: that is no open',
        run(scenario) {
          const open = scenario.open(scenario.create(scenario.parent()), {
            vm: scenario.createVm(),
          });
          scenario.close({ ...open, task: { pid: 601, comm: 'child' } });
        },
      },
      {
        title: 'a second open that is refused',
        also: ['open-failed'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const vm = scenario.createVm();
          scenario.open(device, { vm });
          scenario.getFdFails(device, 24);
        },
      },
      {
        title: 'two devices of one VM',
        run(scenario) {
          const parent = scenario.parent();
          const vm = scenario.createVm();
          scenario.open(scenario.create(parent), { vm });
          scenario.open(scenario.create(parent), { vm });
        },
      },
      {
        title: 'opened again after it was closed',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const vm = scenario.createVm();
          scenario.close(scenario.open(device, { vm }));
          scenario.open(device, { vm });
        },
      },
    ],
  },
};

/** Whether another process has the device open as well. */
function isSharedWithOthers({ device, task: { pid } }: Open): boolean {
  return device.opens.some(({ task }) => task.pid !== pid);
}
