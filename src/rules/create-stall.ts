import type { Rule } from '../engine/rule.ts';
import { STALL_SEVERITY, stallOf } from '../engine/stall.ts';

export const createStall: Rule = {
  id: 'create-stall',
  title: 'The creation of a device does not return',
  severity: 'warning',
  severityVaries: STALL_SEVERITY,
  description:
    'A process wrote to `create`, and the write does not return: the driver is still setting the ' +
    'device up, or waits for a lock that another creation holds. The writer, usually mdevctl or a ' +
    'management daemon, is blocked and often cannot be killed; the UUID and an instance of the ' +
    'parent are taken, and the parent cannot be unregistered.',
  remediation:
    'Read where the thread is blocked. If several creations on one parent are stalled, the oldest ' +
    'holds what the others wait for. Do not remove the device or unload its driver meanwhile: ' +
    'both wait, or lose the `remove` file. Report the kernel stack to the vendor of the driver.',
  references:
    'mdev_device_create() in drivers/vfio/mdev/mdev_core.c, which calls the probe of the driver',
  evidence:
    'Which call has not returned, who made it, since when, and where its thread is blocked in the kernel; the events of the device.',
  blindSpot: 'What the driver waits for beyond the kernel function that its thread is blocked in.',
  provocation: {
    by: 'driver',
    how: 'A driver waits in its probe callback.',
  },
  basis: 'state',
  ...stallOf({ operations: ['create'], threshold: 'createStall' }),
  examples: {
    fires: [
      {
        title: 'the driver does not finish setting it up',
        run(scenario) {
          scenario.createBegins(scenario.parent());
          scenario.wait(120);
        },
      },
      {
        title: 'it returns between two ticks, after longer than the threshold',
        run(scenario) {
          const creation = scenario.createBegins(scenario.parent());
          scenario.pass(10.5);
          scenario.createEnds(creation);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the driver takes some seconds',
        run(scenario) {
          const creation = scenario.createBegins(scenario.parent());
          scenario.wait(9);
          scenario.createEnds(creation);
          scenario.wait(60);
        },
      },
    ],
  },
};
