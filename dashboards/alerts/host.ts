/** Alerts on what the sums of a host show, whatever the rules say: calls that hang or fail, and room. */
import { type AlertGroup, API } from './alert.ts';
import { grown } from './expressions.ts';

const offers = {
  does: 'What the parents offer, by type.',
  command: 'grep . /sys/class/mdev_bus/*/mdev_supported_types/*/available_instances',
};

export const HOST: AlertGroup = {
  title: 'Stalls, failures, capacity',
  about: 'From the sums that each host has, whatever its rules say.',
  alerts: [
    {
      name: 'VfioscopeCreateStalled',
      severity: 'warning',
      for: 300,
      because:
        'Large vGPUs take a minute to set up, and devices of one parent wait for each other; five ' +
        'minutes in which there always was one in creation are no setup any more.',
      expr: 'sum without (state) (vfioscope_devices{state="creating"}) > 0',
      summary: 'A creation on {{ $labels.parent }} of {{ $labels.instance }} does not end',
      description:
        '{{ $value }} device(s) of type {{ $labels.type }} are being created on {{ $labels.parent }} of {{ $labels.instance }}, for more than five minutes. Whoever writes to `create` is blocked; others on that parent may wait behind it.',
      runbook: {
        means:
          'A write to `create` does not return: the driver does not finish to set the device up. A call ' +
          'that blocks is in no histogram before it ends, therefore this alert.',
        confirm: [
          {
            does: 'Which devices, since when, and by whom.',
            command: `curl -s ${API}/api/v1/devices | jq '.devices[] | select(.state == "creating") | {id, parent, type, created, createdBy}'`,
          },
          {
            does: 'Where their creators are in the kernel.',
            command: 'grep -A 12 mdev_device_create /proc/[0-9]*/stack',
          },
          {
            does: 'What the driver says.',
            command: 'journalctl -k -b --since -30m',
          },
        ],
        fix:
          'If the driver waits for firmware or hardware, reset that as its maker says. Stop whatever ' +
          'asks for more devices of that parent. A creator that cannot be killed needs a reboot.',
        falseWhen:
          'A script that creates hundreds of devices, one after the other: there always is one in creation.',
      },
      fires: {
        title: 'a driver hangs in its probe',
        series: ['vfioscope_devices{state="creating",parent="gpu0",type="A40-8Q"} _ 1x20'],
        at: 10,
        labels: { parent: 'gpu0', type: 'A40-8Q' },
      },
      quiet: {
        title: 'three minutes of setup, and another later',
        series: [
          'vfioscope_devices{state="creating",parent="gpu0",type="A40-8Q"} _ 1x2 stale _ _ 1x2 stale',
        ],
        at: 10,
      },
    },
    {
      name: 'VfioscopeCreateFails',
      severity: 'warning',
      for: 0,
      because:
        'A VM does not get its device, by an error that no rule explains. It is told at once, and for ' +
        'the quarter of an hour after it.',
      expr: grown(
        'vfioscope_operation_errors_total{operation=~"create|bind",errno!~"EEXIST|EAGAIN|ENODEV|ENOSPC|EUSERS"}',
        'operation',
      ),
      summary: 'Devices cannot be created on {{ $labels.instance }}: {{ $labels.errno }}',
      description:
        'A driver on {{ $labels.instance }} refuses to set devices up, with {{ $labels.errno }}. /api/v1/devices on that host tells which under “ended”.',
      runbook: {
        means:
          'A creation failed with an error of its driver. Those that rules or other alerts tell of (a ' +
          'UUID in use, a full parent, a parent on its way out) are not among them.',
        confirm: [
          {
            does: 'Which devices, with which error, and by whom.',
            command: `curl -s ${API}/api/v1/devices | jq '.ended[] | select(.createError) | {id, parent, type, createError, createdBy}'`,
          },
          { does: 'What the driver says.', command: 'journalctl -k -b --since -30m' },
          offers,
        ],
        fix:
          'The errno is the driver’s own: ENOMEM and EIO are mostly of the hardware or its firmware, ' +
          'EINVAL of a type that does not go with those that are there. Its documentation and the ' +
          'kernel log tell.',
        falseWhen: 'A tool that finds out by trying which types a card can take.',
      },
      fires: {
        title: 'firmware does not answer',
        series: ['vfioscope_operation_errors_total{operation="create",errno="EIO"} _x2 1x30'],
        at: 5,
        labels: { errno: 'EIO' },
      },
      quiet: {
        title: 'a UUID was in use',
        series: ['vfioscope_operation_errors_total{operation="create",errno="EEXIST"} 0x2 1x30'],
        at: 5,
      },
    },
    {
      name: 'VfioscopeVmsReleased',
      severity: 'info',
      for: 1800,
      because:
        'VfioscopeVmLeaked tells what rules can prove. This tells of the rest, such as VMs from before ' +
        'the agent, of which nobody can say more than that they are there; half an hour is more than ' +
        'any guest takes to be torn down.',
      expr: 'sum without (state) (vfioscope_vms{state="released"}) > 0',
      summary: '{{ $value }} VM(s) on {{ $labels.instance }} live on without a file descriptor',
      description:
        'Nobody on {{ $labels.instance }} has the file of {{ $value }} VM(s) any more, and they are not freed for half an hour. /api/v1/vms on that host tells which, and who may hold them.',
      runbook: {
        means: 'VMs exist that no process has a file descriptor of. Their memory stays allocated.',
        confirm: [
          {
            does: 'Which, who made them, what holds them.',
            command: `curl -s ${API}/api/v1/vms | jq '.vms[] | select(.state == "released") | {id, quality, madeBy, fdClosed, usersCount, devices, holders}'`,
          },
          {
            does: 'Directories of VMs (PID-FD) in debugfs whose process is gone.',
            command:
              'ls /sys/kernel/debug/kvm | grep - | while IFS=- read pid fd; do [ -d /proc/$pid ] || echo $pid-$fd; done',
          },
        ],
        fix: 'As in VfioscopeVmLeaked: end who holds a device of it; if nobody does, plan a reboot.',
        falseWhen: 'Somebody keeps a vcpu or a device open on purpose, as some debuggers do.',
      },
      fires: {
        title: 'a VM from before the agent is never freed',
        series: ['vfioscope_vms{state="released"} _ 1x60'],
        at: 45,
        labels: {},
      },
      quiet: {
        title: 'a guest with much memory is torn down',
        series: [
          'vfioscope_vms{state="released"} _ 1x9 stale',
          'vfioscope_vms{state="running"} 5x60',
        ],
        at: 45,
      },
    },
    {
      name: 'VfioscopeParentFull',
      severity: 'info',
      for: 900,
      because:
        'A full parent is what many hosts are bought for; it explains refusals and is no fault. A ' +
        'quarter of an hour, because a VM that restarts gives its place back and takes it again.',
      expr: 'max without (type) (vfioscope_parent_available_instances) == 0',
      summary: '{{ $labels.parent }} of {{ $labels.instance }} is full',
      description:
        '{{ $labels.parent }} of {{ $labels.instance }} can give no device of any type any more.',
      runbook: {
        means: 'No type of the parent has an instance left.',
        confirm: [
          offers,
          {
            does: 'Who has its devices, and which of them nobody uses.',
            command: `curl -s ${API}/api/v1/devices | jq '.devices[] | {id, parent, type, state, openCount, createdBy, openedBy}'`,
          },
        ],
        fix: 'Remove devices that nobody uses, or place VMs elsewhere.',
        falseWhen: 'The host is meant to be full. Then silence it there.',
      },
      fires: {
        title: 'both types are used up',
        series: [
          'vfioscope_parent_available_instances{parent="gpu0",type="A40-8Q"} 0x60',
          'vfioscope_parent_available_instances{parent="gpu0",type="A40-16Q"} 0x60',
        ],
        at: 20,
        labels: { parent: 'gpu0' },
      },
      quiet: {
        title: 'the large type is used up, the small one is not',
        series: [
          'vfioscope_parent_available_instances{parent="gpu0",type="A40-8Q"} 1x60',
          'vfioscope_parent_available_instances{parent="gpu0",type="A40-16Q"} 0x60',
        ],
        at: 20,
      },
    },
    {
      name: 'VfioscopeTypeUsedUp',
      severity: 'warning',
      for: 900,
      because:
        'The next VM that wants the type cannot be placed anywhere, and somebody has to buy or clear ' +
        'something: today, not tonight. A quarter of an hour, as VMs that restart give back their place.',
      // Types share the room of their parent: those that nobody has devices of may be at zero for ever.
      expr: 'sum without (instance, parent) (vfioscope_parent_available_instances) == 0 and on (type) vfioscope_devices',
      summary: 'No host can give another {{ $labels.type }}',
      description:
        'No parent of any host that this Prometheus knows has a {{ $labels.type }} left. Parents of which the agent cannot be reached are not counted.',
      runbook: {
        means:
          'There are devices of a type, and the sum over all hosts of what is left of it is zero.',
        confirm: [
          {
            does: 'In Prometheus: where the devices of that type are, and in which state (`TYPE` is the label of the alert).',
            command: `promtool query instant http://localhost:9090 'sum by (instance, parent, state) (vfioscope_devices{type="TYPE"})'`,
          },
          offers,
        ],
        fix:
          'Clear what nobody uses, and look for VfioscopeDeviceLeaked and VfioscopeCapacityLost: what is ' +
          'lost there is missing here. Otherwise more hardware is needed.',
        falseWhen:
          'The fleet is meant to be full, or another type took the room that both share, by intent.',
      },
      fires: {
        title: 'two parents, both without',
        series: [
          'vfioscope_devices{state="open",parent="gpu0",type="A40-8Q"} 6x60',
          'vfioscope_parent_available_instances{parent="gpu0",type="A40-8Q"} 0x60',
          'vfioscope_parent_available_instances{parent="gpu1",type="A40-8Q"} 0x60',
          'vfioscope_parent_available_instances{parent="gpu0",type="A40-16Q"} 0x60',
          'vfioscope_parent_available_instances{parent="gpu1",type="A40-16Q"} 0x60',
          'vfioscope_parent_available_instances{parent="gpu0",type="A40-1B"} 4x60',
          'vfioscope_parent_available_instances{parent="gpu1",type="A40-1B"} 4x60',
        ],
        at: 20,
        labels: { type: 'A40-8Q' },
      },
      quiet: {
        title: 'another parent has one left',
        series: [
          'vfioscope_devices{state="open",parent="gpu0",type="A40-8Q"} 6x60',
          'vfioscope_parent_available_instances{parent="gpu0",type="A40-8Q"} 0x60',
          'vfioscope_parent_available_instances{parent="gpu0",type="A40-1B"} 4x60',
          'vfioscope_parent_available_instances{parent="gpu1",type="A40-8Q"} 1x60',
        ],
        at: 20,
      },
    },
  ],
};
