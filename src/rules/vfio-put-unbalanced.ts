import type { ObservedTransition, Rule, RuleContext } from '../engine/rule.ts';
import { deviceWords, driverSentence, who } from '../engine/words.ts';
import { taskOf } from '../events/task.ts';
import type { Device } from '../lifecycle/objects.ts';
import {
  createIn,
  probeBeginsUnregistered,
  registers,
  removeReturns,
  unregisterEnds,
} from '../scenario/vfio.ts';

/** How it is too early to free a vfio_device, by its state at that time. */
const EARLY: Readonly<Record<string, string>> = {
  registered: 'while it was registered, so it can still be found and opened',
  unregistering: 'while its unregistration was waiting for those who have it open',
  released: 'for a second time',
};

export const vfioPutUnbalanced: Rule = {
  id: 'vfio-put-unbalanced',
  title: 'A vfio_device was freed too early, or used after it was freed',
  severity: 'critical',
  description:
    'Somebody put a reference on the vfio_device that was not theirs, so it was freed while ' +
    'others still needed it: before it was unregistered, twice, or before its last use. From ' +
    'then on the kernel works with memory that may belong to something else.',
  remediation:
    'Move the VMs off this host and reboot it; do not wait for a crash. Report it to the ' +
    "driver's vendor with the evidence: count the driver's calls of vfio_put_device().",
  references:
    'vfio/ccw: Use the new device life cycle helpers (Yi Liu, 2022), which made every driver put its ' +
    'vfio_device itself; vfio_device_release() in drivers/vfio/vfio_main.c',
  evidence: 'Who put the last reference, or used the vfio_device after that.',
  kernels: {
    where: { vfioDeviceIsCounted: true },
    because: 'the unregistration frees a vfio_device, and drivers have no reference to put',
  },
  provocation: {
    by: 'driver',
    how:
      'From 6.6 on, where a device leaves the bus before its removal waits, a driver puts its ' +
      'vfio_device during that wait, and does not return from its release until nobody uses ' +
      'it.',
  },
  basis: 'history',
  needs: ['vfio.register', 'vfio.register_emulated'],
  needsStep: ['vfio.init', 'vfio.release'],
  on: {
    'vfio.release:begin'(transition, context) {
      const { device, illegal } = transition;
      if (!device || illegal?.automaton !== 'vfio') return;
      const early = EARLY[illegal.from];
      if (early) reportUnbalanced(device, transition, context, `was freed ${early}`);
    },
    'vfio.unregister:begin'(transition, context) {
      const { device, illegal } = transition;
      const isFreed = illegal?.automaton === 'vfio' && illegal.from === 'released';
      if (device && isFreed)
        reportUnbalanced(device, transition, context, 'was unregistered after it had been freed');
    },
    'vfio.device.open:begin'(transition, context) {
      const { device } = transition;
      if (device && isFreed(device)) {
        reportUnbalanced(device, transition, context, 'was opened after it had been freed');
      }
    },
    'vfio.device.close:begin'(transition, context) {
      const { device } = transition;
      if (device && isFreed(device)) {
        reportUnbalanced(device, transition, context, 'is being closed after it has been freed');
      }
    },
  },
  examples: {
    fires: [
      {
        title: 'a driver puts its vfio_device before it unregisters it',
        run(scenario) {
          scenario.freeVdev(scenario.create(scenario.parent()));
        },
      },
      {
        title: 'freed while the removal waits for a VMM, which closes it then',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const open = scenario.open(device, { vm: scenario.createVm() });
          scenario.removeBegins(device);
          scenario.freeVdev(device);
          scenario.close(open);
        },
      },
      {
        title: 'put twice at the end',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const removal = scenario.removeBegins(device);
          unregisterEnds(scenario, device);
          scenario.freeVdev(device);
          scenario.freeVdev(device);
          removeReturns(scenario, removal);
        },
      },
      {
        title: 'opened although it was freed before it could be registered',
        run(scenario) {
          const creation = probeBeginsUnregistered(
            scenario,
            scenario.createEnters(scenario.parent()),
          );
          scenario.freeVdev(creation.device);
          scenario.createEnds(creation);
          scenario.open(creation.device, { vm: scenario.createVm() });
        },
      },
    ],
    doesNotFire: [
      {
        title: 'freed after it was unregistered',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.close(scenario.open(device, { vm: scenario.createVm() }));
          scenario.remove(device);
        },
      },
      {
        title: 'freed because it could not be registered',
        run(scenario) {
          const creation = probeBeginsUnregistered(
            scenario,
            scenario.createEnters(scenario.parent()),
          );
          registers(scenario, creation.device, { error: 12 });
          scenario.freeVdev(creation.device);
          scenario.freeMdev(creation.device);
        },
      },
      {
        title: 'a create that fails after the vfio_device was allocated',
        also: ['create-failed'],
        run(scenario) {
          scenario.probeFails(scenario.createEnters(scenario.parent()), 5);
        },
      },
      {
        title: 'the same memory serves the next device, which is opened and freed in its turn',
        run(scenario) {
          const parent = scenario.parent();
          const first = scenario.create(parent);
          scenario.remove(first);
          const second = createIn(scenario, first, scenario.createEnters(parent));
          scenario.close(scenario.open(second, { vm: scenario.createVm() }));
          scenario.remove(second);
        },
      },
    ],
  },
};

/** 5.10 frees and allocates a vfio_device without any event; no event shows there that it exists. */
function isFreed({ vfio, initialisedAt }: Device): boolean {
  return vfio === 'released' && initialisedAt > 0;
}

function reportUnbalanced(
  device: Device,
  { event }: ObservedTransition,
  { report }: RuleContext,
  what: string,
): void {
  const task = taskOf(event);
  report({
    device,
    vm: device.vm,
    task,
    message:
      `The vfio_device of ${deviceWords(device)} ${what}, by ${who(task)}.` +
      driverSentence(device.driver),
  });
}
