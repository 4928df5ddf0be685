/** Alerts on ordering violations: steps of a lifecycle out of order, or by the wrong process. */
import { type Alert, type AlertGroup, API, type Runbook, type Step, violations } from './alert.ts';
import {
  CRITICAL_OBJECT,
  critical,
  EVIDENCE,
  ON_HOST,
  oneShot,
  ongoingOrOneShot,
} from './expressions.ts';
import {
  AVAILABLE_INSTANCES,
  DEFINED_DEVICES,
  DRIVER_LOG,
  kernelLog,
  openFiles,
  VERSIONS,
} from './steps.ts';
import { criticalLabels, criticalSeries, oneShotSeries } from './test-series.ts';

const REFUSED_OPENS = [
  'open-failed',
  ...['bind-refused', 'cdev-group-conflict', 'attach-failed'],
  'group-not-viable',
  'dma-map-failed',
  'kvm-used-twice',
  'open-without-kvm',
];
const REFUSED_DEVICES = ['create-failed', 'bind-failed'];
const MISMATCHES = [
  ...[
    'kvm-set-after-open',
    'kvm-set-after-bind',
    'kvm-cleared-while-open',
    'kvm-changed-while-open',
  ],
  ...['kvm-capture-refused', 'notifier-error-ignored', 'foreign-opener', 'nested-open'],
];
const MISHANDLED = [
  ...['removed-by-another', 'remove-failed', 'remove-before-create-done'],
  'open-during-unregister',
];
const UUIDS = ['duplicate-uuid', 'uuid-held-by-dying-device'];
const WRONG_COUNTS = ['open-count-mismatch'];
const WRONG_CALLS = ['vfio-double-register', 'vfio-double-init', 'kvm-dropped-while-open'];

const PATCHED_KERNEL =
  'Rules that depend on history are suppressed for objects that were not observed from their ' +
  'beginning. A kernel with its own patches may still differ from what a rule assumes; the evidence ' +
  'shows each step.';
/** A VM of which DMA may go anywhere, so that it is stopped at once; every other critical violation needs the opposite. */
const DMA_AT_RISK = ['group-closed-with-open-device', 'container-detached-while-open'];
const CRITICAL_VIOLATIONS: readonly Step[] = [
  {
    shows: 'What happened, and which process holds the device.',
    command: `curl -sS '${API}/api/v1/violations?severity=critical' | jq '.violations[] | {id, rule, message, device, holders}'`,
    nothing: 'the agent was started without `state.directory` after the violation',
  },
  kernelLog(
    'What the kernel itself reported: refcount warnings, use after free, general protection faults.',
    'refcount_t|KASAN|BUG:|WARNING: .*CPU|general protection|vfio[-_:]|mdev',
  ),
];

const ALERTS: readonly Alert[] = [
  {
    name: 'VfioscopeMemoryAtRisk',
    severity: 'critical',
    for: 0,
    rationale:
      'One violation is enough: the kernel may crash, or give memory to two owners, at the next close. ' +
      'The alert fires until the host is booted again, because only that makes it safe: the agent keeps ' +
      'critical violations over its restarts. It fires on for ten minutes when the agent does not answer; ' +
      'then VfioscopeHostLost takes over.',
    keepFiring: 600,
    expr: critical(`rule!~"${DMA_AT_RISK.join('|')}"`),
    summary:
      '{{ $labels.rule }}: kernel memory on {{ $labels.instance }} is at risk{{ with or $labels.device $labels.parent }} ({{ . }}){{ end }}',
    description: `A device or VM was handled in an order that can crash the kernel: {{ $labels.rule }} on {{ $labels.instance }}${CRITICAL_OBJECT}. Do not close, remove or unload anything there before you have read the evidence.${EVIDENCE}`,
    runbook: {
      firstDo:
        'Save the evidence (`curl -sS ' +
        `'${API}/api/v1/violations?severity=critical' > evidence.json\`), then migrate or save the ` +
        'other guests of the host.',
      firstDont:
        'Do not close, remove or unload anything, and do not stop the VM: the last close is what ' +
        'crashes the kernel.',
      confirm: CRITICAL_VIOLATIONS,
      fix:
        'Reboot the host once its other guests are migrated or saved. Report the violation to the ' +
        'vendor of the driver, with the evidence.',
      why:
        'The kernel was observed to do what it must never do: free what is in use, use what is freed, ' +
        'or release what protects memory. It may run on for weeks, or crash at the next close.',
      rules: [
        ...['remove-order-violated', 'duplicate-uuid-live', 'removed-while-open', 'orphan-child'],
        ...['child-outlives-parent', 'driver-gone-before-parent', 'vfio-double-init'],
        ...['vfio-put-unbalanced', 'kvm-destroyed-while-captured', 'kvm-ref-underflow'],
        'iommufd-released-while-bound',
        ...['open-during-unregister', 'remove-races-parent-unregister'],
        'create-races-parent-unregister',
      ],
      falsePositives: `${PATCHED_KERNEL} If you decide after this not to reboot, silence the alert for that instance and rule; nothing else of the host is silenced with it.`,
    },
    fires: {
      title: 'a device is torn down while a process has it open',
      series: [criticalSeries('removed-while-open')],
      at: 4,
      labels: criticalLabels('removed-while-open'),
    },
    doesNotFire: {
      title: 'the counter of the rule exists and is 0',
      series: ['vfioscope_violations_total{rule="removed-while-open",severity="critical"} 0x60'],
      at: 30,
    },
    also: [
      {
        title: 'the agent restarts, and has kept it',
        series: [criticalSeries('removed-while-open', '_ _ _ 180x5 stale _ 180x60')],
        at: 30,
        labels: criticalLabels('removed-while-open'),
      },
      {
        title: 'a scrape fails, and it is no second alert',
        series: [criticalSeries('removed-while-open', '_ _ _ 180x5 stale 180x60')],
        at: 9,
        labels: criticalLabels('removed-while-open'),
      },
    ],
  },
  {
    name: 'VfioscopeDmaAtRisk',
    severity: 'critical',
    for: 0,
    rationale:
      'One violation is enough: the device may write to memory that belongs to somebody else for as long as ' +
      'its VM runs. It is an alert of its own, because here the VM is stopped at once, and for all other ' +
      'critical violations it is not. It fires until the host is booted again, as VfioscopeMemoryAtRisk does.',
    keepFiring: 600,
    expr: critical(`rule=~"${DMA_AT_RISK.join('|')}"`),
    summary:
      '{{ $labels.rule }}: a device on {{ $labels.instance }} may write to any memory{{ with or $labels.device $labels.parent }} ({{ . }}){{ end }}',
    description: `The memory mappings of a device were removed while it is open: {{ $labels.rule }} on {{ $labels.instance }}${CRITICAL_OBJECT}. Its DMA may go anywhere. Stop that VM at once.${EVIDENCE}`,
    runbook: {
      firstDo:
        'Stop the VM that the labels `vm_pid` and `vm_comm` name, at once; a holder that is no VM is in ' +
        '`holder_pid`. Then move the other guests away and reboot the host.',
      firstDont:
        'Do not trust what the host and its guests have in memory or write to disks from now on.',
      confirm: CRITICAL_VIOLATIONS,
      fix: 'Reboot the host. Report the violation to the vendor of the kernel, with the evidence.',
      why:
        'A group was closed, or detached from its container, while one of its devices is open. That ' +
        'removes the mappings that restrict the DMA of the device to the memory of its guest.',
      rules: DMA_AT_RISK,
      falsePositives: `${PATCHED_KERNEL} If you decide after this not to reboot, silence the alert for that instance and rule; nothing else of the host is silenced with it.`,
    },
    fires: {
      title: 'a group is closed while its device is open',
      series: [criticalSeries('group-closed-with-open-device')],
      at: 4,
      labels: criticalLabels('group-closed-with-open-device'),
    },
    doesNotFire: {
      title: 'the counter of the rule exists and is 0',
      series: [
        'vfioscope_violations_total{rule="group-closed-with-open-device",severity="critical"} 0x60',
      ],
      at: 30,
    },
  },
  {
    name: 'VfioscopeHostLost',
    severity: 'critical',
    for: 300,
    rationale:
      'A host whose kernel was at risk and whose agent no longer answers has probably crashed. Without this ' +
      'alert the page would resolve, because the series of the host end. It fires for a day at most.',
    expr:
      'max without (violation_id) (last_over_time(vfioscope_critical_violation_timestamp_seconds[1d]))\n' +
      'unless on (cluster, job, instance) up == 1',
    about: 'unanswered',
    summary:
      '{{ $labels.instance }} does not answer after a critical violation ({{ $labels.rule }})',
    description: `The agent on {{ $labels.instance }} has not answered for five minutes, and the kernel of that host was at risk before: {{ $labels.rule }}${CRITICAL_OBJECT}. The host may have crashed.`,
    runbook: {
      firstDo:
        'Find out whether the host runs (console, management controller, ping). If it crashed, save the ' +
        'console and the crash dump.',
      firstDont:
        'Do not start its guests elsewhere before you know that they do not run any more: two that write to one disk destroy it.',
      confirm: [
        { shows: 'Once the host answers: since when it runs.', command: 'uptime' },
        {
          shows:
            'Which critical violations the agents of this boot have found; none after a reboot.',
          command: `curl -sS '${API}/api/v1/violations?severity=critical' | jq '.violations[] | {id, rule, message}'`,
          nothing: 'the host was booted again, or the agent was started without `state.directory`',
        },
        {
          shows: 'The end of the kernel log of the previous boot.',
          command: 'sudo journalctl --no-pager -k -b -1 -n 100',
        },
      ],
      fix:
        'If it was booted again, the alert ends with the first scrape. The agent has forgotten the violation then: ' +
        'its evidence is in the log of the previous boot (`journalctl -b -1 -u vfioscope`), and in the log records ' +
        'that a collector received. Report it to the vendor of ' +
        'the driver, with the crash dump. If only the agent is gone, start it: the kernel is still at risk.',
      why: 'The agent of a host cannot be scraped any more, after a violation that may crash its kernel.',
      falsePositives:
        'Somebody stopped the agent, or took the host out of service, without a reboot that would have made ' +
        'its kernel safe.',
    },
    fires: {
      title: 'the host crashes ten minutes after a critical violation',
      series: ['up 1x13 0x40', criticalSeries('removed-while-open', '_ _ _ 180x10 stale')],
      at: 25,
      labels: criticalLabels('removed-while-open'),
      // Its agent is down as well; the page is about the same host.
      others: [
        {
          ...{ alertname: 'VfioscopeAgentDown', severity: 'warning' },
          ...{ instance: 'host1:10055', job: 'vfioscope' },
        },
      ],
    },
    doesNotFire: {
      title: 'the host is booted again, which makes its kernel safe',
      series: ['up 1x10 0x3 1x60', criticalSeries('removed-while-open', '_ _ _ 180x7 stale')],
      at: 40,
    },
  },
  oneShotAlert('VfioscopeDeviceRefused', REFUSED_DEVICES, {
    rationale:
      'A VM does not get its device, because a driver or the kernel refused to set it up, and that does ' +
      'not repair itself.',
    summary: 'a device could not be created or bound',
    description: 'A process asked for a device, or for its driver, and was refused',
    runbook: {
      firstDo:
        'Read the message of the violation (step 1): it says who refused, how far the call got, and which ' +
        'other devices the parent has. Then read what the driver logged (step 2).',
      firstDont: 'Do not let a tool try again and again: it is refused for the same reason.',
      confirm: [
        violations(REFUSED_DEVICES),
        DRIVER_LOG,
        AVAILABLE_INSTANCES,
        {
          shows: 'Whether a PCI device is in an IOMMU group (`ADDRESS` of the device).',
          command: 'readlink /sys/bus/pci/devices/ADDRESS/iommu_group',
          nothing: 'it is in none: no IOMMU is active for it',
        },
      ],
      fix:
        'ENOMEM and EIO mostly come from the hardware or its firmware; EINVAL and ENOSPC of a driver mostly ' +
        'mean a type that cannot be combined with the existing devices. EINVAL of VFIO mostly means that ' +
        'the device has no IOMMU group. See the documentation of the driver and the kernel log.',
      why: 'A driver or the kernel refused to create a device, or to bind one to a driver of VFIO.',
      rules: REFUSED_DEVICES,
      falsePositives: 'A tool that tries which types a card accepts.',
    },
    fires: ['create-failed', 'warning'],
    doesNotFire: ['instances-exhausted', 'info'],
    similar: 'a parent has no more instances',
  }),
  oneShotAlert('VfioscopeOpenRefused', REFUSED_OPENS, {
    rationale:
      'A VM does not start because it did not get its device, and that does not repair itself.',
    summary: 'a device could not be opened',
    description:
      'A VMM requested a device, or to map memory for it, and was refused, or its driver did not get the ' +
      'VM that it needs',
    runbook: {
      firstDo: 'Read the message of the violation (step 1): it names the reason.',
      firstDont: 'Do not restart the VM again and again: it fails for the same reason.',
      confirm: [
        violations(REFUSED_OPENS),
        openFiles(
          'Which processes have VFIO groups or devices open: a group belongs to one process.',
          '/dev/vfio/*',
        ),
        {
          shows:
            'How much memory the process may lock, which has to be more than its guest has (`PID` of the process).',
          command: 'sudo grep -i locked /proc/PID/limits',
        },
        {
          shows:
            'Whether all devices of its group are bound to VFIO (`DEVICE` is a PCI address or a UUID).',
          command: 'ls -ld /sys/bus/*/devices/DEVICE/iommu_group/devices/*/driver',
        },
      ],
      fix: 'Remove the reason that the message names.',
      why: 'A process requested a device from VFIO and did not get it, or not as its driver needs it.',
      rules: REFUSED_OPENS,
      falsePositives:
        'A management service that opens devices to probe or test them may expect the refusal.',
    },
    fires: ['open-failed', 'warning'],
    doesNotFire: ['open-without-kvm', 'info'],
    similar: 'DPDK opens a device without a VM, as intended',
  }),
  oneShotAlert('VfioscopeVmMismatch', MISMATCHES, {
    rationale:
      'No call fails, so nothing else reports it: what a driver does for the guest is missing, or is ' +
      'done for the wrong VM, until the VM restarts. That can wait until today.',
    summary: 'a device does not work for the right VM',
    description:
      'A device and its VM were connected or disconnected out of order, or by the wrong process',
    runbook: {
      firstDo: 'Find out which device belongs to which VM (steps 1 and 2).',
      firstDont:
        'Do not assume that the guest is well because no call failed: the driver may do nothing for it.',
      confirm: [
        violations(MISMATCHES),
        {
          shows: 'Which VM each device was observed with.',
          command: `curl -sS ${API}/api/v1/devices | jq '.devices[] | {id, state, vm, openedBy}'`,
          nothing: 'no device exists any more',
        },
        openFiles(
          'Which processes have the group and the VM: both should be the same process.',
          '/dev/vfio/*',
          'anon_inode:kvm-vm',
        ),
      ],
      fix:
        'Unplug the device and plug it in again: that repairs a running VM if the VMM then does it in the right ' +
        'order. To repair the cause, change the VMM: it has to add the group to kvm-vfio before it opens the device, and to remove the group ' +
        'after it closed the device.',
      why: 'VFIO, KVM and the driver disagree about the VM that a device works for, or about its user.',
      rules: MISMATCHES,
      falsePositives:
        'A VMM of several processes may open devices in one process and VMs in another on purpose, with ' +
        'a driver that permits it: `rules.drivers_needing_kvm`.',
    },
    fires: ['kvm-set-after-open', 'warning'],
    doesNotFire: ['kvm-cleared-while-open', 'info'],
    similar: 'the order does not matter on a kernel whose core holds the VM',
  }),
  oneShotAlert('VfioscopeRemovalMishandled', MISHANDLED, {
    rationale:
      'Tools work against each other, or one does not wait. The device is mostly gone already, so ' +
      'there is nothing to wait for and nobody has to be paged.',
    summary: 'a device was removed at the wrong time or by the wrong process',
    description:
      'The removal of a device was refused, came too early, or took the device from a process that uses it',
    runbook: {
      firstDo: 'Find out who removed the device, and who uses it (step 1).',
      firstDont: 'Do not write to `remove` again before you know whether the device still exists.',
      confirm: [
        violations(MISHANDLED),
        {
          shows: 'Whether the device still exists and can be removed.',
          command: `cd /sys/bus/mdev/devices && ls | while read -r d; do if [ -e $d/remove ]; then echo $d; else echo "$d: no remove"; fi; done`,
          nothing: 'no device is left; one that is being removed may not be listed any more',
        },
        ...DEFINED_DEVICES,
      ],
      fix: 'Let one tool own each device, and let it wait until the write to `create` returns.',
      why: 'A process removed a device at the wrong time, or a device that another one created.',
      rules: MISHANDLED,
      falsePositives:
        'An administrator who cleans up by hand what a service has created is a different process, on purpose.',
    },
    fires: ['removed-by-another', 'warning'],
    doesNotFire: ['removed-by-another', 'info'],
    similar: 'the device is open without a VM',
  }),
  oneShotAlert('VfioscopeUuidConflict', UUIDS, {
    rationale:
      'A VM cannot start, and whatever restarts it fails again, until somebody decides who owns the UUID.',
    summary: 'a UUID is in use already',
    description:
      'A device could not be created, because its UUID is in use on another parent or by a device that is being removed',
    runbook: {
      firstDo:
        'Find out which device uses the UUID (step 2), and whether it is being removed (step 1).',
      firstDont: 'Do not remove the other device before you know who uses it.',
      confirm: [
        violations(UUIDS),
        {
          shows: 'On which parent the UUID is in use.',
          command: 'ls -l /sys/bus/mdev/devices/',
        },
        ...DEFINED_DEVICES,
      ],
      fix: 'Give one of the two another UUID, or end what the removal of the old device waits for.',
      why: 'Two owners use one UUID, or the previous device of that UUID is not released.',
      rules: UUIDS,
      falsePositives:
        'A tool that creates devices on another parent by trying, and treats EEXIST as success.',
    },
    fires: ['uuid-held-by-dying-device', 'warning'],
    doesNotFire: ['duplicate-uuid', 'info'],
    similar: 'a create was repeated on the same parent',
  }),
  {
    name: 'VfioscopeDriverFault',
    severity: 'warning',
    for: 0,
    rationale:
      'A driver or the VFIO core counts wrong, or dropped the VM of an open device. No memory ' +
      'is known to be corrupted (otherwise it would be critical), ' +
      'but devices of that driver should not be assigned any more today.',
    expr: ongoingOrOneShot(WRONG_COUNTS, WRONG_CALLS),
    summary: `{{ $labels.rule }}: a driver or the VFIO core on {{ $labels.instance }} is at fault`,
    description: `A driver registered, initialised or counted a device incorrectly, or the VFIO core dropped the VM of an open one: {{ $labels.rule }} ${ON_HOST}. Do not assign further devices of that driver.${EVIDENCE}`,
    runbook: {
      firstDo: 'Take the host out of scheduling.',
      firstDont: 'Do not assign further devices of that driver.',
      confirm: [
        violations([...WRONG_COUNTS, ...WRONG_CALLS], 'open', 'happened'),
        {
          ...kernelLog('Warnings of the kernel with the stack of the driver.', 'WARNING:.*vfio'),
          command: `sudo journalctl --no-pager -k -b | grep -A 20 'WARNING:.*vfio'`,
        },
        VERSIONS,
      ],
      fix: 'Report it with the evidence, and go back to the previous version of the driver. If the VFIO core dropped a VM, do what that rule advises: no version of the driver repairs it.',
      why: 'A vendor driver, or the VFIO core, did what the VFIO interface forbids.',
      rules: [...WRONG_COUNTS, ...WRONG_CALLS],
      falsePositives: PATCHED_KERNEL,
    },
    fires: {
      title: 'a device was registered twice before Prometheus first scraped the agent',
      series: [
        'vfioscope_last_violation_timestamp_seconds{rule="vfio-double-register",severity="error"} 0x20',
      ],
      at: 3,
      labels: { rule: 'vfio-double-register' },
    },
    doesNotFire: {
      title: 'the violation was half an hour ago, and a scrape failed 15 minutes ago',
      series: [
        'vfioscope_last_violation_timestamp_seconds{rule="vfio-double-register",severity="error"} 0x24 stale 0x60',
      ],
      at: 40,
    },
    also: [
      {
        title: 'Prometheus did not run for 12 minutes',
        series: [
          'vfioscope_last_violation_timestamp_seconds{rule="vfio-double-register",severity="error"} 0x10 _x11 0x60',
        ],
        at: 26,
      },
    ],
  },
  {
    name: 'VfioscopeManyNotices',
    severity: 'info',
    for: 0,
    rationale:
      'Correct software may cause single violations of severity info. More than ten within 15 minutes ' +
      'come from a tool that repeats what does not work.',
    expr: 'sum without (severity) (increase(vfioscope_violations_total{severity="info"}[15m])) > $notices',
    summary:
      '{{ $labels.rule }}: {{ $value | printf "%.0f" }} times within 15 minutes on {{ $labels.instance }}',
    description: `The rule {{ $labels.rule }} fired {{ $value | printf "%.0f" }} times within 15 minutes on {{ $labels.instance }}. Each of these violations is harmless by itself; this many come from a tool that repeats what does not work.${EVIDENCE}`,
    runbook: {
      firstDo: 'Find the process that causes them (step 1).',
      firstDont:
        'Do not treat a single violation of severity info as a fault: correct software may cause it.',
      confirm: [
        {
          shows: 'Which process causes how many.',
          nothing: 'the agent was restarted since',
          command: `curl -sS '${API}/api/v1/violations?severity=info' | jq -r '.violations[] | [.rule, .process.comm, .process.systemdUnit] | @tsv' | sort | uniq -c | sort -n`,
        },
        {
          shows: 'What that process logs (`UNIT` from step 1).',
          command: 'sudo journalctl --no-pager -b -u UNIT --since -30m',
          nothing: 'it has logged nothing for half an hour',
        },
      ],
      fix: 'Change the tool so that it checks before it tries, or waits longer before it tries again.',
      why: 'One rule reported many violations of severity info.',
      rules: [
        ...[
          'duplicate-uuid',
          'instances-exhausted',
          'create-serialised',
          'open-without-kvm',
          'dma-map-failed',
        ],
        ...['nested-open', 'unset-container-busy', 'vfio-module-pinned', 'kvm-cleared-while-open'],
        ...['remove-races-parent-unregister', 'create-races-parent-unregister'],
        ...['removed-by-another', 'foreign-opener', 'kvm-set-after-open', 'vm-pinned-by-device'],
        ...['never-opened', 'cdev-never-bound'],
      ],
      falsePositives:
        'User-space drivers such as DPDK open devices without a VM by design: silence open-without-kvm ' +
        'there. A test that creates and removes devices all day.',
    },
    fires: {
      title: 'a tool asks a full parent for devices again and again',
      series: ['vfioscope_violations_total{rule="instances-exhausted",severity="info"} 0+2x30'],
      at: 20,
      labels: { rule: 'instances-exhausted' },
    },
    doesNotFire: {
      title: 'it asks now and then',
      series: [
        'vfioscope_violations_total{rule="instances-exhausted",severity="info"} 0x4 1x9 2x20',
      ],
      at: 20,
    },
  },
];

/** Alerts on one-shot violations differ in their texts and rules only. */
function oneShotAlert(
  name: string,
  rules: readonly string[],
  entry: Pick<Alert, 'rationale'> & {
    /** Follows the rule and the host, without a full stop. */
    readonly summary: string;
    /** A sentence without its full stop, because the rule and the host follow. */
    readonly description: string;
    readonly runbook: Runbook;
    /** Rule and severity of a violation that raises the alert, and of one that does not. */
    readonly fires: readonly [rule: string, severity: string];
    readonly doesNotFire: readonly [rule: string, severity: string];
    /** The title of the case that does not raise it. */
    readonly similar: string;
  },
): Alert {
  const [rule, severity] = entry.fires;
  return {
    name,
    severity: 'warning',
    for: 0,
    rationale: `${entry.rationale} A one-shot violation is never resolved, so the alert fires for 15 minutes.`,
    expr: oneShot(rules),
    summary: `{{ $labels.rule }} on {{ $labels.instance }}: ${entry.summary}`,
    description: `${entry.description}: {{ $labels.rule }} on {{ $labels.instance }}.${EVIDENCE}`,
    runbook: entry.runbook,
    fires: {
      title: entry.summary,
      series: [oneShotSeries(rule, severity)],
      at: 4,
      labels: { rule },
    },
    doesNotFire: { title: entry.similar, series: [oneShotSeries(...entry.doesNotFire)], at: 4 },
  };
}

export const ORDERING: AlertGroup = {
  title: 'Ordering violations',
  description:
    'One alert for each class of [rules](rules/README.md) that need the same response. One-shot ' +
    'violations are never resolved, so their alerts fire for 15 minutes; VfioscopeMemoryAtRisk and VfioscopeDmaAtRisk stay until the next boot.',
  alerts: ALERTS,
};
