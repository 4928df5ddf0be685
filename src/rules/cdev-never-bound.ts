import { WITH_CDEVS } from '../engine/cdev-bind.ts';
import { heldUnbound } from '../engine/holder-words.ts';
import type { Finding, Rule } from '../engine/rule.ts';
import { capital, deviceWords, plural } from '../engine/words.ts';
import { POINT } from '../events/wire.gen.ts';
import type { Cdev, Device } from '../lifecycle/objects.ts';
import { deviceOfCall } from '../lifecycle/operations.ts';
import { bindCdev, closeCdev, openCdev, openCdevForVm } from '../scenario/cdev.ts';

export const cdevNeverBound: Rule = {
  id: 'cdev-never-bound',
  title: 'A device cdev is open and bound to nothing',
  severity: 'info',
  description:
    'A process has the cdev of a device open, /dev/vfio/devices/vfioN, and nobody has bound it to an iommufd. ' +
    'The device is not open, and no count of its users shows that somebody has it; but it cannot be unbound from its ' +
    'driver, nor removed, before the last descriptor is closed. Launchers open cdevs and pass them to VMMs: the ' +
    'VMM may never have come to bind it, or has exited while the launcher kept its copy.',
  remediation:
    'Find out whether the process that the message names still means to use the device. If not, have it close ' +
    'the file, or end it.',
  references:
    'vfio_device_fops_cdev_open() in drivers/vfio/device_cdev.c, which takes a reference on the registration; ' +
    'vfio_unregister_group_dev() in drivers/vfio/vfio_main.c, which waits for it',
  evidence: 'Who opened the cdev and when, and who has it open now.',
  provocation: {
    by: 'user',
    how: 'A cdev is opened and not bound for longer than `rules.cdev_unbound_seconds`.',
  },
  kernels: WITH_CDEVS,
  basis: 'state',
  needs: ['vfio.cdev.open', 'vfio.cdev.close', 'vfio.cdev.bind'],
  onClock({ world, now, thresholds, report, resolve }) {
    const binding = new Set(world.calls.at(POINT.VFIO_CDEV_BIND).map(deviceOfCall));
    for (const device of world.devices) {
      const unbound = device.cdevs.filter(({ state }) => state === 'unbound');
      // They are in the order in which they were opened.
      const [oldest] = unbound;
      // A bind that does not return is reported as open-stall.
      if (!oldest || binding.has(device)) resolve(device);
      else if (now - (oldest.openedAt || oldest.firstSeen) >= thresholds.cdevUnbound)
        report(findingOf(device, unbound, now));
    }
  },
  examples: {
    fires: [
      {
        title: 'opened, and nothing more',
        run(scenario) {
          openCdev(scenario, scenario.create(scenario.parent()), {
            as: { pid: 601, comm: 'launcher' },
          });
          scenario.wait(61);
        },
      },
      {
        title: 'its VM is set, and it is not bound',
        run(scenario) {
          openCdevForVm(scenario, scenario.bindPci('0000:01:00.0'));
          scenario.wait(61);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'bound within a minute',
        also: ['open-without-kvm'],
        run(scenario) {
          const cdev = openCdev(scenario, scenario.create(scenario.parent()));
          scenario.wait(59);
          bindCdev(scenario, cdev);
          scenario.wait(60);
        },
      },
      {
        title: 'closed within a minute',
        run(scenario) {
          const cdev = openCdev(scenario, scenario.create(scenario.parent()));
          scenario.wait(59);
          closeCdev(scenario, cdev);
          scenario.wait(60);
        },
      },
    ],
  },
};

function findingOf(device: Device, unbound: readonly Cdev[], now: number): Finding {
  const [oldest, ...others] = unbound;
  const more =
    others.length > 0
      ? ` ${capital(plural(others.length, 'more file'))} of it ${others.length === 1 ? 'is' : 'are'} open and not bound.`
      : '';
  return {
    device,
    task: oldest.opener,
    ongoing: true,
    stillOpen: true,
    message: ({ holders }) => {
      const cdevs = holders.filter(({ holds }) => holds === 'cdev');
      return `${deviceWords(device)}: ${heldUnbound(oldest, cdevs, now)}.${more}`;
    },
  };
}
