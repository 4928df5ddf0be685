import { EINVAL, errnoName } from '../engine/errno.ts';
import { refusalOf } from '../engine/refusal.ts';
import type { ObservedTransition, Rule, RuleContext } from '../engine/rule.ts';
import { unviable, unviableWords } from '../engine/viability.ts';
import { seconds, who } from '../engine/words.ts';
import { closeGroup, groupHas, openGroup } from '../scenario/vfio.ts';

export const groupNotViable: Rule = {
  id: 'group-not-viable',
  title: 'A device of the IOMMU group is bound to a driver of the host',
  severity: 'warning',
  description:
    'A VMM could not use an IOMMU group because the group is not viable: VFIO gives a group to ' +
    'user space only as a whole, so each of its devices has to be bound to a driver of VFIO or to ' +
    'none. One is bound to a driver of the host instead, which the message names. QEMU asks for ' +
    'the state of the group and closes it again, so no call fails; other VMMs continue, and get EPERM ' +
    'for the container and EINVAL for the device, which look like errors of their own.',
  remediation:
    'Bind each of the devices that the message names to vfio-pci, or unbind it from its driver, if ' +
    'the host can do without it. If the host needs it, move the device to another slot or use ' +
    'other firmware settings (ACS), so that it gets a group of its own. A driver that is bound at ' +
    'boot has to be kept off by driver_override or an initramfs that loads vfio-pci first.',
  references:
    'VFIO_GROUP_FLAGS_VIABLE in include/uapi/linux/vfio.h; iommu_group_claim_dma_owner() in ' +
    'drivers/iommu/iommu.c; vfio_group_viable() before Linux 5.19',
  evidence:
    'The lifecycle of the device that the group was opened for, and the drivers of its siblings.',
  blindSpot:
    'A replay, because only the running host shows the drivers of the siblings. A group that was ' +
    'opened before the agent started.',
  notByCdev: 'bind-refused names the sibling where the kernel refuses a bind because of it',
  provocation: {
    by: 'user',
    how:
      'A function is bound to vfio-pci while its sibling in the group keeps its driver, and the ' +
      'group is opened and closed.',
  },
  basis: 'state',
  needs: ['vfio.group.open', 'vfio.device.open', 'vfio.group.set_kvm', 'vfio.register'],
  on: {
    'vfio.device.get_fd:end'(transition, context) {
      const { event, device, request } = transition;
      const refusal = refusalOf(transition, context);
      if (refusal?.because !== 'not viable' || !request) return;
      context.report({
        device,
        task: request.task,
        message:
          `${who(request.task)} could not open ${request.name} in group ${request.groupId}: ` +
          `${errnoName(-event.ret)}, because the group is not viable: ` +
          unviableWords(request.groupId, refusal.group),
      });
    },
    'vfio.group.close:begin': checkUnused,
  },
  examples: {
    fires: [
      {
        title: 'QEMU asks for the state of the group, and closes it',
        run(scenario) {
          const device = scenario.bindPci('0000:01:00.0');
          groupHas(scenario, device, [{ name: '0000:01:00.1', driver: 'snd_hda_intel' }]);
          openGroup(scenario, device);
          closeGroup(scenario, device, { container: false });
        },
      },
      {
        title: 'another VMM requests the device all the same',
        run(scenario) {
          const device = scenario.bindPci('0000:01:00.0');
          groupHas(scenario, device, [
            { name: '0000:00:01.0', driver: 'pcieport' },
            { name: '0000:01:00.1', driver: 'snd_hda_intel' },
            { name: '0000:01:00.2', driver: undefined },
          ]);
          openGroup(scenario, device);
          scenario.getFdFails(device, EINVAL);
          closeGroup(scenario, device, { container: false });
        },
      },
    ],
    doesNotFire: [
      {
        title: 'a viable group is opened and closed',
        run(scenario) {
          const device = scenario.bindPci('0000:01:00.0');
          groupHas(scenario, device, [
            { name: '0000:00:01.0', driver: 'pcieport' },
            { name: '0000:01:00.1', driver: 'vfio-pci' },
            { name: '0000:01:00.2', driver: 'pci-stub' },
            { name: '0000:01:00.3', driver: undefined },
          ]);
          openGroup(scenario, device);
          closeGroup(scenario, device, { container: false });
        },
      },
      {
        title: 'the group has no container, and is viable: that is open-failed',
        also: ['open-failed'],
        run(scenario) {
          const device = scenario.bindPci('0000:01:00.0');
          groupHas(scenario, device, []);
          openGroup(scenario, device);
          scenario.getFdFails(device, EINVAL);
        },
      },
      {
        title: 'the drivers of its devices are not known',
        run(scenario) {
          const device = scenario.bindPci('0000:01:00.0');
          openGroup(scenario, device);
          closeGroup(scenario, device, { container: false });
        },
      },
      {
        title: 'a sibling got its driver back after the device was used',
        run(scenario) {
          const device = scenario.bindPci('0000:01:00.0');
          openGroup(scenario, device);
          scenario.close(scenario.open(device, { vm: scenario.createVm() }));
          groupHas(scenario, device, [{ name: '0000:01:00.1', driver: 'snd_hda_intel' }]);
          closeGroup(scenario, device);
        },
      },
    ],
  },
};

/** Of a process that opened a group and closed it without having requested a device. */
function checkUnused({ event, group }: ObservedTransition, context: RuleContext): void {
  if (!group?.opener || group.openedAt === 0 || group.requests > 0) return;
  const [device] = group.devices;
  if (!device) return;
  const found = unviable(group.id, context);
  if (!found) return;
  context.report({
    device,
    task: group.opener,
    message:
      `${who(group.opener)} opened VFIO group ${group.id}, and it was closed ` +
      `${seconds(event.time - group.openedAt)} later without a device of it having been requested, ` +
      `probably because the group is not viable: ${unviableWords(group.id, found)}`,
  });
}
