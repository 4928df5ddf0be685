/** Alerts from the sums of a host, independent of its rules: calls that stall or fail, and capacity. */
import { type AlertGroup, API } from './alert.ts';

const AVAILABLE_INSTANCES = {
  shows: 'How many devices each parent can still create, by mdev type.',
  command: 'grep . /sys/class/mdev_bus/*/mdev_supported_types/*/available_instances',
};
const DRIVER_LOG = {
  shows: 'What the driver logs.',
  command: 'journalctl -k -b --since -30m',
};

export const OPERATIONS: AlertGroup = {
  title: 'Stalls, failures, capacity',
  description: 'From sums that every agent exports, independent of its rules.',
  alerts: [
    {
      name: 'VfioscopeCreateStalled',
      severity: 'warning',
      for: 300,
      rationale:
        'Large vGPUs take a minute to set up, and creations on one parent wait for each other. When at ' +
        'least one device was in creation for five minutes without a break, that is no longer set-up.',
      expr: 'sum without (state) (vfioscope_devices{state="creating"}) > 0',
      summary:
        'A device creation on {{ $labels.parent }} of {{ $labels.instance }} does not return',
      description:
        'For more than five minutes, devices of type {{ $labels.mdev_type }} have been in creation on {{ $labels.parent }} of {{ $labels.instance }} without a break ({{ $value }} now). The process that writes to "create" is blocked in the kernel, and further creations on that parent may wait behind it.',
      runbook: {
        firstDo: 'Stop whatever requests more devices of that parent.',
        firstDont:
          'Do not count on killing the creator: one that is blocked uninterruptibly cannot be killed.',
        confirm: [
          {
            shows: 'Which devices are in creation, since when, and by which process.',
            command: `curl -s ${API}/api/v1/devices | jq '.devices[] | select(.state == "creating") | {id, parent, mdevType, created, createdBy}'`,
          },
          {
            shows: 'Where their creators are blocked in the kernel.',
            command: 'grep -A 12 mdev_device_create /proc/[0-9]*/stack',
          },
          DRIVER_LOG,
        ],
        fix:
          'If the driver waits for firmware or hardware, reset that as its vendor describes. A creator ' +
          'that cannot be killed requires a reboot.',
        why:
          'A write to `create` does not return: the driver does not finish setting the device up. The ' +
          'histogram of durations counts a call only when it returns, so it does not show this one.',
        falsePositives:
          'A script that creates hundreds of devices one after the other: one is always in creation.',
      },
      fires: {
        title: 'a driver hangs in its probe function',
        series: ['vfioscope_devices{state="creating",parent="gpu0",mdev_type="A40-8Q"} _ 1x20'],
        at: 10,
        labels: { parent: 'gpu0', mdev_type: 'A40-8Q' },
      },
      doesNotFire: {
        title: 'a creation takes three minutes, and another follows later',
        series: [
          'vfioscope_devices{state="creating",parent="gpu0",mdev_type="A40-8Q"} _ 1x2 stale _ _ 1x2 stale',
        ],
        at: 10,
      },
    },
    {
      name: 'VfioscopeZombieVms',
      severity: 'info',
      for: 1800,
      rationale:
        'VfioscopeVmLeaked covers what rules can prove. This alert covers the rest, such as VMs that ' +
        'are older than the agent. Half an hour is longer than the teardown of any guest.',
      expr: 'sum without (state) (vfioscope_vms{state="zombie"}) > 0',
      summary: '{{ $value }} zombie VM(s) on {{ $labels.instance }}',
      description:
        'For half an hour, there have been VMs on {{ $labels.instance }} ({{ $value }} now) whose file descriptors are all closed and that the kernel has not freed. The memory of their guests stays allocated. GET /api/v1/vms on the agent of that host shows which VMs, and what may hold them.',
      runbook: {
        firstDo: 'Find out whether a process still holds a device of the VM (step 1, `holders`).',
        firstDont: 'Do not unload KVM or the module of the CPU (kvm_intel, kvm_amd).',
        confirm: [
          {
            shows: 'Which VMs, who created them, and what holds them.',
            command: `curl -s ${API}/api/v1/vms | jq '.vms[] | select(.state == "zombie") | {id, quality, createdBy, fdClosed, usersCount, devices, holders}'`,
          },
          {
            shows: 'Directories of VMs (PID-FD) in debugfs whose process no longer exists.',
            command:
              'ls /sys/kernel/debug/kvm | grep - | while IFS=- read pid fd; do [ -d /proc/$pid ] || echo $pid-$fd; done',
          },
        ],
        fix:
          'As in [VfioscopeVmLeaked](VfioscopeVmLeaked.md): end the process that holds a device of the ' +
          'VM; if no process does, plan a reboot.',
        why: 'VMs exist that no process has a file descriptor of. Their memory stays allocated.',
        falsePositives: 'A process keeps a vcpu or a device open on purpose, as some debuggers do.',
      },
      fires: {
        title: 'a VM that is older than the agent is never freed',
        series: ['vfioscope_vms{state="zombie"} _ 1x60'],
        at: 45,
        labels: {},
      },
      doesNotFire: {
        title: 'a guest with much memory is torn down',
        series: [
          'vfioscope_vms{state="zombie"} _ 1x9 stale',
          'vfioscope_vms{state="running"} 5x60',
        ],
        at: 45,
      },
    },
    {
      name: 'VfioscopeParentFull',
      severity: 'info',
      for: 900,
      rationale:
        'Many hosts are meant to be full: it is no fault, but it explains refused creations. A VM that ' +
        'restarts gives its instance back and takes it again within the 15 minutes.',
      expr: 'max without (mdev_type) (vfioscope_parent_available_instances) == 0',
      summary: '{{ $labels.parent }} of {{ $labels.instance }} is full',
      description:
        'The parent {{ $labels.parent }} of {{ $labels.instance }} cannot create another device of any mdev type. VMs that need one have to be placed elsewhere.',
      runbook: {
        firstDo: 'Place new VMs on other hosts.',
        firstDont: 'Do not remove a device before you know that nobody uses it (step 2).',
        confirm: [
          AVAILABLE_INSTANCES,
          {
            shows: 'Who has its devices, and which of them nobody has open.',
            command: `curl -s ${API}/api/v1/devices | jq '.devices[] | {id, parent, mdevType, state, openCount, createdBy, openedBy}'`,
          },
        ],
        fix: 'Remove devices that nobody uses, or place VMs elsewhere.',
        why: 'No mdev type of the parent has an instance left.',
        falsePositives: 'The host is meant to be full: silence the alert there.',
      },
      fires: {
        title: 'both types are used up',
        series: [
          'vfioscope_parent_available_instances{parent="gpu0",mdev_type="A40-8Q"} 0x60',
          'vfioscope_parent_available_instances{parent="gpu0",mdev_type="A40-16Q"} 0x60',
        ],
        at: 20,
        labels: { parent: 'gpu0' },
      },
      doesNotFire: {
        title: 'the large type is used up, the small one is not',
        series: [
          'vfioscope_parent_available_instances{parent="gpu0",mdev_type="A40-8Q"} 1x60',
          'vfioscope_parent_available_instances{parent="gpu0",mdev_type="A40-16Q"} 0x60',
        ],
        at: 20,
      },
    },
    {
      name: 'VfioscopeTypeUsedUp',
      severity: 'warning',
      for: 900,
      rationale:
        'The next VM that needs the type cannot be placed on any host, so somebody has to free or buy ' +
        'capacity: today, not at night. VMs that restart give their instance back within the 15 minutes.',
      // Types share the capacity of their parent, so a type that nobody uses may stay at zero: only
      // types with devices count.
      expr: 'sum without (instance, parent) (vfioscope_parent_available_instances) == 0 and on (mdev_type) vfioscope_devices',
      summary: 'No host can create another {{ $labels.mdev_type }}',
      description:
        'No parent of any host that this Prometheus scrapes has an instance of {{ $labels.mdev_type }} left, so the next VM that needs one cannot be placed. Hosts whose agent cannot be scraped are not counted.',
      runbook: {
        firstDo:
          'Find the devices of that type that nobody uses (step 1: states other than `open`).',
        firstDont:
          'Do not order hardware before you have looked for VfioscopeDeviceLeaked and ' +
          'VfioscopeCapacityLost: what was lost there is missing here.',
        confirm: [
          {
            shows:
              'In Prometheus: where the devices of that type are, and in which state (`TYPE` is the label of the alert).',
            command: `promtool query instant http://localhost:9090 'sum by (instance, parent, state) (vfioscope_devices{mdev_type="TYPE"})'`,
          },
          AVAILABLE_INSTANCES,
        ],
        fix:
          'Remove devices that nobody uses, and follow VfioscopeDeviceLeaked and ' +
          'VfioscopeCapacityLost where they fire. Otherwise more hardware is needed.',
        why: 'Devices of the mdev type exist, and the sum of its available instances over all hosts is zero.',
        falsePositives:
          'The fleet is meant to be full, or another type uses the capacity that both share on purpose.',
      },
      fires: {
        title: 'neither of two parents has an instance left',
        series: [
          'vfioscope_devices{state="open",parent="gpu0",mdev_type="A40-8Q"} 6x60',
          'vfioscope_parent_available_instances{parent="gpu0",mdev_type="A40-8Q"} 0x60',
          'vfioscope_parent_available_instances{parent="gpu1",mdev_type="A40-8Q"} 0x60',
          'vfioscope_parent_available_instances{parent="gpu0",mdev_type="A40-16Q"} 0x60',
          'vfioscope_parent_available_instances{parent="gpu1",mdev_type="A40-16Q"} 0x60',
          'vfioscope_parent_available_instances{parent="gpu0",mdev_type="A40-1B"} 4x60',
          'vfioscope_parent_available_instances{parent="gpu1",mdev_type="A40-1B"} 4x60',
        ],
        at: 20,
        labels: { mdev_type: 'A40-8Q' },
      },
      doesNotFire: {
        title: 'another parent has one left',
        series: [
          'vfioscope_devices{state="open",parent="gpu0",mdev_type="A40-8Q"} 6x60',
          'vfioscope_parent_available_instances{parent="gpu0",mdev_type="A40-8Q"} 0x60',
          'vfioscope_parent_available_instances{parent="gpu0",mdev_type="A40-1B"} 4x60',
          'vfioscope_parent_available_instances{parent="gpu1",mdev_type="A40-8Q"} 1x60',
        ],
        at: 20,
      },
    },
  ],
};
