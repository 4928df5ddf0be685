import type { Rule } from '../engine/rule.ts';
import { STALL_SEVERITY, stallOf } from '../engine/stall.ts';

export const closeStall: Rule = {
  id: 'close-stall',
  title: 'The close of a device does not return',
  severity: 'warning',
  severityVaries: STALL_SEVERITY,
  description:
    'A process closes a device, often because it was killed, and the kernel does not return from ' +
    'it: the driver resets the device, unpins the memory of the VM, or waits for its firmware. The ' +
    'process stays in state D (or as a zombie with a blocked thread) and no signal ends it; the ' +
    'device cannot be opened, removed or unbound by anybody else.',
  remediation:
    'Read where the thread is blocked: the driver of the device is at fault, not the VMM, and killing ' +
    'the VMM again changes nothing. If the driver waits for the device, it needs a reset of its slot or ' +
    'of the host. Report the kernel stack to the vendor of the driver.',
  references:
    'vfio_df_close() in drivers/vfio/vfio_main.c, which calls the close_device callback of the driver with the ' +
    'lock of its device set held',
  evidence:
    'Which call has not returned, who made it, since when, and where its thread is blocked in the kernel; the events of the device.',
  blindSpot:
    'What takes long after the driver has returned, such as unpinning memory when the container is closed.',
  provocation: {
    by: 'driver',
    how: 'A driver sleeps in its close_device callback.',
  },
  basis: 'state',
  ...stallOf({ operations: ['close'], threshold: 'closeStall' }),
  examples: {
    fires: [
      {
        title: 'a killed VMM hangs in the close of the driver',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const open = scenario.open(device, { vm: scenario.createVm() });
          scenario.closeBegins(open, { exiting: true });
          scenario.wait(120);
        },
      },
      {
        title: 'it returns between two ticks, after longer than the threshold',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const open = scenario.open(device, { vm: scenario.createVm() });
          scenario.closeBegins(open);
          scenario.pass(10.5);
          scenario.closeEnds(open);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'a close of some seconds',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const open = scenario.open(device, { vm: scenario.createVm() });
          scenario.closeBegins(open);
          scenario.wait(9);
          scenario.closeEnds(open);
          scenario.wait(60);
        },
      },
      {
        title: 'a device that is open for long',
        run(scenario) {
          scenario.open(scenario.create(scenario.parent()), { vm: scenario.createVm() });
          scenario.wait(120);
        },
      },
    ],
  },
};
