/** Alerts on ongoing violations: removals that wait, and devices, VMs or capacity that are leaked. */
import { type Alert, type AlertGroup, API, violations } from './alert.ts';
import {
  byRule,
  EVIDENCE,
  HOLDERS,
  ITS_VM,
  LEAKED_VM,
  OBJECT,
  ON_HOST,
  OPENERS,
  ongoing,
  ongoingOrOneShot,
  VM_LEAKS,
} from './expressions.ts';
import {
  AVAILABLE_INSTANCES,
  DRIVER_LOG,
  ITS_HOLDER_MAY_RUN_A_GUEST,
  KEEP_KVM_LOADED,
  OPERATIONS_IN_FLIGHT,
  openFiles,
  STALLED_CALLS,
  stacks,
  VMS_WITHOUT_PROCESS,
} from './steps.ts';
import { DEVICE, deviceLabels, oneShotSeries, ongoingSeries, vmSeries } from './test-series.ts';

const STALLS = ['remove-stall', 'request-ignored'];
const CALL_STALLS = [
  ...['open-stall', 'close-stall', 'create-stall', 'bind-stall', 'vm-destroy-stall'],
  'call-stall',
];
const PARENT_STALLS = ['parent-unregister-stall'];
const DEVICE_LEAKS = [
  ...['remove-file-lost', 'failed-create-leak', 'mdev-release-delayed', 'mdev-driverless'],
  ...['vfio-release-missing', 'vfio-never-registered', 'release-wait-stall'],
  'child-outlives-parent',
];
/** Those that may also be reported after the fact, as one-shot violations. */
const DEVICE_LEAKS_ONE_SHOT = ['failed-create-leak', 'mdev-driverless'];
const VM_LEAKS_ONE_SHOT = ['device-kvm-refs-unbalanced'];
const CAPACITY_LEAKS = ['instances-exhausted'];

/** Template: what the violation says about the VM, by its rule. */
const VM_LEAK_SUMMARY = byRule('a VM is leaked', {
  'kvm-destroyed-while-captured': 'a device points to a VM that is gone',
  'device-kvm-refs-unbalanced': 'a driver miscounts its references on VMs',
});
const VM_LEAK_MEANING = byRule(
  'a VM exists although its process released it, so the memory of its guest stays allocated',
  {
    'kvm-destroyed-while-captured':
      'a VM is gone while a device that was opened for it is still open. Do not end the process that has it open',
    'device-kvm-refs-unbalanced':
      'a driver did not put as many references on a VM as it took. One put too few keeps the VM and its memory, ' +
      'one too many frees the VM while it is used',
  },
);

const INTENDED_WAIT =
  'The alert is right, but the wait is intended: somebody migrates the guest away, or unplugs the ' +
  'device by hand. The alert clears when the wait ends; silence it for that host until then.';

const ALERTS: readonly Alert[] = [
  {
    name: 'VfioscopeRemovalStalled',
    severity: 'warning',
    for: 60,
    rationale:
      'The agent itself waits for ten seconds (`rules.remove_stall_seconds`), for a VMM that ignores requests for thirty. A further minute gives a ' +
      'VMM whose device was requested back the time to unplug it. Nobody is paged: no guest is harmed, ' +
      'but the host cannot be drained.',
    expr: ongoing(STALLS),
    summary: `The removal of ${OBJECT} does not return`,
    description: `{{ $labels.rule }} ${ON_HOST}: the removal of a device does not return, mostly because processes have the device open. The process that removes it is blocked in the kernel, and the host cannot be drained.${HOLDERS}${ITS_VM}${EVIDENCE}`,
    runbook: {
      firstDo:
        'If the host need not be drained now, leave it: the guest runs on. Ask the remover (`removedBy`, step 1) ' +
        'whether the removal was meant, since it cannot be cancelled. Then unplug the device through its VMM ' +
        '(`virsh detach-device`, `device_del`), or stop the VM.',
      firstDont:
        'Do not kill the process that removes the device: the wait then becomes uninterruptible.',
      confirm: [
        violations(STALLS, 'open'),
        openFiles(
          'The same without the agent: which processes have a VFIO device open (`anon_inode:[vfio-device]`).',
          'anon_inode:*vfio*',
          '/dev/vfio/devices/*',
        ),
        stacks(
          'The blocked task: a thread below `vfio_unregister_group_dev`.',
          'vfio_unregister_group_dev',
        ),
      ],
      fix:
        'Make every holder whose `how` is `holds` or `opened` (step 1) close the device; `may hold` is only a ' +
        'suspicion. Where the message names a driver, a lock or a lost reference, closing does not end the ' +
        'wait: that needs what the rule below says.',
      why:
        'The removal of a device does not return: mostly the kernel waits for the last close of the device, ' +
        'else for its driver, a lock or a lost reference. From 6.2 on nobody can open the device until it ' +
        'returns; on kernels up to 6.1 each further open makes the wait longer.',
      rules: STALLS,
      falsePositives: INTENDED_WAIT,
    },
    fires: {
      title: 'a removal waits for minutes, and its severity rises after one',
      series: [
        `vfioscope_violation_info{violation_id="v1-0",rule="remove-stall",severity="warning",device="${DEVICE}",vm="vm3",vm_name="web-3",parent="gpu0"} _ 1 stale`,
        `vfioscope_violation_info{violation_id="v1-0",rule="remove-stall",severity="error",device="${DEVICE}",vm="vm3",vm_name="web-3",parent="gpu0"} _ _ 1x12`,
        'vfioscope_violations_open{rule="remove-stall",severity="error"} _ _ 1x12',
      ],
      // If the alert had the severity as a label, it would not fire before the third minute.
      at: 2,
      labels: deviceLabels('remove-stall'),
    },
    doesNotFire: {
      title: 'the guest releases the device within the minute',
      series: ongoingSeries('remove-stall', 'warning', 1),
      at: 5,
    },
  },
  {
    name: 'VfioscopeCallStalled',
    severity: 'warning',
    for: 60,
    rationale:
      'The agent itself waits for ten seconds, for a VM that is destroyed for thirty (`rules.open_stall_seconds` ' +
      'and its neighbours). For a device that does not come back from a reset, the kernel waits up to a minute ' +
      'for each way to reset it; what lasts longer needs somebody to look at it.',
    expr: ongoing(CALL_STALLS),
    summary: `{{ $labels.rule }}: a kernel call on ${OBJECT} does not return`,
    description: `{{ $labels.rule }} ${ON_HOST}: a process is blocked in the kernel while it opens, closes, creates, binds or destroys. A VM does not start or stop because of it, and what is done to the same device waits behind it.${OPENERS}${ITS_VM} Where it is blocked: GET /api/v1/operations.${EVIDENCE}`,
    runbook: {
      firstDo:
        'Read which call it is, and where its thread is blocked (step 1): that names the driver or the ' +
        'hardware that does not answer.',
      firstDont:
        'Do not kill the process, and do not unbind or remove the device meanwhile: both wait for the ' +
        'same call, and one more task is stuck.',
      confirm: [
        OPERATIONS_IN_FLIGHT,
        violations(CALL_STALLS, 'open'),
        STALLED_CALLS,
        {
          ...DRIVER_LOG,
          shows: 'What the driver and the PCI core log, such as "not ready after FLR; waiting".',
        },
      ],
      fix:
        'Find the rule below. If the thread is blocked in pci_dev_wait, a device does not come back from a ' +
        'reset: the kernel gives up after a minute for each way that it tries; then reset the slot or ' +
        'power-cycle the host. In a vendor driver, follow its documentation for firmware that hangs. When ' +
        'nothing moves for minutes, move the other guests away and reboot: no signal ends a task in state D.',
      why: 'A call of mdev, VFIO or KVM has been running for longer than its threshold.',
      rules: CALL_STALLS,
      falsePositives:
        'A VM with hundreds of gigabytes of memory that is freed at destroy, or a driver that loads firmware. ' +
        'Raise the threshold of that operation.',
    },
    fires: {
      title: 'an open hangs in a reset, and its severity rises after a minute',
      series: [
        `vfioscope_violation_info{violation_id="v1-0",rule="open-stall",severity="warning",device="${DEVICE}",vm="vm3",vm_name="web-3",parent="gpu0"} _ 1 stale`,
        `vfioscope_violation_info{violation_id="v1-0",rule="open-stall",severity="error",device="${DEVICE}",vm="vm3",vm_name="web-3",parent="gpu0"} _ _ 1x12`,
        'vfioscope_violations_open{rule="open-stall",severity="error"} _ _ 1x12',
      ],
      at: 3,
      labels: { ...deviceLabels('open-stall'), vm_name: 'web-3' },
    },
    doesNotFire: {
      title: 'a close takes twenty seconds',
      series: ongoingSeries('close-stall', 'warning', 1),
      at: 5,
    },
    also: [
      {
        title: 'the process that opens the device has a series',
        series: [
          ...ongoingSeries('open-stall', 'error', 60),
          `vfioscope_device_holder_info{device="${DEVICE}",pid="600",comm="qemu-system-x86",systemd_unit="machine-qemu-1.scope"} 1x60`,
        ],
        at: 5,
        labels: deviceLabels('open-stall'),
        text: {
          summary: `open-stall: a kernel call on ${DEVICE} on host1:10055 does not return`,
          description: `open-stall on host1:10055 (${DEVICE}): a process is blocked in the kernel while it opens, closes, creates, binds or destroys. A VM does not start or stop because of it, and what is done to the same device waits behind it. Processes that open it, have it open or close it: qemu-system-x86 (pid 600, machine-qemu-1.scope). Where it is blocked: GET /api/v1/operations. Evidence: GET /api/v1/violations?rule=open-stall on the agent of that host.`,
          runbook_url: 'http://host1:10055/docs/runbooks/VfioscopeCallStalled',
        },
      },
    ],
  },
  {
    name: 'VfioscopeParentUnregisterStalled',
    severity: 'warning',
    for: 60,
    rationale:
      'A parent with many devices takes a while to remove them all. After a minute, one of them is not ' +
      'being released, and until it is, no device of that parent can be created or removed.',
    expr: ongoing(PARENT_STALLS),
    summary: `The unregistration of ${OBJECT} is waiting for a device`,
    description: `{{ $labels.rule }} ${ON_HOST}: a parent is being unregistered, because its driver is unbound or unloaded, and one of its devices is not released. Until then no device of that parent can be created or removed.${EVIDENCE}`,
    runbook: {
      firstDo:
        'Find out what the unregistration waits for (step 1). If a process has a device open, unplug that ' +
        'device from its guest or stop the VM; the next device of the parent may be open as well.',
      firstDont:
        'Do not create or remove devices of that parent meanwhile: the calls are refused, and a device ' +
        'whose removal was refused loses its `remove` file.',
      confirm: [
        violations(PARENT_STALLS, 'open'),
        stacks('Which task is blocked in the kernel, and where.', 'mdev_unregister'),
        {
          shows: 'Which devices are left, and on which parent.',
          command: 'ls -l /sys/bus/mdev/devices/',
        },
      ],
      fix:
        'Release the device as in [VfioscopeRemovalStalled](VfioscopeRemovalStalled.md). Next time, ' +
        'remove the devices before you unload the driver.',
      why: 'The unregistration of a parent of mediated devices does not return.',
      rules: PARENT_STALLS,
      falsePositives: INTENDED_WAIT,
    },
    fires: {
      title: 'the unloading of a driver hangs',
      series: [
        'vfioscope_violation_info{violation_id="v1-0",rule="parent-unregister-stall",severity="error",device="",vm="",vm_name="",parent="gpu0"} _ 1x20',
        'vfioscope_violations_open{rule="parent-unregister-stall",severity="error"} _ 1x20',
      ],
      at: 5,
      labels: { rule: 'parent-unregister-stall', parent: 'gpu0' },
    },
    doesNotFire: {
      title: 'sixteen devices take half a minute to be removed',
      series: [
        'vfioscope_violation_info{violation_id="v1-0",rule="parent-unregister-stall",severity="warning",device="",vm="",vm_name="",parent="gpu0"} _ 1 stale',
      ],
      at: 3,
    },
  },
  {
    name: 'VfioscopeDeviceLeaked',
    severity: 'warning',
    for: 300,
    rationale:
      'A leak does not get worse within five minutes, and what only looked like one (a slow driver, a ' +
      'rebind that is not finished) is over by then.',
    expr: ongoingOrOneShot(DEVICE_LEAKS, DEVICE_LEAKS_ONE_SHOT),
    summary: `{{ $labels.rule }}: a device is leaked ${ON_HOST}`,
    description: `{{ $labels.rule }} ${ON_HOST}: a device is in a state in which nobody can use it, remove it or create it again, so its instance on the parent is lost.${EVIDENCE}`,
    runbook: {
      firstDo: 'Find out which device it is, and which rule reports it (step 1).',
      firstDont:
        'Do not unbind the parent from its driver while you still need its other devices: they go with it.',
      confirm: [
        violations(DEVICE_LEAKS, 'open', 'happened'),
        {
          shows: 'Devices without a `remove` file, or without a driver.',
          command: `cd /sys/bus/mdev/devices && ls | while read -r d; do [ -e $d/remove ] || echo "$d: no remove"; [ -e $d/driver ] || echo "$d: no driver"; done`,
          nothing: 'each device in sysfs has both; the leaked one is not there any more',
        },
        {
          ...AVAILABLE_INSTANCES,
          shows: 'How many instances the parents have left, to compare with what they should have.',
        },
      ],
      fix:
        'See the rule below. A device that has only lost its `remove` file is removed with its parent: unbind ' +
        'that from its driver once its other devices are not needed. A lost reference ends only with a reboot.',
      why: 'A device, or what its driver keeps for it, is neither in use nor released.',
      rules: DEVICE_LEAKS,
      falsePositives:
        'A driver that takes minutes to free a device (firmware, hardware that is being reset) looks ' +
        'like one that never does. The alert then clears by itself. `rules.grace_seconds` makes the ' +
        'agent wait longer.',
    },
    fires: {
      title: 'a device lost its `remove` file',
      series: ongoingSeries('remove-file-lost', 'error', 60),
      at: 10,
      labels: deviceLabels('remove-file-lost'),
    },
    doesNotFire: {
      title: 'a driver takes three minutes to free a device',
      series: ongoingSeries('mdev-release-delayed', 'error', 3),
      at: 10,
    },
  },
  {
    name: 'VfioscopeVmLeaked',
    severity: 'warning',
    for: 300,
    rationale:
      'The memory of a guest is lost, which may be most of the host’s. It is lost already, however, and ' +
      'the teardown of large guests takes minutes without being a leak.',
    expr: ongoingOrOneShot(VM_LEAKS, VM_LEAKS_ONE_SHOT),
    summary: `{{ $labels.rule }}: ${VM_LEAK_SUMMARY} on {{ $labels.instance }}${LEAKED_VM}`,
    description: `{{ $labels.rule }} ${ON_HOST}: ${VM_LEAK_MEANING}${LEAKED_VM}.${HOLDERS}${EVIDENCE}`,
    runbook: {
      firstDo: 'Find out whether a process still holds a device of the VM (steps 1 and 2).',
      firstDont: `${ITS_HOLDER_MAY_RUN_A_GUEST} With \`kvm-destroyed-while-captured\`, do not end it at all. ${KEEP_KVM_LOADED}`,
      confirm: [
        violations([...VM_LEAKS, ...VM_LEAKS_ONE_SHOT], 'open', 'happened'),
        {
          shows: 'VMs without a file descriptor, their references and their holders.',
          command: `curl -sS ${API}/api/v1/vms | jq '.vms[] | select(.fdClosed) | {id, name, uuid, systemdUnit, createdBy, usersCount, devices, holders}'`,
          nothing: 'the VM was freed meanwhile',
        },
        VMS_WITHOUT_PROCESS,
      ],
      fix:
        'Find the rule below. If a device file holds a zombie VM, end every holder whose `how` is `holds` or ' +
        '`opened` and that runs no other guest; `may hold` is only a suspicion. If no process has one, a file ' +
        'may still be in a socket or registered with io_uring, which no process shows. Otherwise the ' +
        'reference is lost, and only a reboot frees the memory.',
      why:
        'A VM that nobody uses is not freed, a VM was freed while a device points to it, or a driver ' +
        'does not put as many references on one as it takes.',
      rules: [...VM_LEAKS, ...VM_LEAKS_ONE_SHOT],
      falsePositives:
        'A process that keeps a device open on purpose to pass it to the next VMM. A process that reads ' +
        'debugfs files of a VM holds that VM as well; the agent takes those into account.',
    },
    fires: {
      title: 'a VM is not freed although nothing holds it',
      series: [
        'vfioscope_violation_info{violation_id="v1-0",rule="kvm-ref-leak",severity="error",device="",vm="vm3",vm_name="web-3",parent=""} _ 1x20',
        'vfioscope_violations_open{rule="kvm-ref-leak",severity="error"} _ 1x20',
      ],
      at: 10,
      labels: { rule: 'kvm-ref-leak', vm_name: 'web-3' },
    },
    doesNotFire: {
      title: 'a VMM exits slowly, with the device still open',
      series: ongoingSeries('vm-pinned-by-device', 'info', 60),
      at: 20,
    },
    also: [
      {
        title: 'nothing names the VM but its unit',
        series: [
          'vfioscope_violation_info{violation_id="v1-0",rule="kvm-ref-leak",severity="error",device="",vm="vm4",vm_name="",parent=""} _ 1x20',
          vmSeries('vm4', 700, { systemd_unit: 'qemu@db-1.service' }),
          vmSeries('vm5', 800, { vm_name: 'cache-1' }),
        ],
        at: 10,
        labels: { rule: 'kvm-ref-leak' },
        text: {
          summary: 'kvm-ref-leak: a VM is leaked on host1:10055: qemu@db-1.service (pid 700)',
          description:
            'kvm-ref-leak on host1:10055: a VM exists although its process released it, so the memory of its guest stays allocated: qemu@db-1.service (pid 700). Evidence: GET /api/v1/violations?rule=kvm-ref-leak on the agent of that host.',
          runbook_url: 'http://host1:10055/docs/runbooks/VfioscopeVmLeaked',
        },
      },
      {
        title: 'a device points to a VM that is gone, which is no leak',
        series: [
          ...ongoingSeries('kvm-destroyed-while-captured', 'warning', 60),
          vmSeries('vm5', 800, { vm_name: 'cache-1' }),
        ],
        at: 10,
        labels: deviceLabels('kvm-destroyed-while-captured'),
        text: {
          summary:
            'kvm-destroyed-while-captured: a device points to a VM that is gone on host1:10055',
          description: `kvm-destroyed-while-captured on host1:10055 (${DEVICE}): a VM is gone while a device that was opened for it is still open. Do not end the process that has it open. Evidence: GET /api/v1/violations?rule=kvm-destroyed-while-captured on the agent of that host.`,
          runbook_url: 'http://host1:10055/docs/runbooks/VfioscopeVmLeaked',
        },
      },
      {
        title: 'a driver miscounts its references',
        series: [oneShotSeries('device-kvm-refs-unbalanced', 'error')],
        at: 10,
        labels: { rule: 'device-kvm-refs-unbalanced' },
        text: {
          summary:
            'device-kvm-refs-unbalanced: a driver miscounts its references on VMs on host1:10055',
          description:
            'device-kvm-refs-unbalanced on host1:10055: a driver did not put as many references on a VM as it took. One put too few keeps the VM and its memory, one too many frees the VM while it is used. Evidence: GET /api/v1/violations?rule=device-kvm-refs-unbalanced on the agent of that host.',
          runbook_url: 'http://host1:10055/docs/runbooks/VfioscopeVmLeaked',
        },
      },
    ],
  },
  {
    name: 'VfioscopeCapacityLost',
    severity: 'warning',
    for: 300,
    rationale:
      'A driver may update its count late when many devices are removed at once. What has not come back ' +
      'after five minutes does not come back. The host works on, with less capacity.',
    expr: ongoing(CAPACITY_LEAKS),
    summary: `${OBJECT} has fewer instances than it had before`,
    description: `{{ $labels.rule }} ${ON_HOST}: a parent without devices has fewer instances available than it had before without devices. Its driver lost count, and each further device may cost another instance.${EVIDENCE}`,
    runbook: {
      firstDo: 'Compare what the parent has available with a parent of the same kind (step 2).',
      firstDont:
        'Do not unbind the parent from its driver while it has devices: they are removed with it.',
      confirm: [
        violations(CAPACITY_LEAKS, 'open'),
        { ...AVAILABLE_INSTANCES, shows: 'How many instances it has available now.' },
      ],
      fix:
        'When the parent has no devices, unbind it from its driver and bind it again: a driver that counts its ' +
        'instances when it is bound has them all then. Report the unusual lifecycle before it to the vendor of the driver.',
      why: 'Instances of a parent are leaked.',
      rules: CAPACITY_LEAKS,
      falsePositives:
        'Something else uses the capacity on purpose: types of one parent share it, and so do virtual ' +
        'functions of some cards. The administrator of the card may have changed its configuration.',
    },
    fires: {
      title: 'an empty parent has fewer instances than before, and objects have no series',
      series: ['vfioscope_violations_open{rule="instances-exhausted",severity="error"} _ 1x20'],
      at: 10,
      labels: { rule: 'instances-exhausted' },
    },
    doesNotFire: {
      title: 'a full parent was asked for another device',
      series: [oneShotSeries('instances-exhausted', 'info')],
      at: 10,
    },
  },
];

export const STALLS_AND_LEAKS: AlertGroup = {
  title: 'Stalls and leaks',
  description:
    'One alert for each class of [rules](rules/README.md) that need the same response. Their labels name ' +
    'the device, VM or parent where it has series of its own (`metrics.per_device`), and they clear ' +
    'when the violation is resolved.',
  alerts: ALERTS,
};
