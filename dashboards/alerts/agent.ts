/** Alerts on the agent: whether it runs, attaches its probes, and keeps up with the events. */
import { type AlertGroup, API } from './alert.ts';
import { agentLog, kernelLog } from './steps.ts';

const DOCTOR = {
  shows: 'What works on this host, what does not, and why.',
  command: 'sudo vfioscope doctor',
};
const LOG = {
  shows: 'The last log lines of the agent.',
  command: 'sudo journalctl --no-pager -u vfioscope -n 50',
};
const PROBES = {
  shows: 'Which probes failed to attach, how many events were lost, and why.',
  command: `curl -sS ${API}/api/v1/probes | jq '{lost, failed: [.points[] | select(.state == "failed")]}'`,
};
const OOM = kernelLog(
  'Whether the kernel killed it for lack of memory.',
  'Out of memory|oom-kill|Killed process',
);
const CPU_SHARE = [
  { shows: 'Whether the host has enough CPU.', command: 'cat /proc/loadavg; nproc' },
  {
    shows: 'How much of it the agent may use.',
    command: 'systemctl show vfioscope -p CPUQuotaPerSecUSec,Nice',
  },
];

export const AGENT: AlertGroup = {
  title: 'The agent',
  description:
    'Whether the other alerts can be relied on. While an agent cannot be scraped, its series are stale ' +
    'in Prometheus and the alerts of its host clear; VfioscopeAgentDown then stands in for them.',
  alerts: [
    {
      name: 'VfioscopeAgentDown',
      severity: 'warning',
      for: 300,
      rationale:
        'An upgrade or a reboot takes minutes. Guests run on without the agent, but nothing is ' +
        'observed, and alerts of that host have cleared although their cause may remain. The average also ' +
        'finds an agent that answers now and then: one that is restarted again and again.',
      expr: 'avg_over_time(up[10m]) < 0.5',
      about: 'unanswered',
      summary: 'vfioscope on {{ $labels.instance }} cannot be scraped',
      description:
        'More than half of the scrapes of vfioscope on {{ $labels.instance }} have failed for ten minutes. Devices and VMs on that host are not observed, and alerts about them have cleared for that reason only.',
      runbook: {
        firstDo: 'Find out on the host whether the agent runs, and start it if it does not.',
        firstDont:
          'Do not take alerts of that host that cleared in the meantime for resolved: they cleared ' +
          'because the agent could not be scraped.',
        confirm: [
          { shows: 'Whether it runs.', command: 'systemctl --no-pager status vfioscope' },
          { shows: 'Whether it answers on the host itself.', command: `curl -sS ${API}/-/healthy` },
          LOG,
          DOCTOR,
          OOM,
        ],
        fix:
          'Start it again: its first host snapshot finds the existing devices and VMs. With `--pin`, the ' +
          'probes also recorded what happened in the meantime.',
        why:
          'A target of the job `vfioscope` does not answer, answers later than the scrape timeout, or ' +
          'does not answer with metrics.',
        falsePositives:
          'The host was taken out of service on purpose: remove it from the targets as well.',
      },
      fires: {
        title: 'the agent does not answer for a quarter of an hour',
        series: ['up 1x10 0x20', 'up{instance="host2:10055"} 1x30'],
        at: 25,
        labels: {},
        text: {
          summary: 'vfioscope on host1:10055 cannot be scraped',
          description:
            'More than half of the scrapes of vfioscope on host1:10055 have failed for ten minutes. Devices and VMs on that host are not observed, and alerts about them have cleared for that reason only.',
          runbook_url: 'http://host2:10055/docs/runbooks/VfioscopeAgentDown',
        },
      },
      doesNotFire: { title: 'the agent is upgraded', series: ['up 1x10 0x3 1x20'], at: 20 },
      also: [
        {
          title: 'the agent crashes within seconds of each start, and answers one scrape in four',
          series: ['up 1x10 0x2 1 0x2 1 0x2 1 0x2 1 0x2 1 0x2 1 0x20'],
          at: 28,
          labels: {},
        },
        {
          title: 'Prometheus did not run for 12 minutes',
          series: ['up 1x10 _x11 1x20'],
          at: 23,
        },
      ],
    },
    {
      name: 'VfioscopeAgentsAbsent',
      severity: 'warning',
      for: 900,
      rationale:
        'When service discovery or the job is broken, no target exists that could be down. 15 minutes ' +
        'outlast a restart of Prometheus.',
      expr: 'absent(up)',
      about: 'fleet',
      summary: 'Prometheus has no target of the job vfioscope',
      description:
        'Prometheus scrapes no host for vfioscope, so no alert about devices and VMs can fire on any host.',
      runbook: {
        firstDo:
          'Look at the targets and the service discovery of the job `vfioscope` in Prometheus.',
        firstDont:
          'Do not conclude from the absence of other alerts that all hosts are well: none of them can fire.',
        confirm: [
          {
            shows:
              'On the host of Prometheus: the targets that it has; `droppedTargets` of the answer were removed by relabelling.',
            command: `curl -sS http://localhost:9090/api/v1/targets | jq '.data.activeTargets[].labels'`,
          },
          {
            shows: 'There: what Prometheus logs about its configuration and service discovery.',
            command:
              'sudo journalctl --no-pager -u prometheus --since -1h | grep -iE "config|discovery"',
            nothing: 'Prometheus has logged nothing of the kind for an hour',
          },
          {
            shows: 'On a host that should have an agent: whether it answers.',
            command: `curl -sS ${API}/-/healthy`,
          },
        ],
        fix: 'Correct the job in prometheus.yml; [alerts](../alerts.md) shows one that works.',
        why: 'The job `vfioscope` is missing in Prometheus, has another name, or discovers no hosts.',
        falsePositives:
          'The job has another name: set `selector` and render the rules again ([mixin](../mixin.md)).',
      },
      fires: {
        title: 'only another job exists',
        series: ['up{job="node"} 1x60'],
        at: 30,
        labels: { job: 'vfioscope' },
        text: {
          summary: 'Prometheus has no target of the job vfioscope',
          description:
            'Prometheus scrapes no host for vfioscope, so no alert about devices and VMs can fire on any host.',
          runbook_url: 'docs/runbooks/VfioscopeAgentsAbsent.md',
        },
      },
      doesNotFire: { title: 'a target of the job exists', series: ['up 1x60'], at: 30 },
    },
    {
      name: 'VfioscopeAgentRestarts',
      severity: 'warning',
      for: 0,
      rationale:
        'Three restarts within an hour are not an upgrade: the agent crashes or is killed. After each ' +
        'restart, ongoing violations are found again, but rules that depend on history are suppressed.',
      expr: 'changes(process_start_time_seconds[1h]) >= $restarts_per_hour',
      summary:
        'vfioscope on {{ $labels.instance }} was restarted {{ $value }} times within an hour',
      description:
        'The agent on {{ $labels.instance }} does not stay up: it crashes or is killed. Fewer rules evaluate devices and VMs that were created before its last start. See the log of vfioscope on that host.',
      runbook: {
        firstDo: 'Read the last lines of the log, and save them before they are rotated.',
        firstDont:
          'Do not restart the agent again: each restart costs rules the history of the objects ' +
          'that exist (unless `--pin` is set).',
        confirm: [
          LOG,
          DOCTOR,
          {
            shows: 'How often it restarted, and how it ended.',
            command: 'systemctl show vfioscope -p NRestarts,Result,ExecMainStatus',
          },
          OOM,
        ],
        fix:
          'Give it more memory if the kernel killed it. With `--pin`, the next agent resumes at the ' +
          'exact record. A crash is a bug: report it with the log.',
        why: 'Scrapes found at least three new processes within an hour.',
        falsePositives: 'Somebody is trying out settings.',
      },
      fires: {
        title: 'the agent restarts every ten minutes',
        series: ['process_start_time_seconds 0x9 600x9 1200x9 1800x9 2400x20'],
        at: 55,
        labels: {},
      },
      doesNotFire: {
        title: 'the agent was upgraded, and restarted for a new setting',
        series: ['process_start_time_seconds 0x9 600x9 1200x40'],
        at: 55,
      },
      also: [
        {
          title: 'it crashes after each scrape, before there is a second',
          series: ['up 1x60', 'process_start_time_seconds 0+60x60'],
          at: 55,
          labels: {},
        },
      ],
    },
    {
      name: 'VfioscopeProbeMissing',
      severity: 'warning',
      for: 600,
      rationale:
        'Probes of a module that is being loaded fail and are tried again. After ten minutes the ' +
        'kernel differs from those that vfioscope knows, and rules stay inactive until somebody acts.',
      expr: 'vfioscope_probe_failed == 1',
      summary: 'vfioscope on {{ $labels.instance }} cannot attach the probe {{ $labels.point }}',
      description:
        'The probe point {{ $labels.point }} cannot be attached on {{ $labels.instance }} although its module is loaded. Rules that need it are inactive there. Run "vfioscope doctor" on that host for the reason.',
      runbook: {
        firstDo: 'Run `sudo vfioscope doctor`: it names the reason and what to do about it.',
        firstDont:
          'Do not restart the agent for this: it tries failed probes again by itself, and a restart ' +
          'costs history.',
        confirm: [
          PROBES,
          DOCTOR,
          {
            shows:
              'Whether the kernel permits kprobes at all: they must be enabled (1), and lockdown must not be `[confidentiality]`.',
            command: `sudo sh -c 'for f in /sys/kernel/security/lockdown /sys/kernel/debug/kprobes/enabled; do if [ -e $f ]; then echo "$f: $(cat $f)"; fi; done'`,
          },
          { shows: 'Which rules are inactive.', command: 'sudo vfioscope rules' },
        ],
        fix:
          'Follow `vfioscope doctor`. If the function has another name on your kernel, report it with ' +
          'the kernel version: a further candidate is one line of code.',
        why:
          'A kernel function that the probe point needs is missing, inlined, or must not be probed. ' +
          'Points of modules that are not loaded do not raise this alert.',
        falsePositives:
          'The kernel lacks the feature and does not need the probe point: report that, too.',
      },
      fires: {
        title: 'a kernel update removed a function',
        series: ['vfioscope_probe_failed{point="vfio.unregister"} 0x2 1x30'],
        at: 20,
        labels: { point: 'vfio.unregister' },
      },
      doesNotFire: {
        title: 'a module is being loaded',
        series: ['vfioscope_probe_failed{point="vfio.unregister"} 0x2 1x2 0x30'],
        at: 20,
      },
    },
    {
      name: 'VfioscopeOverBudget',
      severity: 'warning',
      for: 0,
      rationale:
        'The agent waits until the cost has lasted, and does not reattach at once. While points are detached, ' +
        'rules are inactive; and the load that caused it may be a fault of the host.',
      expr: 'vfioscope_budget_exceeded == 1',
      summary: 'vfioscope on {{ $labels.instance }} is over its budget ({{ $labels.budget }})',
      description:
        'The probes or the agent on {{ $labels.instance }} cost more than budget.{{ $labels.budget }}_percent allows. The most expensive probe points are detached, and the rules that need them are inactive, until the cost has been low for some time. See vfioscope_probe_detached for the points.',
      runbook: {
        firstDo: 'Find out which points are detached and which calls were so many (steps 1 and 2).',
        firstDont:
          'Do not restart the agent: it would begin with all points, and be over its budget again. Do not ' +
          'conclude from the absence of other alerts that this host is well: rules are inactive.',
        confirm: [
          {
            shows:
              'Which points are detached, with the cost, and which rules are inactive because of that.',
            command: `curl -sS ${API}/api/v1/probes | jq '{points: [.points[] | select(.state == "detached") | {point, reason}], rules: [.rules[] | select(.detached != []) | .id]}'`,
          },
          {
            shows: 'What the agent did because of the cost, with figures.',
            command: 'sudo journalctl --no-pager -u vfioscope --since -1d | grep -i budget',
            nothing: 'the agent has detached nothing for a day',
          },
          {
            shows: 'What each point and the agent cost.',
            command: `curl -sS ${API}/metrics | grep -E '^vfioscope_(budget|probe_run_time)|^process_cpu_seconds'`,
          },
          {
            shows:
              'Which VMs exist, of whom, and how many references they have, if it is about kvm.get and kvm.put.',
            command: `curl -sS ${API}/api/v1/vms | jq '.vms[] | {id, createdBy, usersCount}'`,
            nothing: 'there is no VM',
          },
        ],
        fix:
          'End the load if it is a fault, such as a tool that opens statistics of KVM in a loop. The points come ' +
          'back by themselves. If the load is right and the cost acceptable, raise `budget.probes_percent` or ' +
          '`budget.agent_percent`; 0 switches a limit off. If the agent is over its budget without events, ' +
          'find the client that asks for `/metrics` or the API too often.',
        why:
          'Points that are called very often cost the guests of the host CPU time, so the agent gives them up, ' +
          'those first that only few rules need.',
        falsePositives:
          'A load test. In a VM that its host keeps from running, programs seem to take longer.',
      },
      fires: {
        title: 'a storm of references',
        series: ['vfioscope_budget_exceeded{budget="probes"} 0x2 1x30'],
        at: 5,
        labels: { budget: 'probes' },
      },
      doesNotFire: {
        title: 'the points are attached again',
        series: ['vfioscope_budget_exceeded{budget="probes"} 0x2 1x10 0x30'],
        at: 20,
      },
    },
    {
      name: 'VfioscopeEventsLost',
      severity: 'warning',
      for: 0,
      rationale:
        'Each loss leaves devices and VMs whose end or cause is unknown; a larger ring may prevent the ' +
        'next one. The alert fires for 15 minutes after the last loss.',
      expr: 'time() - vfioscope_last_loss_timestamp_seconds < $one_shot_seconds',
      summary: 'vfioscope on {{ $labels.instance }} loses events: {{ $labels.reason }}',
      description:
        'Events on {{ $labels.instance }} did not reach the agent (reason: {{ $labels.reason }}). Devices and VMs that existed then are unverified until a host snapshot resynchronises the state, and rules that depend on their history are suppressed.',
      runbook: {
        firstDo: 'Read the label `reason`: it decides about the fix.',
        firstDont:
          'Do not restart the agent: a host snapshot resynchronises the state by itself, and a restart ' +
          'loses the history of every object.',
        confirm: [
          PROBES,
          {
            shows: 'How full the ring buffer is, and how far the reader lags behind.',
            command: `curl -sS ${API}/metrics | grep -E '^vfioscope_(ring|reader|probe_missed|sequence)'`,
          },
          ...CPU_SHARE,
        ],
        fix:
          '`ring_full`: raise `ring.bytes`, or give the agent more CPU. `probe_missed`, `calls_full`: ' +
          'more calls were in flight than the probes can track; report it with the numbers. ' +
          '`unreadable`, `malformed`: report it.',
        why: 'Something happened in the kernel, and its event did not reach the agent.',
        falsePositives:
          'None: losses are counted, not estimated. A load test may have caused them.',
      },
      fires: {
        title: 'the ring buffer was full',
        series: ['vfioscope_last_loss_timestamp_seconds{reason="ring_full"} -9000x2 180x30'],
        at: 5,
        labels: { reason: 'ring_full' },
      },
      doesNotFire: {
        title: 'the loss was half an hour ago',
        series: [
          'vfioscope_last_loss_timestamp_seconds{reason="ring_full"} -9000x2 180x22 stale 180x60',
        ],
        at: 40,
      },
    },
    {
      name: 'VfioscopeStateUnverified',
      severity: 'warning',
      for: 300,
      rationale:
        'A host snapshot resynchronises the state within seconds of a loss. When that takes minutes, ' +
        'snapshots fail or losses continue, and rules are suppressed for every object of that time.',
      expr: 'vfioscope_state_unverified == 1',
      summary: 'The state of vfioscope on {{ $labels.instance }} is unverified',
      description:
        'Events were lost on {{ $labels.instance }}, and no host snapshot has resynchronised the state of the agent since. Rules are suppressed for the devices and VMs that existed then. See the log of vfioscope for snapshots that failed.',
      runbook: {
        firstDo:
          'Find out whether host snapshots fail or events continue to be lost (steps 1 and 2).',
        firstDont:
          'Do not conclude from the absence of other alerts that this host is well: rules are suppressed.',
        rules: ['observer-gap'],
        confirm: [
          {
            shows: 'How many events were lost, for which reason, and when last.',
            command: `curl -sS ${API}/api/v1/probes | jq .lost`,
          },
          agentLog(
            'What the agent logs about host snapshots and losses.',
            'snapshot\\.|events\\.lost',
            '-30m',
          ),
          {
            shows: 'Whether it has the permissions that a snapshot needs.',
            command: 'sudo vfioscope doctor',
          },
          ...CPU_SHARE,
        ],
        fix:
          'If the ring is full, raise `ring.bytes`. If the snapshot lacks permissions, grant those that ' +
          '`vfioscope doctor` names.',
        why:
          'Events were lost, and the agent cannot verify which devices and VMs exist and in which ' +
          'state they are.',
        falsePositives: 'A load test that creates and opens devices at full speed without a pause.',
      },
      fires: {
        title: 'host snapshots fail',
        series: ['vfioscope_state_unverified 0 1x20'],
        at: 10,
        labels: {},
      },
      doesNotFire: {
        title: 'a host snapshot resynchronises the state after a loss',
        series: ['vfioscope_state_unverified 0 1x2 0x20'],
        at: 10,
      },
    },
    {
      name: 'VfioscopeRingFillsUp',
      severity: 'warning',
      for: 120,
      rationale:
        'The agent empties the ring buffer many times a second. Half full at every scrape of two ' +
        'minutes, it cannot keep up, and the next burst is lost.',
      expr: 'vfioscope_ring_backlog_bytes / vfioscope_ring_size_bytes > 0.5',
      summary: 'vfioscope on {{ $labels.instance }} cannot keep up with the events',
      description:
        'The ring buffer of vfioscope on {{ $labels.instance }} is {{ $value | humanizePercentage }} full. Events will be lost when it is full. Give the agent more CPU.',
      runbook: {
        firstDo:
          'Give the agent more CPU: raise `CPUQuota` of the unit, or lower its `Nice` value.',
        firstDont:
          'Do not rely on a larger ring alone: it buffers bursts, not a reader that is always too slow.',
        confirm: [
          {
            shows: 'How full the ring buffer is, and how many events arrive.',
            command: `curl -sS ${API}/metrics | grep -E '^vfioscope_(ring|reader|events_total)'`,
          },
          ...CPU_SHARE,
        ],
        fix: 'Give the agent more CPU. A larger ring (`ring.bytes`) helps against bursts only.',
        why: 'The probes write events faster than the agent reads them.',
        falsePositives: 'A load test.',
      },
      fires: {
        title: 'the reader lags for minutes',
        series: [
          'vfioscope_ring_backlog_bytes 0 800000x20',
          'vfioscope_ring_size_bytes 1048576x20',
        ],
        at: 5,
        labels: {},
      },
      doesNotFire: {
        title: 'a burst of events',
        series: [
          'vfioscope_ring_backlog_bytes 0 800000 0x20',
          'vfioscope_ring_size_bytes 1048576x20',
        ],
        at: 5,
      },
    },
    {
      name: 'VfioscopeSeriesCapped',
      severity: 'info',
      for: 3600,
      rationale:
        'Nothing is missed: the sums include all objects. But alerts and dashboards do not name every ' +
        'device, which somebody may want to change if it lasts.',
      expr: 'sum without (object) (vfioscope_series_capped) > 0',
      summary: '{{ $value }} objects on {{ $labels.instance }} have no series of their own',
      description:
        'There are more devices, VMs or violations on {{ $labels.instance }} than metrics.max_devices permits series for. Alerts about those without series name the rule only.',
      runbook: {
        firstDo: 'Decide whether Prometheus can hold the additional series.',
        firstDont:
          'Do not assume that an alert names every device that is concerned: use the API for the full list.',
        confirm: [
          {
            shows: 'How many objects of which kind have no series.',
            command: `curl -sS ${API}/metrics | grep '^vfioscope_series_capped'`,
          },
          {
            shows: 'How many mediated devices the kernel has.',
            command: 'ls /sys/bus/mdev/devices | wc -l',
          },
        ],
        fix: 'Raise `metrics.max_devices` if Prometheus can hold the series, or set `metrics.per_device: false`.',
        why: 'More objects exist than may have series of their own.',
        falsePositives: 'The cap is intended: silence the alert.',
      },
      fires: {
        title: 'a host has more devices than the cap',
        series: [
          'vfioscope_series_capped{object="device"} 0 20x120',
          'vfioscope_series_capped{object="vm"} 0x120',
        ],
        at: 90,
        labels: {},
      },
      doesNotFire: {
        title: 'a test of half an hour',
        series: ['vfioscope_series_capped{object="device"} 0 20x29 0x60'],
        at: 90,
      },
    },
    {
      name: 'VfioscopeInternalErrors',
      severity: 'warning',
      for: 0,
      rationale:
        'A rule that throws may miss violations, and a response or export that fails may hide one: somebody ' +
        'should report it today. The alert fires for 15 minutes after the last error.',
      expr: 'time() - vfioscope_last_internal_error_timestamp_seconds < $one_shot_seconds',
      summary:
        'vfioscope on {{ $labels.instance }} has an internal error ({{ $labels.component }})',
      description:
        'A part of vfioscope on {{ $labels.instance }} failed ({{ $labels.component }}), which is a bug. If it is "rule", violations of that rule may be missing.',
      runbook: {
        firstDo: 'Save the log lines of the error (step 1), and report them.',
        firstDont: 'Do not restart the agent for this: the other rules and responses work.',
        confirm: [
          agentLog(
            'The errors, with the rule or the path that failed.',
            'rule\\.error|http\\.failed|otlp\\.failed',
            '-1h',
          ),
          {
            shows: 'How many there were, by component.',
            command: `curl -sS ${API}/metrics | grep '^vfioscope_internal_errors'`,
          },
        ],
        fix: 'Upgrade to a version that has it corrected. Until then, `rules.disabled` silences a rule that fails.',
        why: 'A rule of the agent threw an error, an HTTP response failed, or metrics could not be read for a collector.',
        falsePositives: 'None: each of these errors is a bug.',
      },
      fires: {
        title: 'a rule throws',
        series: [
          'vfioscope_last_internal_error_timestamp_seconds{component="rule"} -9000x2 180x30',
        ],
        at: 5,
        labels: { component: 'rule' },
      },
      doesNotFire: {
        title: 'nothing has failed, and the machine was booted a minute ago',
        series: ['vfioscope_last_internal_error_timestamp_seconds{component="rule"} -9000x30'],
        at: 1,
      },
    },
    {
      name: 'VfioscopeSnapshotIncomplete',
      severity: 'warning',
      for: 600,
      rationale:
        'A part of the host that a snapshot cannot read stays unknown after a loss or a start. Snapshots are ' +
        'repeated after seconds, so ten minutes mean that a permission or a mount is missing. Without debugfs only ' +
        'VMs from before the agent that no process holds are unknown: that alone raises no alert.',
      expr: 'vfioscope_last_snapshot_incomplete{code!="snapshot.debugfs-unreadable"} == 1',
      summary:
        'vfioscope on {{ $labels.instance }} cannot read a part of the host ({{ $labels.code }})',
      description:
        'The last host snapshot on {{ $labels.instance }} could not read a part of the host ({{ $labels.code }}), so that devices, files or VMs from before the start of the agent may be unknown. The log names the reason.',
      runbook: {
        firstDo: 'Read what could not be read, and why (step 1).',
        firstDont:
          'Do not conclude that a device has no holder because none is shown: files may not have been read.',
        confirm: [
          agentLog('What could not be read, and what to do.', 'snapshot\\.incomplete', '-1h'),
          DOCTOR,
        ],
        fix: 'Grant what `vfioscope doctor` names: a capability, or /proc of the host in a container. [errors](../errors.md) explains the code.',
        why: 'The last host snapshot of the agent is incomplete.',
        falsePositives: 'A host on which a part is hidden on purpose: silence the alert there.',
      },
      fires: {
        title: 'files of processes are hidden',
        series: ['vfioscope_last_snapshot_incomplete{code="snapshot.files-unreadable"} 1x30'],
        at: 15,
        labels: { code: 'snapshot.files-unreadable' },
      },
      doesNotFire: {
        title: 'debugfs is not mounted, as in a container',
        series: ['vfioscope_last_snapshot_incomplete{code="snapshot.debugfs-unreadable"} 1x30'],
        at: 15,
      },
    },
    {
      name: 'VfioscopeRuleInactive',
      severity: 'info',
      for: 1800,
      rationale:
        'A rule that was active yesterday needs a point that is not watched any more: mostly after an update of ' +
        'the kernel. Points that fail to attach raise VfioscopeProbeMissing instead. It fires for a day.',
      expr:
        '(vfioscope_rule_active == 0 and vfioscope_rule_active offset 1d == 1)\n' +
        'unless on (cluster, job, instance) vfioscope_probe_failed == 1',
      summary: 'The rule {{ $labels.rule }} is no longer active on {{ $labels.instance }}',
      description:
        'The rule {{ $labels.rule }} was active on {{ $labels.instance }} a day ago and is not now. Its violations are not found there.',
      runbook: {
        firstDo: 'Read why it is inactive (step 1).',
        firstDont: 'Do not conclude that such violations no longer happen.',
        confirm: [
          {
            shows: 'Which rules are inactive, and which point each of them lacks.',
            command: 'sudo vfioscope rules',
          },
          { shows: 'Which kernel runs, and since when.', command: 'uname -r; uptime' },
        ],
        fix: 'If a module was unloaded on purpose, nothing. If the kernel was updated, report it with its version.',
        why: 'A point that the rule needs is not watched any more.',
        falsePositives: 'The module of the point was unloaded because nobody needs it.',
      },
      fires: {
        title: 'a kernel update removed a function',
        series: ['vfioscope_rule_active{rule="kvm-ref-leak"} 1x1500 0x120'],
        at: 1560,
        labels: { rule: 'kvm-ref-leak' },
      },
      doesNotFire: {
        title: 'the rule was never active on this host',
        series: ['vfioscope_rule_active{rule="kvm-ref-leak"} 0x1700'],
        at: 1560,
      },
    },
    {
      name: 'VfioscopeExportFails',
      severity: 'info',
      for: 0,
      rationale:
        '`/metrics`, log and API are complete; only the collector misses items. Ten spans or log records in a ' +
        'quarter of an hour are more than a collector loses that is restarted. An export of metrics has the ' +
        'counts of all before it, so one that fails loses little: there the alert fires when more points failed than were sent.',
      expr:
        'sum without (outcome) (increase(vfioscope_otlp_items_total{outcome!="sent",signal!="metrics"}[15m])) > 10 or ' +
        '(sum without (outcome) (increase(vfioscope_otlp_items_total{outcome!="sent",signal="metrics"}[15m])) > ' +
        'sum without (outcome) (increase(vfioscope_otlp_items_total{outcome="sent",signal="metrics"}[15m])))',
      summary: 'vfioscope on {{ $labels.instance }} cannot export its {{ $labels.signal }}',
      description:
        '{{ $value | printf "%.0f" }} items ({{ $labels.signal }}) of vfioscope on {{ $labels.instance }} did not reach the OpenTelemetry collector within 15 minutes.',
      runbook: {
        firstDo: 'Find out whether the collector answers (step 1).',
        firstDont: 'Do not treat what the collector has of that time as complete.',
        confirm: [
          agentLog('What the agent logs about its exports.', 'otlp\\.', '-1h'),
          {
            shows: 'How many items were sent, refused or dropped.',
            command: `curl -sS ${API}/metrics | grep '^vfioscope_otlp_items'`,
            nothing:
              'the agent exports nothing, so the alert is about a process before its last start',
          },
        ],
        fix: 'Repair the collector or its address ([traces](../traces.md)). The agent tries again by itself.',
        why: 'The collector is unreachable or refuses items, or there are more than the queue takes.',
        falsePositives: 'The collector was stopped on purpose.',
      },
      fires: {
        title: 'the collector is down',
        series: [
          'vfioscope_otlp_items_total{signal="traces",outcome="failed"} 0x2 0+5x30',
          'vfioscope_otlp_items_total{signal="traces",outcome="sent"} 100x32',
        ],
        at: 15,
        labels: { signal: 'traces' },
      },
      doesNotFire: {
        title: 'the collector is restarted',
        series: [
          'vfioscope_otlp_items_total{signal="traces",outcome="failed"} 0x2 3x30',
          'vfioscope_otlp_items_total{signal="metrics",outcome="failed"} 0x2 400x30',
          'vfioscope_otlp_items_total{signal="metrics",outcome="sent"} 0+400x32',
        ],
        at: 15,
      },
      also: [
        {
          title: 'the collector refuses metrics',
          series: [
            'vfioscope_otlp_items_total{signal="metrics",outcome="failed"} 0x2 0+400x30',
            'vfioscope_otlp_items_total{signal="metrics",outcome="queue_full"} 0x32',
            'vfioscope_otlp_items_total{signal="metrics",outcome="sent"} 800x32',
          ],
          at: 15,
          labels: { signal: 'metrics' },
        },
      ],
    },
    {
      name: 'VfioscopeLogLinesDropped',
      severity: 'info',
      for: 0,
      rationale: 'The API and the metrics are complete; only consumers of the log miss lines.',
      expr: 'increase(vfioscope_log_lines_dropped_total[15m]) > 0',
      summary: 'vfioscope on {{ $labels.instance }} dropped log lines',
      description:
        'The log of vfioscope on {{ $labels.instance }} could not be written, or its consumer was too slow, so {{ $value | printf "%.0f" }} lines were dropped. The API and the metrics are complete.',
      runbook: {
        firstDo: 'Use the API instead of the log for the time of the loss.',
        firstDont: 'Do not treat the log of that time as complete.',
        confirm: [
          {
            shows: 'How many lines were dropped since the agent started.',
            command: `curl -sS ${API}/metrics | grep '^vfioscope_log_lines_dropped'`,
          },
          LOG,
          {
            shows: 'Whether journald limits the rate.',
            command: `sudo journalctl --no-pager -u systemd-journald --since -1h | grep -i suppressed`,
            nothing: 'journald has suppressed nothing for an hour',
          },
        ],
        fix: 'Repair the consumer of the log: a full disk, or a pipe that nobody reads. The agent continues to log by itself.',
        why: 'The output of the agent could not be written (a full disk, a reader that has gone) or was not read in time, and the agent drops lines rather than wait.',
        falsePositives: 'The output was stopped by hand, for instance by Ctrl-S in a terminal.',
      },
      fires: {
        title: 'a disk is full',
        series: ['vfioscope_log_lines_dropped_total 0x2 30x30'],
        at: 5,
        labels: {},
      },
      doesNotFire: {
        title: 'lines were dropped before Prometheus first scraped the agent',
        series: ['vfioscope_log_lines_dropped_total 30x30'],
        at: 5,
      },
    },
  ],
};
