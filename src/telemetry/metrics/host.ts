/** What there is on the host, in sums: no series here is about a single device or VM. */
import type { Device } from '../../lifecycle/objects.ts';
import { type MetricGroup, tally } from './metric.ts';

export const HOST: MetricGroup = {
  title: 'Devices, parents, VMs',
  about:
    'Sums over what is alive. Their labels are as many as the host has parents, types and states, ' +
    'however many devices come and go.',
  metrics: [
    {
      name: 'vfioscope_devices',
      type: 'gauge',
      labels: ['state', 'parent', 'type'],
      help: 'Devices that are alive',
      query: 'sum by (state) (vfioscope_devices)',
      collect({ source }, samples) {
        const by = (d: Device) => `${d.state}\0${d.parentName}\0${d.type}`;
        for (const { labels, count } of tally(source.world.devices, by))
          samples.show(count, labels);
      },
    },
    {
      name: 'vfioscope_devices_waiting',
      type: 'gauge',
      labels: ['parent', 'type'],
      help: 'Devices whose removal has begun and waits for those who have them open',
      query: 'sum by (instance) (vfioscope_devices_waiting) > 0',
      collect({ source }, samples) {
        const waiting = [...source.world.devices].filter(({ isWaiting }) => isWaiting);
        for (const { labels, count } of tally(waiting, (d) => `${d.parentName}\0${d.type}`)) {
          samples.show(count, labels);
        }
      },
    },
    {
      name: 'vfioscope_parents',
      type: 'gauge',
      labels: ['state'],
      help: 'Parents of mediated devices',
      query: 'vfioscope_parents{state="unregistering"} > 0',
      collect({ source }, samples) {
        for (const { labels, count } of tally(source.world.parents, (p) => p.state)) {
          samples.show(count, labels);
        }
      },
    },
    {
      name: 'vfioscope_parent_available_instances',
      type: 'gauge',
      labels: ['parent', 'type'],
      help: 'How many more devices of a type can be created; types of one parent may share their room',
      query: 'max by (instance, parent) (vfioscope_parent_available_instances) == 0',
      collect({ source }, samples) {
        for (const { name, state } of source.world.parents) {
          if (state !== 'registered') continue;
          for (const [type, count] of source.availableInstances(name) ?? []) {
            samples.show(count, [name, type]);
          }
        }
      },
    },
    {
      name: 'vfioscope_vms',
      type: 'gauge',
      labels: ['state'],
      help: 'VMs that KVM knows; released ones live on though nobody has their file descriptor',
      query: 'vfioscope_vms{state="released"} > 0',
      collect({ source }, samples) {
        for (const { labels, count } of tally(source.world.vms, (vm) => vm.state)) {
          samples.show(count, labels);
        }
      },
    },
  ],
};
