import type { Rule, RuleContext } from '../engine/rule.ts';
import { deviceWords, who } from '../engine/words.ts';
import type { Device } from '../lifecycle/objects.ts';

export const removeOrderViolated: Rule = {
  id: 'remove-order-violated',
  title: 'A device was torn down in the wrong order',
  severity: 'critical',
  description:
    'An mdev is torn down in the reverse order of its set-up: its driver unregisters it from ' +
    'VFIO, which waits for those who have it open; then the driver is unbound; only then is ' +
    'the device freed. Here a later step came before an earlier one, so the kernel still ' +
    'refers to an object that its driver believes to be gone, or to memory that has been ' +
    'freed.',
  remediation:
    'Do not remove devices of this driver on hosts that matter until it is fixed. Check the ' +
    "driver's remove callback: the right order is that unbind begins, VFIO unregister begins " +
    'and ends, the vfio_device is freed, unbind ends, and the mdev is freed. Compare the ' +
    'evidence with it.',
  references:
    'vfio/mdev: Improve the create/remove sequence (Parav Pandit, 2019), where the mirrored order was ' +
    'agreed on; mdev_device_remove_common() in drivers/vfio/mdev/mdev_core.c',
  evidence: 'The whole teardown of the device, in order.',
  provocation: {
    by: 'driver',
    how:
      'A driver leaves the unregistration of its vfio_device to devres, which runs only after ' +
      'the bus has unbound the driver.',
  },
  basis: 'history',
  needs: ['mdev.unbind', 'vfio.register', 'vfio.register_emulated', 'vfio.unregister'],
  on: {
    'mdev.unbind:end'({ device }, context) {
      // While it has users, removed-while-open reports it.
      if (!device || device.openCount > 0 || !isStillRegistered(device)) return;
      reportOrder(device, context, 'its driver was unbound without unregistering it from VFIO');
    },
    'mdev.release:begin'({ device, illegal }, context) {
      if (!device || device.state === 'creating' || device.createError) return;
      if (illegal?.automaton === 'device') {
        reportOrder(device, context, `it was freed while it was ${illegal.from}`);
      } else if (device.unbindBegan > device.unboundAt) {
        reportOrder(device, context, 'it was freed before its driver was unbound');
      } else if (isStillRegistered(device)) {
        reportOrder(device, context, 'it was freed although VFIO still has it');
      }
    },
  },
  examples: {
    fires: [
      {
        title: 'a driver does not unregister the device',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.unbindWithoutUnregister(scenario.removeBegins(device, { idle: true }));
        },
      },
      {
        title: 'the device is freed although nobody removes it',
        run(scenario) {
          scenario.freeMdev(scenario.create(scenario.parent()));
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the right order, removed by a user and with the parent',
        run(scenario) {
          const parent = scenario.parent();
          const [first, second] = [scenario.create(parent), scenario.create(parent)];
          scenario.remove(first);
          const unregistering = scenario.parentUnregisterBegins(parent);
          scenario.childRemoved(unregistering, second);
          scenario.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'a create that fails frees the device without an unbind',
        also: ['create-failed'],
        run(scenario) {
          const creation = scenario.createEnters(scenario.parent());
          scenario.probeFails(creation, 12);
        },
      },
      {
        title: 'the removal of an open device waits until it is closed',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const open = scenario.open(device, { vm: scenario.createVm() });
          const removal = scenario.removeBegins(device);
          scenario.wait(3);
          scenario.close(open);
          scenario.removeEnds(removal);
        },
      },
    ],
  },
};

/** The device is registered with VFIO, and its unregistration has not ended. */
function isStillRegistered({ vfio }: Device): boolean {
  return vfio === 'registered' || vfio === 'unregistering';
}

function reportOrder(device: Device, { report }: RuleContext, what: string): void {
  const by = device.remover ? ` Its remover is ${who(device.remover)}.` : '';
  report({
    device,
    task: device.remover,
    message: `${deviceWords(device)} was torn down in the wrong order: ${what}.${by}`,
  });
}
