import {
  createRefusalOf,
  isRefusedDespiteOffer,
  offerAfter,
  showsDriverCall,
} from '../engine/create-refusal.ts';
import {
  EBUSY,
  EEXIST,
  EINVAL,
  ENODEV,
  ENOMEM,
  ENOSPC,
  EPROBE_DEFER,
  errnoName,
} from '../engine/errno.ts';
import type { MemoryDeclaration } from '../engine/memory.ts';
import { driverOf } from '../engine/refusal.ts';
import type { ObservedTransition, Rule, RuleContext } from '../engine/rule.ts';
import { siblingsWords } from '../engine/siblings.ts';
import { reportAnswered } from '../engine/waiting.ts';
import { deviceWords, who } from '../engine/words.ts';
import type { Device, Parent } from '../lifecycle/objects.ts';
import { offers, probeFailsAtRegistration } from '../scenario/mdev.ts';

/** How many refusals of one parent wait for the answer of sysfs; more are reported without it. */
const MOST_WAITING = 64;

export const createFailed: Rule = {
  id: 'create-failed',
  title: 'A device could not be created',
  severity: 'warning',
  description:
    'A process wrote a UUID to `create` and was refused, for another reason than a UUID in use or ' +
    'a parent without instances. The writer sees one errno that can mean several things. The ' +
    'message says who refused, which follows from how far the call got: the core before it asked ' +
    'the driver, the probe of the driver, or VFIO when the driver registered the device. It also ' +
    'says which other devices its parent has and what sysfs offers: many drivers refuse a type because ' +
    'of the devices that exist, even if `available_instances` still shows some.',
  remediation:
    'Read the lines of the kernel log beside the violation, or `journalctl -k`: drivers write the ' +
    'reason there. If the driver refused although sysfs offers the type, compare the type with ' +
    'those of the other devices of the parent: many drivers allow one type at a time, or need ' +
    "the devices in a certain order. Otherwise report errno and steps to the driver's vendor. Do " +
    'not retry in a loop: the answer stays the same until a device is removed or the driver is ' +
    'changed.',
  references:
    'mdev_device_create() in drivers/vfio/mdev/mdev_core.c; available_instances in ' +
    'Documentation/driver-api/vfio-mediated-device.rst',
  evidence: 'The steps of the creation up to the one that failed, with their return values.',
  occurrences: 'the parent, the type and the errno, whatever UUIDs were asked for',
  blindSpot:
    'A malformed UUID or a missing permission, which are refused before mdev is reached. Before ' +
    'Linux 6.1, whether the driver or the core refused.',
  provocation: {
    by: 'driver',
    how: 'The probe of a driver fails with EIO, after it had registered the device.',
  },
  basis: 'event',
  needs: ['mdev.probe', 'vfio.init', 'vfio.register', 'vfio.register_emulated'],
  on: {
    'mdev.create:end'({ event, device }: ObservedTransition, context) {
      if (event.ret >= 0 || !device || device.createError === 0) return;
      const cause = createRefusalOf(device);
      if (cause === 'exists' || cause === 'unregistering') return;
      const refused = { device, siblings: siblingsWords(device, device) };
      if (device.parent && offerAfter(device, context) === false) {
        const waiting = context.memory(WAITING).of(device.parent);
        if (waiting.length < MOST_WAITING) {
          waiting.push(refused);
          return;
        }
      }
      decide(refused, context);
    },
  },
  onClock(context) {
    reportAnswered(
      context.memory(WAITING),
      ({ device }) => offerAfter(device, context) === false,
      (refused) => decide(refused, context),
    );
  },
  examples: {
    fires: [
      {
        title: 'the driver refuses before it allocates anything',
        run(scenario) {
          const { device, task } = scenario.createEnters(scenario.parent());
          probeFailsAtRegistration(scenario, { device, task }, { error: EINVAL, reached: 'probe' });
        },
      },
      {
        title: 'the driver refuses after it has allocated a vfio_device',
        run(scenario) {
          const parent = scenario.parent();
          scenario.open(scenario.create(parent), { vm: scenario.createVm() });
          scenario.probeFails(scenario.createEnters(parent), EINVAL);
        },
      },
      {
        title: 'VFIO refuses to register it',
        run(scenario) {
          probeFailsAtRegistration(scenario, scenario.createEnters(scenario.parent()), {
            error: EINVAL,
            reached: 'registration',
          });
        },
      },
      {
        title: 'the core has no memory left, and does not ask the driver',
        run(scenario) {
          scenario.createFails(scenario.parent(), ENOMEM);
        },
      },
      {
        title: 'the driver has no space, although sysfs offers one more',
        run(scenario) {
          const parent = scenario.parent();
          offers(scenario, parent, { 'mtty-1': 1 });
          scenario.probeFails(scenario.createEnters(parent), ENOSPC);
        },
      },
      {
        title: 'the driver says that it exists, which the core would have said before',
        run(scenario) {
          scenario.probeFails(scenario.createEnters(scenario.parent()), EEXIST);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'a create that works',
        run(scenario) {
          scenario.create(scenario.parent());
        },
      },
      {
        title: 'the UUID is in use: that is duplicate-uuid',
        also: ['duplicate-uuid'],
        run(scenario) {
          const parent = scenario.parent();
          const { uuid } = scenario.create(parent);
          scenario.createFails(parent, EEXIST, { uuid });
        },
      },
      {
        title: 'no instance is left, and sysfs offers none: that is instances-exhausted',
        also: ['instances-exhausted'],
        run(scenario) {
          const parent = scenario.parent();
          offers(scenario, parent, { 'mtty-1': 0 });
          scenario.probeFails(scenario.createEnters(parent), ENOSPC);
        },
      },
      {
        title: 'its parent is being unregistered: that is create-races-parent-unregister',
        also: ['create-races-parent-unregister'],
        run(scenario) {
          const parent = scenario.parent();
          const unregistering = scenario.parentUnregisterBegins(parent);
          scenario.createFails(parent, ENODEV);
          scenario.parentUnregisterEnds(unregistering);
        },
      },
    ],
  },
};

/** A refused create, and what lived on its parent when it was refused. */
interface Refused {
  readonly device: Device;
  readonly siblings: string;
}

/** Refused creates for which sysfs has not said yet what the parent offers. */
const WAITING: MemoryDeclaration<Parent, Refused[]> = { initial: () => [] };

function decide({ device, siblings }: Refused, context: RuleContext): void {
  const answer = offerAfter(device, context);
  const offer = answer === false ? undefined : answer;
  const isDespite = isRefusedDespiteOffer(device, offer);
  if (createRefusalOf(device) === 'no instance' && !isDespite) return;
  const { creator, createError, type, parentName } = device;
  context.report({
    device,
    task: creator,
    sameAs: `${parentName} ${type} ${createError}`,
    message:
      `${who(creator)} could not create ${deviceWords(device)} on ${parentName}: ` +
      `${errnoName(createError)}, ${refuser(device, context)}${offerWords(device, offer)}.${siblings}` +
      `${isDespite && createError === ENOSPC ? ` What the types of ${parentName} share is probably used up or fragmented for ${type}.` : ''}`,
  });
}

function offerWords({ type, createError }: Device, offer: number | undefined): string {
  if (offer === undefined) return '';
  if (offer === 0) return `; sysfs offers no more ${type}`;
  return `${createError === ENOSPC ? ' although' : ';'} sysfs offers ${offer} more ${type}`;
}

/** Who refused, by how far the call got. */
function refuser(device: Device, context: RuleContext): string {
  const { createError, probeBegan, probeError, initError, registerError } = device;
  const name = driverOf(device);
  const driver = name === '' ? 'its driver' : `its driver (${name})`;
  if (context.world.qualityOf(device) !== 'observed') {
    return `refused by the core or by ${driver}: events were lost, so how far it got is not known`;
  }
  if (probeBegan === 0) {
    if (!showsDriverCall(context)) {
      return `refused by ${driver} or by the core, which this kernel does not show`;
    }
    return `refused by the core before ${driver} was asked${coreReason(createError)}`;
  }
  if (probeError === 0) return `refused by the core after ${driver} had set the device up`;
  const by = `refused by the probe of ${driver}`;
  if (probeError === EPROBE_DEFER) return `${by}, which is not ready and asks to be tried again`;
  const returned = probeError === createError ? '' : `, which returned ${errnoName(probeError)},`;
  if (registerError > 0) {
    const known = registerError === EBUSY ? ', which its group already has' : '';
    return `${by}${returned} because VFIO did not register the device (${errnoName(registerError)}${known})`;
  }
  if (initError > 0) {
    return `${by}${returned} because no vfio_device could be initialised (${errnoName(initError)})`;
  }
  if (device.registeredAt > 0)
    return `${by}${returned} after it had registered the device with VFIO`;
  return device.initialisedAt > 0
    ? `${by}${returned} after it had allocated a vfio_device, and before it registered that`
    : `${by}${returned} before it allocated a vfio_device`;
}

function coreReason(errno: number): string {
  if (errno === ENOMEM) return ', because the kernel had no memory left';
  return errno === ENODEV ? ', because the parent is not registered any more' : '';
}
