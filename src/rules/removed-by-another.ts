import type { Moment } from '../lifecycle/moment.ts';
import type { Rule, RuleContext } from './rule.ts';
import type { Actor } from './told.ts';
import { createdByAnother, deviceWords, isAnother, openers, vmWords, who } from './words.ts';

const LIBVIRT: Actor = { pid: 450, comm: 'libvirtd', cgroup: 2100 };
const ADMIN: Actor = { pid: 700, comm: 'bash', cgroup: 3300 };
const USER: Actor = { pid: 701, comm: 'bash', uid: 1000, cgroup: 2100 };

export const removedByAnother: Rule = {
  id: 'removed-by-another',
  title: 'A device in use is removed by someone who did not create it',
  severity: 'warning',
  severityVaries: 'Only information when the device is open without a VM.',
  meaning:
    'Whoever created the device, such as a management service, thinks that the VM still has it, and ' +
    'nobody tells it otherwise. If the driver can ask the VMM to let go, the guest loses the device ' +
    'within moments and nothing else will show; if not, the removal waits, and remove-stall follows. ' +
    'Someone else is another user, or a process of another control group: of another service, ' +
    'container or login. Process ids tell nothing, because each command of a shell has its own.',
  advice:
    'Ask whoever removes it whether that was meant, and tell the owner of the VM. The removal cannot ' +
    'be called back: once begun, it ends with the device.',
  origin:
    'vfio/mdev: Improve the create/remove sequence (2019), where users remove what a service has set ' +
    'up; vfio_unregister_group_dev() in drivers/vfio/vfio_main.c',
  evidence:
    'Creator and remover with user, control group, systemd unit and container, and who has the device ' +
    'open.',
  provocation: {
    by: 'user',
    how: 'A device is created in one control group, opened for a VM, and removed in another.',
  },
  basis: 'state',
  needs: ['mdev.create', 'mdev.remove', 'vfio.device.open', 'vfio.device.close'],
  on: { 'vfio.unregister:begin': check },
  examples: {
    fires: [
      {
        title: 'a service has set it up for a VM, an administrator removes it',
        tell(story) {
          const device = story.create(story.parent(), { as: LIBVIRT });
          story.open(device, { vm: story.createVm() });
          story.removeBegins(device, { as: ADMIN });
        },
      },
      {
        title: 'another user of the same control group removes it',
        tell(story) {
          const device = story.create(story.parent(), { as: LIBVIRT });
          story.open(device, { vm: story.createVm() });
          story.removeBegins(device, { as: USER });
        },
      },
      {
        title: 'it is in use, but not by a VM',
        tell(story) {
          const device = story.create(story.parent(), { as: LIBVIRT });
          story.open(device);
          story.removeBegins(device, { as: ADMIN });
        },
        also: ['open-without-kvm'],
      },
    ],
    silent: [
      {
        title: 'its creator removes it, by another process',
        tell(story) {
          const device = story.create(story.parent(), { as: LIBVIRT });
          story.open(device, { vm: story.createVm() });
          story.removeBegins(device, { as: { ...LIBVIRT, pid: 451, comm: 'mdevctl' } });
        },
      },
      {
        title: 'someone else removes what nobody uses any more',
        tell(story) {
          const device = story.create(story.parent(), { as: LIBVIRT });
          story.close(story.open(device, { vm: story.createVm() }));
          story.remove(device, { as: ADMIN });
        },
      },
      {
        title: 'the removal of someone else is refused',
        also: ['remove-failed'],
        tell(story) {
          const device = story.create(story.parent(), { as: LIBVIRT });
          story.open(device, { vm: story.createVm() });
          const removal = story.removeBegins(device, { as: ADMIN, idle: true });
          story.removeEnds(removal, { error: 19 });
        },
      },
      {
        title: 'where control groups do not tell, the same user is the same',
        tell(story) {
          const device = story.create(story.parent(), { as: { pid: 450, comm: 'sh' } });
          story.open(device, { vm: story.createVm() });
          story.removeBegins(device, { as: ADMIN });
        },
      },
    ],
  },
};

function check({ event, device }: Moment, { host, report }: RuleContext): void {
  if (!device) return;
  const { creator, remover, vm, opens } = device;
  // Where the kernel does not count, what was seen to be open has to do.
  const isOpen = event.openCount >= 0 ? event.openCount > 0 : opens.length > 0;
  if (!isOpen || !creator || !remover || !isAnother(creator, remover)) return;
  report({
    device,
    vm,
    task: remover,
    severity: vm ? 'warning' : 'info',
    says:
      `${deviceWords(device)} is being removed by ${who(remover)} while ` +
      `${vm ? `${vmWords(vm)} uses it` : `${openers(device)} has it open`}.` +
      createdByAnother(device, host),
  });
}
