/** Sums over the host: no series here is about a single device or VM. */
import { isNeverOpened } from '../../engine/conditions.ts';
import { CDEV, PARENT, VM } from '../../lifecycle/automata.ts';
import type { Device } from '../../lifecycle/objects.ts';
import { type MetricGroup, tally, withZeros } from './metric.ts';

/** The states that an object which has not ended can be in: those that a legal step leaves. */
const LIVE_PARENT_STATES = [...new Set(PARENT.rows.map(([from]) => from))];
const LIVE_CDEV_STATES = [...new Set(CDEV.rows.map(([from]) => from))];
const LIVE_VM_STATES = [...new Set(VM.rows.map(([from]) => from))];

const kindOf = ({ parentName, type }: Device) => `${parentName}\0${type}`;

export const HOST: MetricGroup = {
  title: 'Devices, parents, VMs',
  about:
    'Sums over the tracked objects that exist now. The number of series depends on how many parents, ' +
    'mdev types and states there are, not on how many devices come and go.',
  metrics: [
    {
      name: 'vfioscope_devices',
      type: 'gauge',
      labels: ['state', 'parent', 'mdev_type'],
      help: 'Devices that exist, by state',
      query: 'sum by (state) (vfioscope_devices)',
      collect({ source, stateOf }, samples) {
        const by = (d: Device) => `${stateOf(d)}\0${d.parentName}\0${d.type}`;
        for (const { labels, count } of tally(source.world.devices, by))
          samples.show(count, labels);
      },
    },
    {
      name: 'vfioscope_devices_never_opened',
      type: 'gauge',
      labels: ['parent', 'mdev_type'],
      help: 'Devices that nobody has opened since they were created or bound, as far as their whole lifecycle was observed',
      query: 'sum by (instance, parent) (vfioscope_devices_never_opened) > 0',
      collect({ source }, samples) {
        const { world } = source;
        const never = [...world.devices].filter(
          (device) => isNeverOpened(device) && world.qualityOf(device) === 'observed',
        );
        for (const { labels, count } of tally(never, kindOf)) samples.show(count, labels);
      },
    },
    {
      name: 'vfioscope_removals_waiting',
      type: 'gauge',
      labels: ['parent', 'mdev_type'],
      help: 'Device removals that have begun and wait for users to close the device',
      query: 'sum by (instance) (vfioscope_removals_waiting) > 0',
      collect({ source }, samples) {
        const waiting = [...source.world.devices].filter(({ isWaiting }) => isWaiting);
        const kinds = [...new Set(Array.from(source.world.devices, kindOf))];
        for (const { labels, count } of withZeros(tally(waiting, kindOf), kinds)) {
          samples.show(count, labels);
        }
      },
    },
    {
      name: 'vfioscope_parents',
      type: 'gauge',
      labels: ['state'],
      help: 'Parents of mediated devices, by state',
      query: 'vfioscope_parents{state="unregistering"} > 0',
      collect({ source }, samples) {
        const parents = tally(source.world.parents, ({ state }) => state);
        for (const { labels, count } of withZeros(parents, LIVE_PARENT_STATES)) {
          samples.show(count, labels);
        }
      },
    },
    {
      name: 'vfioscope_parent_available_instances',
      type: 'gauge',
      labels: ['parent', 'mdev_type'],
      help: 'How many more mdevs of a type can be created (available_instances); types of one parent may share their capacity',
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
      name: 'vfioscope_iommufd_contexts',
      type: 'gauge',
      labels: [],
      help: 'iommufd contexts (open /dev/iommu), also those that only a bound device still holds',
      query: 'vfioscope_iommufd_contexts',
      collect({ source }, samples) {
        samples.show(source.world.iommufds.size);
      },
    },
    {
      name: 'vfioscope_cdevs',
      type: 'gauge',
      labels: ['state'],
      help: 'Open device cdevs (/dev/vfio/devices/vfioN), by state; one that is unbound keeps its device registered, but does not open it',
      query: 'vfioscope_cdevs{state="unbound"} > 0',
      collect({ source }, samples) {
        const cdevs = tally(source.world.cdevs, ({ state }) => state);
        for (const { labels, count } of withZeros(cdevs, LIVE_CDEV_STATES)) {
          samples.show(count, labels);
        }
      },
    },
    {
      name: 'vfioscope_vms',
      type: 'gauge',
      labels: ['state'],
      help: 'KVM VMs, by state; a zombie is kept alive by references although its last file descriptor is closed',
      query: 'vfioscope_vms{state="zombie"} > 0',
      collect({ source }, samples) {
        const vms = tally(source.world.vms, ({ state }) => state);
        for (const { labels, count } of withZeros(vms, LIVE_VM_STATES)) samples.show(count, labels);
      },
    },
  ],
};
