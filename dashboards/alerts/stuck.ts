/** Alerts on conditions that last: what waits, what is lost, what is leaked. */
import { type Alert, type AlertGroup, API, violations } from './alert.ts';
import { acted, DEVICE, lasting, ofDevice } from './cases.ts';
import { ABOUT, conditions, conditionsAndActs, HOLDERS, PLACE, WHERE } from './expressions.ts';

const STALLS = ['remove-stall', 'request-ignored'];
const PARENT_STALLS = ['parent-unregister-stall'];
const DEVICE_LEAKS = [
  ...['remove-file-lost', 'failed-create-leak', 'mdev-release-delayed', 'mdev-driverless'],
  ...['vfio-release-missing', 'vfio-never-registered', 'release-wait-stall'],
  'child-outlives-parent',
];
/** Which of them may also be found after the fact. */
const DEVICE_LEAKED = ['failed-create-leak', 'mdev-driverless'];
const VM_LEAKS = ['kvm-ref-leak', 'vm-pinned-by-device', 'kvm-destroyed-while-captured'];
const VM_LEAKED = ['device-kvm-refs-unbalanced'];
const LOST_PLACES = ['instances-exhausted'];

const OWN_CLEARS =
  'The state is right, but the wait is meant: somebody migrates the guest away, or unplugs the device ' +
  'by hand. It then clears by itself; silence it for that host meanwhile.';

const ALERTS: readonly Alert[] = [
  {
    name: 'VfioscopeRemovalStalled',
    severity: 'warning',
    for: 60,
    because:
      'The agent waits ten seconds itself (`rules.remove_stall_seconds`); a minute more gives a VMM that ' +
      'was asked to let go the time to unplug the device. Nobody is woken: no guest is harmed by it, but ' +
      'the host cannot be drained.',
    expr: conditions(STALLS),
    summary: `The removal of ${ABOUT} waits`,
    description: `{{ $labels.rule }}: the removal of a device waits for those who have it open, and whoever removes it is blocked in the kernel.${HOLDERS}${WHERE}`,
    runbook: {
      means:
        'Somebody takes a device away that a process has open. The kernel waits for the last close, and ' +
        'until then nothing can be done with the device.',
      rules: STALLS,
      confirm: [
        violations(STALLS),
        {
          does: 'The same without the agent: who has a device file of VFIO open (`anon_inode:[vfio-device]`).',
          command: `find /proc/[0-9]*/fd -lname '*vfio*' -printf '%p %l\\n' 2>/dev/null`,
        },
        {
          does: 'Who waits in the kernel: a task in vfio_unregister_group_dev.',
          command: 'grep -H vfio_unregister /proc/[0-9]*/stack 2>/dev/null',
        },
      ],
      fix:
        'Unplug the device from the guest over the management interface of the VMM ' +
        '(`virsh detach-device`, `device_del`), or stop the VM. The removal then ends by itself. Killing ' +
        'whoever removes does not help: it makes the wait uninterruptible.',
      falseWhen: OWN_CLEARS,
    },
    fires: {
      title: 'a removal waits for a quarter of an hour, and becomes an error after a minute',
      series: [
        `vfioscope_violation_info{id="v1-0",rule="remove-stall",severity="warning",device="${DEVICE}",vm="vm3",parent="gpu0"} _ 1 stale`,
        `vfioscope_violation_info{id="v1-0",rule="remove-stall",severity="error",device="${DEVICE}",vm="vm3",parent="gpu0"} _ _ 1x12`,
        'vfioscope_violations_open{rule="remove-stall",severity="error"} _ _ 1x12',
      ],
      // Were the severity part of it, it would have waited for another minute.
      at: 2,
      labels: { ...ofDevice('remove-stall'), vm: 'vm3' },
    },
    quiet: {
      title: 'the guest lets go within the minute',
      series: lasting('remove-stall', 'warning', 1),
      at: 5,
    },
  },
  {
    name: 'VfioscopeParentUnregisterStalled',
    severity: 'warning',
    for: 60,
    because:
      'A parent with many devices takes a while to withdraw them all; after a minute, one of them does ' +
      'not go. Until then no device of that parent can be created or removed.',
    expr: conditions(PARENT_STALLS),
    summary: `The withdrawal of ${ABOUT} waits`,
    description: `A parent is being unregistered, by an unbind or an unloading of its driver, and one of its devices does not go. Meanwhile no device of it can be created or removed.${WHERE}`,
    runbook: {
      means: 'The withdrawal of a parent of mediated devices does not end.',
      rules: PARENT_STALLS,
      confirm: [
        violations(PARENT_STALLS),
        {
          does: 'Who waits in the kernel, and where.',
          command: 'grep -H mdev_unregister /proc/[0-9]*/stack 2>/dev/null',
        },
        {
          does: 'Which of its devices are left.',
          command: 'ls -l /sys/bus/mdev/devices/',
        },
      ],
      fix:
        'Let go of the device that it waits for (see VfioscopeRemovalStalled): unplug it from its guest, ' +
        'or stop the VM. Next time, remove the devices first and unload the driver then.',
      falseWhen: OWN_CLEARS,
    },
    fires: {
      title: 'an unload of the driver hangs',
      series: [
        'vfioscope_violation_info{id="v1-0",rule="parent-unregister-stall",severity="error",device="",vm="",parent="gpu0"} _ 1x20',
        'vfioscope_violations_open{rule="parent-unregister-stall",severity="error"} _ 1x20',
      ],
      at: 5,
      labels: { rule: 'parent-unregister-stall', parent: 'gpu0' },
    },
    quiet: {
      title: 'sixteen devices take half a minute to go',
      series: [
        'vfioscope_violation_info{id="v1-0",rule="parent-unregister-stall",severity="warning",device="",vm="",parent="gpu0"} _ 1 stale',
      ],
      at: 3,
    },
  },
  {
    name: 'VfioscopeDeviceLeaked',
    severity: 'warning',
    for: 300,
    because:
      'What is lost does not get worse within five minutes, and what only looked lost (a driver that is ' +
      'slow, a rebind that is not done yet) has come back by then.',
    expr: conditionsAndActs(DEVICE_LEAKS, DEVICE_LEAKED),
    summary: `{{ $labels.rule }}: a device ${PLACE}, cannot be used or given back`,
    description: `A device is left in a state in which nobody can use it, remove it or create it anew, so its place on the parent is lost.${WHERE}`,
    runbook: {
      means: 'A device, or what its driver keeps for it, is neither in use nor given back.',
      rules: DEVICE_LEAKS,
      confirm: [
        violations(DEVICE_LEAKS),
        {
          does: 'Devices without a `remove` file, or without a driver.',
          command: `for d in /sys/bus/mdev/devices/*; do [ -e $d/remove ] || echo "$d: no remove"; [ -e $d/driver ] || echo "$d: no driver"; done`,
        },
        {
          does: 'What the parents still offer, against what should be there.',
          command: 'grep . /sys/class/mdev_bus/*/mdev_supported_types/*/available_instances',
        },
      ],
      fix:
        'See the rule below. Most of them end when the parent is unbound from its driver and bound ' +
        'again, once its other devices can be spared; a reference that was lost ends only with a reboot.',
      falseWhen:
        'A driver that takes minutes to free a device (firmware, hardware that is reset) looks like one ' +
        'that never does. It then resolves by itself. `rules.grace_seconds` makes the agent wait longer.',
    },
    fires: {
      title: 'a device lost its `remove` file',
      series: lasting('remove-file-lost', 'error', 60),
      at: 10,
      labels: ofDevice('remove-file-lost'),
    },
    quiet: {
      title: 'a driver is slow to free a device',
      series: lasting('mdev-release-delayed', 'error', 3),
      at: 10,
    },
  },
  {
    name: 'VfioscopeVmLeaked',
    severity: 'warning',
    for: 300,
    because:
      'The memory of a guest is lost, which may be most of the host; but it is already lost, and large ' +
      'guests take minutes to be torn down, which is no leak.',
    expr: conditionsAndActs(VM_LEAKS, VM_LEAKED),
    summary: `{{ $labels.rule }}: a VM on {{ $labels.instance }} outlives its process`,
    description: `A VM lives on although its process let go of it, so the memory of its guest stays allocated: {{ $labels.rule }} ${PLACE}.${HOLDERS}${WHERE}`,
    runbook: {
      means:
        'A VM that nobody uses is not freed, or a driver did not give back its references on one.',
      rules: [...VM_LEAKS, ...VM_LEAKED],
      confirm: [
        violations([...VM_LEAKS, ...VM_LEAKED]),
        {
          does: 'VMs without a file descriptor, their references and who holds them.',
          command: `curl -s ${API}/api/v1/vms | jq '.vms[] | select(.fdClosed) | {id, madeBy, usersCount, devices, holders}'`,
        },
        {
          does: 'The same from the kernel: directories of VMs (PID-FD) whose process is gone.',
          command:
            'ls /sys/kernel/debug/kvm | grep - | while IFS=- read pid fd; do [ -d /proc/$pid ] || echo $pid-$fd; done',
        },
      ],
      fix:
        'If a device file holds it, end the process that has it (named by the API). If nothing does, the ' +
        'reference is lost: only a reboot gives the memory back. Do not unload KVM or the module of the CPU.',
      falseWhen:
        'A process that keeps a device open on purpose to hand it to the next VMM. Somebody who reads ' +
        'files of a VM in debugfs holds it as well, and the agent knows of those.',
    },
    fires: {
      title: 'a VM lives on though nothing holds it',
      series: [
        'vfioscope_violation_info{id="v1-0",rule="kvm-ref-leak",severity="error",device="",vm="vm3",parent=""} _ 1x20',
        'vfioscope_violations_open{rule="kvm-ref-leak",severity="error"} _ 1x20',
      ],
      at: 10,
      labels: { rule: 'kvm-ref-leak', vm: 'vm3' },
    },
    quiet: {
      title: 'a VMM exits slowly, with the device still open',
      series: lasting('vm-pinned-by-device', 'info', 60),
      at: 20,
    },
  },
  {
    name: 'VfioscopeCapacityLost',
    severity: 'warning',
    for: 300,
    because:
      'A driver may count late when many devices go at once; what has not come back after five ' +
      'minutes, does not. The host still works, with less room.',
    expr: conditions(LOST_PLACES),
    summary: `${ABOUT} offers fewer devices than it once did`,
    description: `A parent without devices offers less than it did when it had none before: its driver lost count, and each further life may cost another place.${WHERE}`,
    runbook: {
      means: 'Places on a parent are lost.',
      rules: LOST_PLACES,
      confirm: [
        violations(LOST_PLACES),
        {
          does: 'What it offers now; compare with a parent of the same kind.',
          command: 'grep . /sys/class/mdev_bus/*/mdev_supported_types/*/available_instances',
        },
      ],
      fix:
        'Unbind the parent from its driver and bind it again, when it has no devices, which sets the ' +
        'count right. Report the unusual life before it to the maker of the driver.',
      falseWhen:
        'Somebody else took the room on purpose: types of one parent share it, and so do virtual ' +
        'functions of some cards. The administrator of the card may have changed what it offers.',
    },
    fires: {
      title: 'an empty parent offers less than before, where single lives have no series',
      series: ['vfioscope_violations_open{rule="instances-exhausted",severity="error"} _ 1x20'],
      at: 10,
      labels: { rule: 'instances-exhausted' },
    },
    quiet: {
      title: 'a full parent was asked for one more',
      series: [acted('instances-exhausted', 'info')],
      at: 10,
    },
  },
];

export const STUCK: AlertGroup = {
  title: 'Stuck, lost, leaked',
  about:
    'One alert for each class of [rules](rules/README.md) that need the same answer. Conditions name the ' +
    'device, VM or parent in their labels, as long as these have series of their own ' +
    '(`metrics.per_device`), and clear when it is over.',
  alerts: ALERTS,
};
