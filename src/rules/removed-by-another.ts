import { isAnother } from '../engine/actor.ts';
import type { ObservedTransition, Rule, RuleContext } from '../engine/rule.ts';
import { createdByAnother, deviceWords, openWords, vmWords, who } from '../engine/words.ts';
import type { Actor } from '../scenario/types.ts';

const LIBVIRT: Actor = { pid: 450, comm: 'libvirtd', cgroup: 2100 };
const ADMIN: Actor = { pid: 700, comm: 'bash', cgroup: 3300 };
const USER: Actor = { pid: 701, comm: 'bash', uid: 1000, cgroup: 2100 };

export const removedByAnother: Rule = {
  id: 'removed-by-another',
  title: 'A device in use is removed by someone who did not create it',
  severity: 'warning',
  severityVaries: 'Info when the device is open without a VM.',
  description:
    'The creator of the device, such as a management service, believes that the VM still has ' +
    'it, and nothing notifies it. If the driver can ask the VMM to release the device, the ' +
    'guest loses it at once and nothing else will show; if not, the removal waits, and ' +
    'remove-stall follows. Someone else is another user, or a process of another service or ' +
    'container, or of another person who has logged in. A service that was restarted is the same, ' +
    'and so is a person in another session. Process ids are not compared, because each command of ' +
    'a shell has its own.',
  remediation:
    'Inform the owner of the VM, and ask the remover whether it was intended. The removal cannot ' +
    'be cancelled: once begun, it ends with the device gone.',
  references:
    'vfio/mdev: Improve the create/remove sequence (2019), where users remove what a service has set ' +
    'up; vfio_unregister_group_dev() in drivers/vfio/vfio_main.c',
  evidence:
    'Creator and remover with user, control group, systemd unit and container, and who has the ' +
    'device open.',
  blindSpot: 'A removal by another program of the same user and service as the creator.',
  provocation: {
    by: 'user',
    how: 'A device is created in one control group, opened for a VM, and removed in another.',
  },
  basis: 'state',
  needs: ['mdev.create', 'mdev.remove', 'vfio.device.open', 'vfio.device.close'],
  on: {
    // A service that has been restarted has another control group, and the old one loses its name.
    'mdev.create:begin'({ device }, { host }) {
      if (device?.creator) host.controlGroup?.(device.creator);
    },
    'vfio.unregister:begin': check,
  },
  examples: {
    fires: [
      {
        title: 'a service has set it up for a VM, an administrator removes it',
        run(scenario) {
          const device = scenario.create(scenario.parent(), { as: LIBVIRT });
          scenario.open(device, { vm: scenario.createVm() });
          scenario.removeBegins(device, { as: ADMIN });
        },
      },
      {
        title: 'another user of the same control group removes it',
        run(scenario) {
          const device = scenario.create(scenario.parent(), { as: LIBVIRT });
          scenario.open(device, { vm: scenario.createVm() });
          scenario.removeBegins(device, { as: USER });
        },
      },
      {
        title: 'it is in use, but not by a VM',
        run(scenario) {
          const device = scenario.create(scenario.parent(), { as: LIBVIRT });
          scenario.open(device);
          scenario.removeBegins(device, { as: ADMIN });
        },
        also: ['open-without-kvm'],
      },
    ],
    doesNotFire: [
      {
        title: 'its creator removes it, by another process',
        run(scenario) {
          const device = scenario.create(scenario.parent(), { as: LIBVIRT });
          scenario.open(device, { vm: scenario.createVm() });
          scenario.removeBegins(device, { as: { ...LIBVIRT, pid: 451, comm: 'mdevctl' } });
        },
      },
      {
        title: 'someone else removes what nobody uses any more',
        run(scenario) {
          const device = scenario.create(scenario.parent(), { as: LIBVIRT });
          scenario.close(scenario.open(device, { vm: scenario.createVm() }));
          scenario.remove(device, { as: ADMIN });
        },
      },
      {
        title: 'the removal by someone else is refused',
        also: ['remove-failed'],
        run(scenario) {
          const device = scenario.create(scenario.parent(), { as: LIBVIRT });
          scenario.open(device, { vm: scenario.createVm() });
          const removal = scenario.removeBegins(device, { as: ADMIN, idle: true });
          scenario.removeEnds(removal, { error: 19 });
        },
      },
      {
        title: 'control groups are not known, and the user is the same',
        run(scenario) {
          const device = scenario.create(scenario.parent(), { as: { pid: 450, comm: 'sh' } });
          scenario.open(device, { vm: scenario.createVm() });
          scenario.removeBegins(device, { as: ADMIN });
        },
      },
    ],
  },
};

function check({ event, device }: ObservedTransition, { host, report }: RuleContext): void {
  if (!device) return;
  const { creator, remover, vm, opens } = device;
  // On a kernel that does not count opens, the observed opens have to do.
  const isOpen = event.openCount >= 0 ? event.openCount > 0 : opens.length > 0;
  if (!isOpen || !creator || !remover || !isAnother(creator, remover, host)) return;
  report({
    device,
    vm,
    task: remover,
    severity: vm ? 'warning' : 'info',
    message:
      `${deviceWords(device)} is being removed by ${who(remover)} while ` +
      `${vm ? `${vmWords(vm)} uses it` : `it is ${openWords(device)}`}.` +
      createdByAnother(device, host),
  });
}
