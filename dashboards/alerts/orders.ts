/** Alerts on what happened in the wrong order. */
import { type Alert, type AlertGroup, API, type Runbook, violations } from './alert.ts';
import { acted } from './cases.ts';
import { acts, CRITICAL, conditionsAndActs, HOLDERS, PLACE, WHERE } from './expressions.ts';

const REFUSED_OPENS = ['open-failed', 'kvm-used-twice', 'open-without-kvm'];
const MISMATCHES = [
  ...['kvm-set-after-open', 'kvm-cleared-while-open', 'kvm-changed-while-open'],
  ...['kvm-capture-refused', 'notifier-error-ignored', 'foreign-opener', 'nested-open'],
];
const MISHANDLED = [
  ...['removed-by-another', 'remove-failed', 'remove-before-create-done'],
  'open-during-unregister',
];
const UUIDS = ['duplicate-uuid', 'uuid-held-by-dying-device'];
const MISCOUNTS = ['open-count-mismatch'];
const MISCALLS = ['vfio-double-register', 'vfio-double-init'];

const PATCHED =
  'Rules that judge by history are silent about lives that were not seen whole. A kernel with patches of ' +
  'its own may still differ from what a rule knows; the evidence shows each step.';

const ALERTS: readonly Alert[] = [
  {
    name: 'VfioscopeMemoryAtRisk',
    severity: 'critical',
    for: 0,
    because:
      'One is enough: the kernel may crash, or give memory to two owners, at the next close. It lasts ' +
      'until the agent is restarted, as it is on a reboot, because nothing else makes the host sound.',
    expr: CRITICAL,
    summary: `{{ $labels.rule }}: the memory of the kernel on {{ $labels.instance }} is at risk`,
    description: `A device or VM was handled in an order that can crash the kernel: {{ $labels.rule }} ${PLACE}. Read what happened before anything is stopped or closed there.${HOLDERS}${WHERE}`,
    runbook: {
      means:
        'The kernel was seen to do what it must never do: to free what is in use, to use what is freed, ' +
        'or to let go of what protects memory. It may run on for weeks, or crash at the next close. ' +
        'Each of these rules can say it:',
      rules: [
        ...['remove-order-violated', 'duplicate-uuid-live', 'removed-while-open', 'orphan-child'],
        ...['child-outlives-parent', 'driver-gone-before-parent', 'vfio-double-init'],
        ...['vfio-put-unbalanced', 'kvm-destroyed-while-captured', 'kvm-ref-underflow'],
        ...['group-closed-with-open-device', 'container-detached-while-open'],
        ...['open-during-unregister', 'remove-races-parent-unregister'],
        'create-races-parent-unregister',
      ],
      confirm: [
        {
          does: 'What happened, and who is behind it.',
          command: `curl -s '${API}/api/v1/violations?severity=critical' | jq '.violations[] | {id, rule, explanation, device, holders}'`,
        },
        {
          does: 'What the kernel itself noticed: refcount warnings, use after free, general protection faults.',
          command: `journalctl -k -b | grep -E 'refcount_t|KASAN|BUG:|WARNING:|general protection|vfio|mdev'`,
        },
      ],
      fix:
        'Do not close, remove or unload anything first: the last close is what crashes. Keep the ' +
        'evidence (`curl …/api/v1/violations/ID > evidence.json`), migrate or save the other guests, ' +
        'then reboot. Report it to the makers of the driver with the evidence.',
      falseWhen: `${PATCHED} After you have looked and decided not to reboot, silence it for that instance and rule.`,
    },
    fires: {
      title: 'a device is torn down under its user',
      series: [acted('removed-while-open', 'critical')],
      at: 4,
      labels: { rule: 'removed-while-open' },
    },
    quiet: {
      title: 'the rule is there and has found nothing',
      series: ['vfioscope_violations_total{rule="removed-while-open",severity="critical"} 0x60'],
      at: 30,
    },
  },
  act('VfioscopeOpenRefused', REFUSED_OPENS, {
    because:
      'A VM did not get its device, and does not start; it is told at once, for it will not mend itself.',
    summary: 'A device could not be opened',
    description: 'A VMM asked for a device and was refused, or its driver got no VM that it needs.',
    runbook: {
      means: 'A process asked VFIO for a device and did not get it, or not as its driver needs it.',
      rules: REFUSED_OPENS,
      confirm: [
        violations(REFUSED_OPENS),
        {
          does: 'Which processes have groups open: a group belongs to one.',
          command: `find /proc/[0-9]*/fd -lname '/dev/vfio/*' -printf '%p %l\\n' 2>/dev/null`,
        },
        {
          does: 'Whether all devices of its group are bound to VFIO (`ADDRESS` of the device).',
          command: 'ls -l /sys/bus/pci/devices/ADDRESS/iommu_group/devices/*/driver',
        },
      ],
      fix: 'Follow the reason that stands in the explanation.',
      falseWhen:
        'A management service that probes by opening devices, or tests it. What it gets may be meant.',
    },
    fires: ['open-failed', 'warning'],
    quiet: ['open-without-kvm', 'info'],
    near: 'DPDK opens a device without a VM, as it should',
  }),
  act('VfioscopeVmMismatch', MISMATCHES, {
    because:
      'Nothing fails, which is why it is told: what a driver does for the guest is missing, or done for ' +
      'the wrong one, until the VM is restarted. That can wait until today.',
    summary: 'A device does not work for the VM that it should',
    description:
      'A device and its VM were joined or parted in the wrong order, or by the wrong process.',
    runbook: {
      means:
        'VFIO, KVM and the driver do not agree about the VM that a device works for, or about who uses it.',
      rules: MISMATCHES,
      confirm: [
        violations(MISMATCHES),
        {
          does: 'Which device is tied to which VM, as it was seen.',
          command: `curl -s ${API}/api/v1/devices | jq '.devices[] | {id, state, vm, openedBy}'`,
        },
        {
          does: 'Which processes have the group and the VM: it should be one.',
          command: `find /proc/[0-9]*/fd '(' -lname '*vfio*' -o -lname '*kvm-vm*' ')' -printf '%p %l\\n' 2>/dev/null`,
        },
      ],
      fix:
        'To mend a running VM, unplug the device and plug it in again. The VMM has to be mended: add the ' +
        'group to kvm-vfio before the device is opened, take it out after it is closed.',
      falseWhen:
        'A VMM that is made of several processes may open devices in one and VMs in another on purpose, ' +
        'with a driver that does not mind: `rules.drivers_needing_kvm`.',
    },
    fires: ['kvm-set-after-open', 'warning'],
    quiet: ['kvm-cleared-while-open', 'info'],
    near: 'on a kernel whose core holds the VM, the order does not matter',
  }),
  act('VfioscopeRemovalMishandled', MISHANDLED, {
    because:
      'A tool works against another, or does not wait; the device is mostly gone already, so there is ' +
      'nothing to wait for and nothing to be woken for.',
    summary: 'A device was removed in a way that fails or surprises',
    description:
      'A removal was refused, came too early, or took a device from somebody who uses it.',
    runbook: {
      means: 'Somebody removed a device at the wrong time, or one that is not theirs.',
      rules: MISHANDLED,
      confirm: [
        violations(MISHANDLED),
        {
          does: 'Whether the device is still there, and can be removed.',
          command: 'ls -d /sys/bus/mdev/devices/*/remove',
        },
        {
          does: 'What mdevctl or libvirt believe to own.',
          command: 'mdevctl list --defined; virsh nodedev-list --cap mdev',
        },
      ],
      fix: 'Make one tool own each device, and let it wait for the write to `create` before it goes on.',
      falseWhen:
        'An administrator who cleans up by hand what a service has made is “another”: that was meant.',
    },
    fires: ['removed-by-another', 'warning'],
    quiet: ['removed-by-another', 'info'],
    near: 'the device is open without a VM',
  }),
  act('VfioscopeUuidConflict', UUIDS, {
    because:
      'A VM cannot start, and whatever restarts it will fail again and again. It stays so until somebody ' +
      'settles who owns the UUID.',
    summary: 'A UUID is wanted twice',
    description:
      'A device could not be created, because its UUID is in use: on another parent, or by a device on its way out.',
    runbook: {
      means: 'Two owners want one UUID, or the old owner does not let go.',
      rules: UUIDS,
      confirm: [
        violations(UUIDS),
        {
          does: 'Where the UUID is in use.',
          command: 'ls -l /sys/bus/mdev/devices/',
        },
        {
          does: 'Who defines it.',
          command: 'mdevctl list --defined; virsh nodedev-list --cap mdev',
        },
      ],
      fix: 'Give one of the two another UUID, or end what the removal of the old device waits for.',
      falseWhen:
        'A tool that creates devices by trying, and takes EEXIST for success, on another parent.',
    },
    fires: ['uuid-held-by-dying-device', 'warning'],
    quiet: ['duplicate-uuid', 'info'],
    near: 'a create was repeated on the same parent',
  }),
  {
    name: 'VfioscopeDriverFault',
    severity: 'warning',
    for: 0,
    because:
      'A driver or the core counts wrong. Nothing is lost at this moment (else it is critical), but ' +
      'devices of that driver should not be handed out any more today.',
    expr: conditionsAndActs(MISCOUNTS, MISCALLS),
    summary: `{{ $labels.rule }}: a driver on {{ $labels.instance }} breaks the rules of VFIO`,
    description: `A driver registered, initialised or counted a device wrongly: {{ $labels.rule }} ${PLACE}.${WHERE}`,
    runbook: {
      means: 'A vendor driver, or the core, did what the interface of VFIO forbids.',
      rules: [...MISCOUNTS, ...MISCALLS],
      confirm: [
        violations([...MISCOUNTS, ...MISCALLS]),
        {
          does: 'Warnings of the kernel with the stack of the driver.',
          command: `journalctl -k -b | grep -A 20 'WARNING:.*vfio'`,
        },
        {
          does: 'Which version of which driver it is.',
          command: 'grep . /sys/module/*/version 2>/dev/null; uname -r',
        },
      ],
      fix: 'Take the host out of scheduling, report it with the evidence, and go back to the driver before.',
      falseWhen: PATCHED,
    },
    fires: {
      title: 'a driver registers a device twice, and that is the first thing that the agent tells',
      series: ['vfioscope_violations_total{rule="vfio-double-register",severity="error"} 1x20'],
      at: 3,
      labels: { rule: 'vfio-double-register' },
    },
    quiet: {
      title: 'it was half an hour ago',
      series: ['vfioscope_violations_total{rule="vfio-double-register",severity="error"} 1x60'],
      at: 40,
    },
  },
  {
    name: 'VfioscopeManyNotices',
    severity: 'info',
    for: 0,
    because:
      'A single notice (`info`) is what careful software may cause as well. More than ten objects in a ' +
      'quarter of an hour is a tool that goes on and on.',
    expr: 'sum without (severity) (increase(vfioscope_violations_total{severity="info"}[15m])) > 10',
    summary:
      '{{ $labels.rule }}: {{ $value | printf "%.0f" }} times in 15 minutes on {{ $labels.instance }}',
    description: `Something that is harmless once happens again and again.${WHERE}`,
    runbook: {
      means: 'Many findings of severity info by one rule. Each of these rules makes some:',
      rules: [
        ...['duplicate-uuid', 'instances-exhausted', 'create-serialised', 'open-without-kvm'],
        ...['nested-open', 'unset-container-busy', 'vfio-module-pinned', 'kvm-cleared-while-open'],
        ...['remove-races-parent-unregister', 'create-races-parent-unregister'],
        ...['removed-by-another', 'foreign-opener', 'kvm-set-after-open', 'vm-pinned-by-device'],
      ],
      confirm: [
        {
          does: 'Who does it: the process of each.',
          command: `curl -s '${API}/api/v1/violations?severity=info' | jq -r '.violations[] | [.rule, .process.comm, .process.unit] | @tsv' | sort | uniq -c | sort -n`,
        },
        {
          does: 'What that process says of it.',
          command: 'journalctl -b -u UNIT --since -30m',
        },
      ],
      fix: 'Let the tool that does it look before it tries, or wait longer before it tries again.',
      falseWhen:
        'User-space drivers such as DPDK open devices without a VM by design: silence open-without-kvm ' +
        'there. A test that creates and removes devices all day.',
    },
    fires: {
      title: 'a tool asks a full parent again and again',
      series: ['vfioscope_violations_total{rule="instances-exhausted",severity="info"} 0+2x30'],
      at: 20,
      labels: { rule: 'instances-exhausted' },
    },
    quiet: {
      title: 'it asks now and then',
      series: [
        'vfioscope_violations_total{rule="instances-exhausted",severity="info"} 0x4 1x9 2x20',
      ],
      at: 20,
    },
  },
];

/** Alerts on acts differ in words only. */
function act(
  name: string,
  rules: readonly string[],
  row: Pick<Alert, 'because' | 'summary' | 'description'> & {
    readonly runbook: Runbook;
    /** Rule and severity of a finding that is told, and of one that is not. */
    readonly fires: readonly [string, string];
    readonly quiet: readonly [string, string];
    readonly near: string;
  },
): Alert {
  const [rule, severity] = row.fires;
  return {
    name,
    severity: 'warning',
    for: 0,
    because: `${row.because} An act has no end, so it is told for a quarter of an hour.`,
    expr: acts(rules),
    summary: `{{ $labels.rule }} on {{ $labels.instance }}: ${row.summary[0]?.toLowerCase()}${row.summary.slice(1)}`,
    description: `${row.description} It was {{ $labels.rule }} on {{ $labels.instance }}.${WHERE}`,
    runbook: row.runbook,
    fires: { title: row.summary, series: [acted(rule, severity)], at: 4, labels: { rule } },
    quiet: { title: row.near, series: [acted(...row.quiet)], at: 4 },
  };
}

export const ORDERS: AlertGroup = {
  title: 'Wrong orders',
  about:
    'One alert for each class of [rules](rules/README.md) that need the same answer. What happened has no ' +
    'end, so it is told for 15 minutes; only what puts the kernel at risk stays.',
  alerts: ALERTS,
};
