/** Alerts from the sums of a host, independent of its rules: calls that stall or fail, and capacity. */
import { type AlertGroup, API } from './alert.ts';
import { VM_LEAKS, ZOMBIES } from './expressions.ts';
import {
  AVAILABLE_INSTANCES,
  DRIVER_LOG,
  ITS_HOLDER_MAY_RUN_A_GUEST,
  KEEP_KVM_LOADED,
  OPERATIONS_IN_FLIGHT,
  STALLED_CALLS,
  VMS_WITHOUT_PROCESS,
} from './steps.ts';
import { vmSeries } from './test-series.ts';

/** What `vm-pinned-by-device` reports as info: the VMM was updated while its guest ran, so that nothing has to be done. */
const UPDATED =
  'sum by (cluster, job, instance) (vfioscope_violations_open{rule="vm-pinned-by-device",severity="info"})';
const ALL_ZOMBIES = 'sum by (cluster, job, instance) (vfioscope_vms{state="zombie"})';
const LEAKED = `rule=~"${VM_LEAKS.join('|')}",severity=~"warning|error"`;

export const OPERATIONS: AlertGroup = {
  title: 'Stalls, failures, capacity',
  description: 'From sums that every agent exports, independent of its rules.',
  alerts: [
    {
      name: 'VfioscopeOperationStuck',
      severity: 'warning',
      for: 60,
      rationale:
        'Rules report stalls earlier and know more about them. This alert covers what they do not: calls of a ' +
        'device that is older than the agent, rules that are disabled or inactive. Nothing takes ten minutes ' +
        'that works.',
      expr:
        'time() - vfioscope_operation_oldest_start_timestamp_seconds > $operation_stuck_seconds\n' +
        'unless on (cluster, job, instance) vfioscope_violations_open{rule=~".+-stall|request-ignored"} > 0',
      summary:
        'A call ({{ $labels.operation }}) on {{ $labels.instance }} has not returned for {{ $value | humanizeDuration }}',
      description:
        'The oldest call of the operation {{ $labels.operation }} on {{ $labels.instance }} has been in progress for {{ $value | humanizeDuration }}, and no rule reports a stall there. Its process is blocked in the kernel, and what is done to the same device or parent waits behind it. GET /api/v1/operations on the agent of that host shows it.',
      runbook: {
        firstDo:
          'Read which call it is, about which device, and where its thread is blocked (step 1).',
        firstDont:
          'Do not kill its process, and do not remove the device: one more task would wait.',
        confirm: [OPERATIONS_IN_FLIGHT, STALLED_CALLS, DRIVER_LOG],
        fix:
          'If the driver waits for firmware or hardware, reset that as its vendor describes. No signal ends a ' +
          'process in state D: if what it waits for does not end, only a reboot does.',
        why: 'A call of mdev, VFIO or KVM that began long ago has not returned.',
        falsePositives:
          'A driver that takes longer than that for a correct call, and whose rule is disabled for that reason.',
      },
      fires: {
        title: 'a driver hangs, and the rule is disabled',
        series: ['vfioscope_operation_oldest_start_timestamp_seconds{operation="create"} _ 60x30'],
        at: 15,
        labels: { operation: 'create' },
      },
      doesNotFire: {
        title: 'one create follows the other, each takes a minute',
        series: ['vfioscope_operation_oldest_start_timestamp_seconds{operation="create"} 0+60x30'],
        at: 15,
      },
      also: [
        {
          title: 'a rule reports the stall',
          series: [
            'vfioscope_operation_oldest_start_timestamp_seconds{operation="create"} _ 60x30',
            'vfioscope_violations_open{rule="create-stall",severity="error"} 0 1x30',
          ],
          at: 15,
          others: [
            {
              ...{ alertname: 'VfioscopeCallStalled', severity: 'warning', rule: 'create-stall' },
              ...{ instance: 'host1:10055', job: 'vfioscope' },
            },
          ],
        },
      ],
    },
    {
      name: 'VfioscopeZombieVms',
      severity: 'warning',
      for: 1800,
      rationale:
        'VfioscopeVmLeaked covers what rules can prove, and where it applies this alert does not fire. ' +
        'It covers the rest, such as VMs that are older than the agent. VMs that a live update of their VMM has ' +
        'left are not counted. Half an hour is longer than the teardown of any guest.',
      expr:
        'sum without (state) (vfioscope_vms{state="zombie"})\n' +
        `> on (cluster, job, instance) (${UPDATED} or 0 * ${ALL_ZOMBIES})\n` +
        `unless on (cluster, job, instance) vfioscope_violations_open{${LEAKED}} > 0`,
      summary: `{{ $value }} zombie VM(s) on {{ $labels.instance }}${ZOMBIES}`,
      description: `For half an hour, there have been VMs on {{ $labels.instance }} ({{ $value }} now) whose file descriptors are all closed and that the kernel has not freed${ZOMBIES}. The memory of their guests stays allocated. GET /api/v1/vms on the agent of that host shows which VMs, and what may hold them.`,
      runbook: {
        firstDo: 'Find out whether a process still holds a device of the VM (step 1, `holders`).',
        firstDont: `${ITS_HOLDER_MAY_RUN_A_GUEST} ${KEEP_KVM_LOADED}`,
        confirm: [
          {
            shows: 'Which VMs, who created them, and what holds them.',
            command: `curl -sS ${API}/api/v1/vms | jq '.vms[] | select(.state == "zombie") | {id, name, uuid, systemdUnit, quality, createdBy, fdClosed, usersCount, devices, holders}'`,
            nothing: 'the VM was freed meanwhile',
          },
          VMS_WITHOUT_PROCESS,
        ],
        fix:
          'As in [VfioscopeVmLeaked](VfioscopeVmLeaked.md): end every process whose `how` is `holds` or ' +
          '`opened` (step 1) and that runs no other guest; `may hold` is only a suspicion. If nothing holds ' +
          'the VM, plan a reboot.',
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
      also: [
        {
          title: 'VfioscopeVmLeaked fires on the host, and stands for it',
          series: [
            'vfioscope_vms{state="zombie"} _ 1x60',
            'vfioscope_violations_open{rule="kvm-ref-leak",severity="error"} 0 1x60',
          ],
          at: 45,
          others: [
            {
              ...{ alertname: 'VfioscopeVmLeaked', severity: 'warning', rule: 'kvm-ref-leak' },
              ...{ instance: 'host1:10055', job: 'vfioscope' },
            },
          ],
        },
        {
          title: 'its VMM was updated while the guest ran',
          series: [
            'vfioscope_vms{state="zombie"} _ 1x60',
            'vfioscope_violations_open{rule="vm-pinned-by-device",severity="info"} _ 1x60',
          ],
          at: 45,
        },
        {
          title: 'beside a VM that a live update has left, there is an older one',
          series: [
            'vfioscope_vms{state="zombie"} _ 2x60',
            'vfioscope_violations_open{rule="vm-pinned-by-device",severity="info"} _ 1x60',
          ],
          at: 45,
          labels: {},
        },
        {
          title: 'of two zombie VMs, one has a name and one has only a unit, and a third VM runs',
          series: [
            'vfioscope_vms{state="zombie"} _ 2x60',
            vmSeries('vm3', 600, { vm_name: 'web-3', systemd_unit: 'machine-qemu-1.scope' }),
            vmSeries('vm4', 700, { systemd_unit: 'qemu@db-1.service' }),
            vmSeries('vm5', 800, { vm_name: 'cache-1' }),
            ...['vm3', 'vm4'].map((vm) => `vfioscope_vm_state{vm="${vm}",state="zombie"} 1x60`),
            'vfioscope_vm_state{vm="vm5",state="running"} 1x60',
          ],
          at: 45,
          labels: {},
          text: {
            summary: '2 zombie VM(s) on host1:10055: web-3 (pid 600), qemu@db-1.service (pid 700)',
            description:
              'For half an hour, there have been VMs on host1:10055 (2 now) whose file descriptors are all closed and that the kernel has not freed: web-3 (pid 600), qemu@db-1.service (pid 700). The memory of their guests stays allocated. GET /api/v1/vms on the agent of that host shows which VMs, and what may hold them.',
            runbook_url: 'http://host1:10055/docs/runbooks/VfioscopeZombieVms',
          },
        },
      ],
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
            command: `curl -sS ${API}/api/v1/devices | jq '.devices[] | {id, parent, mdevType, state, openCount, createdBy, openedBy}'`,
            nothing: 'nobody has a device; something else uses the capacity of the parent',
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
      expr:
        'sum by (cluster, job, mdev_type) (vfioscope_parent_available_instances) == 0\n' +
        'and on (cluster, job, mdev_type) vfioscope_devices',
      about: 'fleet',
      summary:
        'No host{{ with $labels.cluster }} of {{ . }}{{ end }} can create another {{ $labels.mdev_type }}',
      description:
        'No parent of any host{{ with $labels.cluster }} of {{ . }}{{ end }} has an instance of {{ $labels.mdev_type }} left, so the next VM that needs one cannot be placed. Hosts whose agent cannot be scraped are not counted.',
      runbook: {
        firstDo:
          'Find the devices of that type that nobody uses (step 1: states other than `open`).',
        firstDont:
          'Do not order hardware before you have looked for VfioscopeDeviceLeaked and ' +
          'VfioscopeCapacityLost: what was lost there is missing here.',
        confirm: [
          {
            shows:
              'On the host of Prometheus: where the devices of that type are, and in which state (`TYPE` is the label `mdev_type`).',
            command: `promtool query instant http://localhost:9090 'sum by (instance, parent, state) (vfioscope_devices{mdev_type="TYPE"})'`,
          },
          { ...AVAILABLE_INSTANCES, shows: 'On a host: how many devices it can still create.' },
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
        labels: { job: 'vfioscope', mdev_type: 'A40-8Q' },
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
      also: [
        {
          title: 'one of two clusters has none left, the other has',
          series: [
            'vfioscope_devices{state="open",parent="gpu0",mdev_type="A40-8Q",cluster="east"} 6x60',
            'vfioscope_devices{state="open",parent="gpu0",mdev_type="A40-8Q",cluster="west"} 6x60',
            'vfioscope_parent_available_instances{parent="gpu0",mdev_type="A40-8Q",cluster="east"} 0x60',
            'vfioscope_parent_available_instances{parent="gpu0",mdev_type="A40-8Q",cluster="west"} 1x60',
          ],
          at: 20,
          labels: { job: 'vfioscope', mdev_type: 'A40-8Q', cluster: 'east' },
          others: [
            {
              ...{ alertname: 'VfioscopeParentFull', severity: 'info' },
              ...{ instance: 'host1:10055', job: 'vfioscope', parent: 'gpu0', cluster: 'east' },
            },
          ],
        },
      ],
    },
  ],
};
