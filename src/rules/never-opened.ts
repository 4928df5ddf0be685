import { isNeverOpened } from '../engine/conditions.ts';
import type { MemoryDeclaration } from '../engine/memory.ts';
import type { Rule, RuleContext } from '../engine/rule.ts';
import { deviceWords, longTime, who } from '../engine/words.ts';
import type { Task } from '../events/task.ts';
import { POINT } from '../events/wire.gen.ts';
import type { Device } from '../lifecycle/objects.ts';
import { SECOND } from '../units.ts';

/** How often the message is renewed, which says for how long; ns. */
const RENEW = 60 * SECOND;
/** Of many devices that were created together, so many are reported at one tick. */
const MOST = 100;

/** When it was last reported, ns. */
const REPORTED: MemoryDeclaration<Device, { at: number }> = { initial: () => ({ at: 0 }) };

export const neverOpened: Rule = {
  id: 'never-opened',
  title: 'A device was never opened',
  severity: 'info',
  description:
    'An mdev was created, or a device was bound to a VFIO driver, and for hours nobody has opened ' +
    'it. It may be intended: a pool of devices that wait for VMs. Often it is left over: a daemon created it, ' +
    'the start of its VM failed, and nobody removed it. It then occupies an instance of its parent, or ' +
    'keeps a function away from its host driver, until none is left for the next VM.',
  remediation:
    'Ask whoever the message names as creator whether the device is still wanted. If it is not, remove ' +
    'the mdev (`echo 1 > /sys/bus/mdev/devices/UUID/remove`), or unbind the device from its VFIO driver.',
  references:
    'canonical/lxd issue 9499, on mdevs that stay after a VM failed to start; ' +
    'Documentation/driver-api/vfio-mediated-device.rst',
  evidence: 'How it was created or bound, and by whom; no open follows.',
  blindSpot:
    'Opens of a device that existed before the agent, or during a loss of events: such a device is never ' +
    'reported.',
  provocation: {
    by: 'user',
    how: 'An mdev is created and not opened for longer than `rules.never_opened_seconds`.',
  },
  basis: 'history',
  needs: ['vfio.register', 'vfio.device.open', 'vfio.unregister'],
  onClock(context) {
    const { world, now, thresholds, memory, resolve } = context;
    const reported = memory(REPORTED);
    let count = 0;
    for (const device of world.devices) {
      const since = device.createdAt || device.registeredAt;
      const isLeft =
        since > 0 &&
        now - since >= thresholds.neverOpened &&
        isNeverOpened(device) &&
        world.qualityOf(device) === 'observed';
      const known = reported.find(device);
      if (!isLeft) {
        if (!known) continue;
        reported.forget(device);
        resolve(device);
      } else if (count < MOST && now - (known?.at ?? 0) >= RENEW) {
        count++;
        reported.of(device).at = now;
        reportDevice(device, now - since, context);
      }
    }
  },
  examples: {
    fires: [
      {
        title: 'an mdev that nobody opens',
        run(scenario) {
          scenario.create(scenario.parent(), { as: { pid: 700, comm: 'lxd' } });
          scenario.wait(4 * 3600 + 1);
        },
      },
      {
        title: 'a device that stays bound to vfio-pci',
        run(scenario) {
          scenario.bindPci('0000:01:00.0');
          scenario.wait(4 * 3600 + 1);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'it was opened once, hours ago',
        also: ['open-without-kvm'],
        run(scenario) {
          scenario.close(scenario.open(scenario.create(scenario.parent())));
          scenario.wait(4 * 3600 + 1);
        },
      },
      {
        title: 'it was created three hours ago',
        run(scenario) {
          scenario.create(scenario.parent());
          scenario.wait(3 * 3600);
        },
      },
      {
        title: 'it is open since it was bound',
        run(scenario) {
          scenario.open(scenario.bindPci('0000:01:00.0'), { vm: scenario.createVm() });
          scenario.wait(4 * 3600 + 1);
        },
      },
    ],
  },
};

function reportDevice(device: Device, lasts: number, { report }: RuleContext): void {
  const task = device.creator ?? binderOf(device);
  const done = device.isMdev
    ? `was created on ${device.parentName}`
    : `was bound to ${device.driver || 'a VFIO driver'}`;
  report({
    device,
    task,
    ongoing: true,
    message:
      `${deviceWords(device)} ${done} by ${who(task)} ${longTime(lasts)} ago, and nobody has opened it ` +
      'since.',
  });
}

/** Who bound a device that is no mdev. */
function binderOf(device: Device): Task | undefined {
  const entry = device.timeline.entries().find(({ point }) => point === POINT.VFIO_REGISTER);
  return entry && { pid: entry.pid, tid: entry.tid, comm: entry.comm, uid: -1, cgroup: 0 };
}
