import { EBUSY, EINVAL, ENODEV, ENOMEM, EPROBE_DEFER, errnoName } from '../engine/errno.ts';
import { driverOf } from '../engine/refusal.ts';
import type { ObservedTransition, Rule, RuleContext } from '../engine/rule.ts';
import { siblingsWords } from '../engine/siblings.ts';
import { deviceWords, who } from '../engine/words.ts';
import { taskOf } from '../events/task.ts';
import { POINT } from '../events/wire.gen.ts';
import type { Device } from '../lifecycle/objects.ts';
import { probeFailsAtRegistration } from '../scenario/mdev.ts';
import { bindPciFails } from '../scenario/vfio.ts';

export const bindFailed: Rule = {
  id: 'bind-failed',
  title: 'A driver could not be bound to a device',
  severity: 'warning',
  description:
    'A driver of VFIO was asked to take a device, and failed, so the device has no driver and no ' +
    'VMM can open it. Whoever wrote to `bind` sees one errno, and a driver that is probed by ' +
    'itself reports nothing at all. The message says how far the driver came: it could not ' +
    'initialise its vfio_device, VFIO did not register it, most often because the device has no ' +
    'IOMMU group, or the driver gave up between the two.',
  remediation:
    'Read the lines of the kernel log beside the violation, or `journalctl -k`. Without an IOMMU ' +
    'group: switch the IOMMU on in the firmware (VT-d, AMD-Vi) and, where the kernel needs it, on ' +
    'its command line (intel_iommu=on), and reboot. vfio-pci refuses bridges, and functions whose ' +
    'virtual functions are switched on: write 0 to `sriov_numvfs` first, or bind the virtual ' +
    'functions instead.',
  references:
    'vfio_pci_core_register_device() in drivers/vfio/pci/vfio_pci_core.c; vfio_init_device() in ' +
    'drivers/vfio/vfio_main.c; vfio_group_find_or_alloc() in drivers/vfio/group.c',
  evidence: 'The steps of the binding up to the one that failed, with their return values.',
  blindSpot:
    'A driver that refuses a device before it allocates a vfio_device, and the return value of a ' +
    'driver that gives up by itself. Before Linux 5.16, a device without an IOMMU group.',
  provocation: {
    by: 'nothing',
    how:
      'The lab has an IOMMU for all of its devices, and what makes the driver of a PCI device fail ' +
      'needs hardware that QEMU does not have.',
  },
  basis: 'event',
  needs: ['mdev.create', 'vfio.unregister'],
  on: {
    'vfio.init:end'(transition, context) {
      if (isFailure(transition, context)) {
        report(transition, context, 'its vfio_device could not be initialised');
      }
    },
    'vfio.register:end': checkRegistration,
    'vfio.register_emulated:end': checkRegistration,
    'mdev.probe:end'(transition, context) {
      const { device } = transition;
      // What VFIO refused within the probe is reported already.
      if (!isFailure(transition, context) || !device || device.registerError > 0) return;
      if (device.initError > 0) return;
      report(
        transition,
        context,
        'returned by the probe of that driver',
        siblingsWords(device, device),
      );
    },
    'vfio.release:begin'(transition, context) {
      const { device } = transition;
      if (!device || device.isMdev || device.adopted || device.registeredAt > 0) return;
      if (device.registerError > 0 || context.world.qualityOf(device) !== 'observed') return;
      const task = taskOf(transition.event);
      context.report({
        device,
        task,
        message:
          `${who(task)} could not bind ${deviceWords(device)}${toDriver(device)}: the driver gave up ` +
          'after it had allocated a vfio_device, and before it registered that with VFIO. Its errno ' +
          'was not observed.',
      });
    },
  },
  examples: {
    fires: [
      {
        title: 'VFIO does not register a device without an IOMMU group',
        run(scenario) {
          bindPciFails(scenario, '0000:01:00.0', { error: EINVAL, at: 'register' });
        },
      },
      {
        title: 'its vfio_device cannot be initialised',
        run(scenario) {
          bindPciFails(scenario, '0000:01:00.0', { error: ENOMEM, at: 'init' });
        },
      },
      {
        title: 'the driver gives up between the two, as vfio-pci does for a bridge',
        run(scenario) {
          bindPciFails(scenario, '0000:01:00.0', { error: 0, at: 'between' });
        },
      },
    ],
    doesNotFire: [
      {
        title: 'bound and unbound',
        run(scenario) {
          const device = scenario.bindPci('0000:01:00.0');
          scenario.unbindPciBegins(device);
          scenario.unbindPciEnds(device);
        },
      },
      {
        title: 'an mdev that is being created: that is create-failed',
        also: ['create-failed'],
        run(scenario) {
          probeFailsAtRegistration(scenario, scenario.createEnters(scenario.parent()), {
            error: EINVAL,
            reached: 'registration',
          });
        },
      },
      {
        title: 'its driver is not ready, and will be asked again',
        run(scenario) {
          bindPciFails(scenario, '0000:01:00.0', { error: EPROBE_DEFER, at: 'register' });
        },
      },
      {
        title: 'it is registered already: that is vfio-double-register',
        also: ['vfio-double-register'],
        run(scenario) {
          bindPciFails(scenario, '0000:01:00.0', { error: EBUSY, at: 'register' });
        },
      },
    ],
  },
};

function checkRegistration(transition: ObservedTransition, context: RuleContext): void {
  const { event, device } = transition;
  if (!isFailure(transition, context) || !device) return;
  // vfio-double-register reports that.
  const isTwice = device.vfio === 'registered' || device.vfio === 'unregistering';
  if (isTwice || event.ret === -EBUSY) return;
  report(
    transition,
    context,
    `VFIO did not register it, ${whyRefused(device, -event.ret, context)}`,
  );
}

/** Whether a driver failed to be bound, and not within a create, which create-failed reports. */
function isFailure({ event, device }: ObservedTransition, { world }: RuleContext): boolean {
  if (event.ret >= 0 || event.ret === -EPROBE_DEFER || !device) return false;
  return world.calls.of(event.tid, POINT.MDEV_CREATE) === undefined;
}

function report(
  { event, device }: ObservedTransition,
  context: RuleContext,
  what: string,
  others = '',
): void {
  if (!device) return;
  const task = taskOf(event);
  context.report({
    device,
    task,
    message:
      `${who(task)} could not bind ${deviceWords(device)}${toDriver(device)}: ` +
      `${errnoName(-event.ret)}, ${what}.${others}`,
  });
}

function toDriver(device: Device): string {
  const driver = driverOf(device);
  return driver === '' ? '' : ` to the driver ${driver}`;
}

function whyRefused({ bus, name }: Device, errno: number, { host }: RuleContext): string {
  if (errno === ENOMEM) return 'because the kernel has no memory left';
  if (errno !== EINVAL && errno !== ENODEV) return 'for a reason that the kernel does not report';
  switch (host.hasIommuGroup?.(bus, name)) {
    case false:
      return 'because it has no IOMMU group: the IOMMU is off, or does not cover the device';
    case true:
      return 'although it has an IOMMU group, so probably because the IOMMU cannot enforce cache coherency';
    default:
      return 'probably because it has no IOMMU group';
  }
}
