/** Alerts on the agent: is it there, does it see, does it keep up. */
import { type AlertGroup, API } from './alert.ts';

const DOCTOR = {
  does: 'What works on this host, what does not, and why.',
  command: 'sudo vfioscope doctor',
};
const LOG = {
  does: 'What the agent said last.',
  command: 'journalctl -u vfioscope -n 50',
};
const PROBES = {
  does: 'What is watched, what was lost and why.',
  command: `curl -s ${API}/api/v1/probes | jq '{lost, failed: [.points[] | select(.state == "failed")]}'`,
};

export const AGENT: AlertGroup = {
  title: 'The agent',
  about:
    'Whether the other alerts can be relied on. While an agent cannot be reached, what it said before ' +
    'is gone from Prometheus, and its alerts clear; VfioscopeAgentDown then stands in for them.',
  alerts: [
    {
      name: 'VfioscopeAgentDown',
      severity: 'warning',
      for: 300,
      because:
        'An upgrade or a reboot takes minutes. Without the agent nothing breaks, but nothing is seen, ' +
        'and alerts of that host have cleared without being over.',
      expr: 'up{job="vfioscope"} == 0',
      summary: 'vfioscope on {{ $labels.instance }} does not answer',
      description:
        'Prometheus cannot scrape vfioscope on {{ $labels.instance }} for five minutes. Nobody watches the devices there, and alerts about them have cleared for that reason only.',
      runbook: {
        means:
          'A target of the job `vfioscope` does not answer, or not in time, or not with metrics.',
        confirm: [
          {
            does: 'Whether it runs, and answers on the host itself.',
            command: `systemctl status vfioscope; curl -s ${API}/-/healthy`,
          },
          LOG,
          DOCTOR,
          {
            does: 'Whether the kernel ended it.',
            command: `journalctl -k -b | grep -iE 'out of memory|oom|killed process'`,
          },
        ],
        fix:
          'Start it again: devices and VMs that are there are known within a second. With `--pin`, what ' +
          'happened meanwhile is not lost either.',
        falseWhen: 'The host was taken away on purpose: take it out of the targets, too.',
      },
      fires: {
        title: 'it has not answered for ten minutes',
        series: ['up 1 0x20'],
        at: 10,
        labels: {},
      },
      quiet: { title: 'it is upgraded', series: ['up 1 0x3 1x20'], at: 4 },
    },
    {
      name: 'VfioscopeAgentsAbsent',
      severity: 'warning',
      for: 900,
      because:
        'When service discovery or the job is broken there is no target that could be down. A quarter ' +
        'of an hour outlasts a restart of Prometheus.',
      expr: 'absent(up{job="vfioscope"})',
      summary: 'Prometheus has no target of the job vfioscope',
      description:
        'There is no host on which Prometheus looks for vfioscope, so no alert about devices can fire.',
      runbook: {
        means: 'The job `vfioscope` is missing in Prometheus, has another name, or finds no hosts.',
        confirm: [
          {
            does: 'The targets that Prometheus has (`dropped` are those that relabelling took away).',
            command: `curl -s http://localhost:9090/api/v1/targets | jq '.data.activeTargets[].labels'`,
          },
          {
            does: 'What Prometheus says of its settings and of service discovery.',
            command: 'journalctl -u prometheus --since -1h | grep -iE "config|discovery"',
          },
          {
            does: 'Whether an agent answers on a host where one should be.',
            command: `curl -s ${API}/-/healthy`,
          },
        ],
        fix: 'Mend the job in prometheus.yml; see [alerts](../alerts.md) for one that works.',
        falseWhen:
          'The job has another name: change it in the rules (`job="vfioscope"` stands in two of them).',
      },
      fires: {
        title: 'another job only',
        series: ['up{job="node"} 1x60'],
        at: 30,
        labels: { job: 'vfioscope' },
      },
      quiet: { title: 'one of two is there', series: ['up 1x60'], at: 30 },
    },
    {
      name: 'VfioscopeAgentRestarts',
      severity: 'warning',
      for: 0,
      because:
        'Three restarts in an hour are no upgrade: it crashes or is ended. Each time, what lasts is ' +
        'found again, and what is judged by its history is not.',
      expr: 'resets(vfioscope_scrape_duration_seconds_count[1h]) >= 3',
      summary:
        'vfioscope on {{ $labels.instance }} was restarted {{ $value }} times within an hour',
      description:
        'The agent on {{ $labels.instance }} does not stay up. Lives that began before its last start are judged by fewer rules.',
      runbook: {
        means: 'The count of its scrapes began anew at least three times within an hour.',
        confirm: [
          LOG,
          DOCTOR,
          {
            does: 'How often, and how it ended.',
            command: 'systemctl show vfioscope -p NRestarts,Result,ExecMainStatus',
          },
          {
            does: 'Whether the kernel ended it.',
            command: `journalctl -k -b | grep -iE 'out of memory|oom|killed process'`,
          },
        ],
        fix:
          'Give it more memory if that was it. `--pin` lets the next agent go on at the exact record. A ' +
          'crash is a bug: report it with the log.',
        falseWhen: 'Somebody tries out settings.',
      },
      fires: {
        title: 'it is restarted every ten minutes',
        series: ['vfioscope_scrape_duration_seconds_count 0+1x9 0+1x9 0+1x9 0+1x9 0+1x20'],
        at: 55,
        labels: {},
      },
      quiet: {
        title: 'it was upgraded, and set anew',
        series: ['vfioscope_scrape_duration_seconds_count 0+1x9 0+1x9 0+1x40'],
        at: 55,
      },
    },
    {
      name: 'VfioscopeProbeMissing',
      severity: 'warning',
      for: 600,
      because:
        'While a module is being loaded its points fail and are tried again. After ten minutes this ' +
        'kernel differs from what vfioscope knows: some rules are blind until somebody looks.',
      expr: 'vfioscope_probe_failed == 1',
      summary: 'vfioscope on {{ $labels.instance }} cannot watch {{ $labels.point }}',
      description:
        'The point {{ $labels.point }} cannot be watched on {{ $labels.instance }} although its module is loaded, so the rules that need it cannot fire there. vfioscope doctor on that host tells why.',
      runbook: {
        means:
          'A kernel function that the point needs is missing, inlined or must not be probed. Points of ' +
          'modules that are not loaded are not among them.',
        confirm: [
          PROBES,
          DOCTOR,
          {
            does: 'Whether the kernel lets anybody probe at all.',
            command:
              'cat /proc/sys/kernel/kptr_restrict /sys/kernel/security/lockdown /sys/kernel/debug/kprobes/enabled',
          },
          { does: 'Which rules are blind.', command: 'sudo vfioscope rules' },
        ],
        fix:
          'Follow what `vfioscope doctor` says. If the function has another name on your kernel, report ' +
          'it with the version of the kernel: a candidate is one line.',
        falseWhen:
          'A kernel that does not have the feature and does not need the point: report it, too.',
      },
      fires: {
        title: 'a kernel update took a function away',
        series: ['vfioscope_probe_failed{point="vfio.unregister"} 0x2 1x30'],
        at: 20,
        labels: { point: 'vfio.unregister' },
      },
      quiet: {
        title: 'a module is loaded',
        series: ['vfioscope_probe_failed{point="vfio.unregister"} 0x2 1x2 0x30'],
        at: 20,
      },
    },
    {
      name: 'VfioscopeEventsLost',
      severity: 'warning',
      for: 0,
      because:
        'Each loss leaves lives of which the end or the cause is not known; a second one may be avoided ' +
        'by a larger ring. It is told for a quarter of an hour after the last one.',
      expr:
        'increase(vfioscope_events_lost_total[15m]) > 0\n' +
        'or (vfioscope_events_lost_total unless vfioscope_events_lost_total offset 15m) > 0',
      summary: 'vfioscope on {{ $labels.instance }} loses events: {{ $labels.reason }}',
      description:
        'Events on {{ $labels.instance }} did not arrive ({{ $labels.reason }}). Lives that were going on are tainted until a look at the host, and rules that follow from their history stay silent about them.',
      runbook: {
        means: 'Something happened in the kernel that the agent did not get to know.',
        confirm: [
          PROBES,
          {
            does: 'How full the ring is, and how far the reader is behind.',
            command: `curl -s ${API}/metrics | grep -E '^vfioscope_(ring|reader|probe_missed|sequence)'`,
          },
          {
            does: 'Whether the agent gets the CPU.',
            command: 'cat /proc/pressure/cpu; systemctl show vfioscope -p CPUQuotaPerSecUSec,Nice',
          },
        ],
        fix:
          '`ring_full`: raise `ring.bytes`, or give the agent more CPU. `probe_missed`, `calls_full`: more ' +
          'calls were under way than probes can follow; report it with the numbers. `unreadable`, ' +
          '`malformed`: report it.',
        falseWhen: 'Never: it is counted, not guessed. A load test may be the cause.',
      },
      fires: {
        title: 'the ring was full',
        series: ['vfioscope_events_lost_total{reason="ring_full"} 0x2 40x30'],
        at: 5,
        labels: { reason: 'ring_full' },
      },
      quiet: {
        title: 'that was half an hour ago',
        series: ['vfioscope_events_lost_total{reason="ring_full"} 0x2 40x60'],
        at: 40,
      },
    },
    {
      name: 'VfioscopeTainted',
      severity: 'warning',
      for: 300,
      because:
        'A look at the host mends it within seconds of each loss. Lasting for minutes, the look fails or ' +
        'the loss goes on, and rules stay silent about everything that was alive.',
      expr: 'vfioscope_state_tainted == 1',
      summary: 'vfioscope on {{ $labels.instance }} cannot vouch for what it knows',
      description:
        'Events were lost on {{ $labels.instance }}, and no look at the host has put the state right since. Rules are silent about what was alive then.',
      runbook: {
        means: 'The agent knows that it does not know.',
        rules: ['observer-gap'],
        confirm: [
          {
            does: 'What was lost and why, and when last.',
            command: `curl -s ${API}/api/v1/probes | jq .lost`,
          },
          {
            does: 'What the agent says of its looks.',
            command: `journalctl -u vfioscope --since -30m | grep -E 'looked|lost'`,
          },
          {
            does: 'Whether it may read what it has to.',
            command: 'sudo vfioscope doctor',
          },
          { does: 'Whether it gets the CPU.', command: 'cat /proc/pressure/cpu' },
        ],
        fix: 'If the ring is full, raise `ring.bytes`. If it may not look, give it the rights that `vfioscope doctor` names.',
        falseWhen: 'A load test that creates and opens devices as fast as it can, all the time.',
      },
      fires: {
        title: 'the look at the host fails',
        series: ['vfioscope_state_tainted 0 1x20'],
        at: 10,
        labels: {},
      },
      quiet: {
        title: 'a loss is mended by a look',
        series: ['vfioscope_state_tainted 0 1x2 0x20'],
        at: 10,
      },
    },
    {
      name: 'VfioscopeRingFillsUp',
      severity: 'warning',
      for: 120,
      because:
        'The agent empties the ring many times a second; half full in each of two minutes of scrapes, it ' +
        'cannot keep up, and the next burst is lost.',
      expr: 'vfioscope_ring_backlog_bytes / vfioscope_ring_size_bytes > 0.5',
      summary: 'vfioscope on {{ $labels.instance }} cannot keep up',
      description:
        'The ring buffer on {{ $labels.instance }} is {{ $value | humanizePercentage }} full. Events will be lost.',
      runbook: {
        means: 'More is written than the agent reads.',
        confirm: [
          {
            does: 'How full it is, and how many events come.',
            command: `curl -s ${API}/metrics | grep -E '^vfioscope_(ring|reader|events_total)'`,
          },
          {
            does: 'Whether the agent gets the CPU.',
            command: 'cat /proc/pressure/cpu; systemctl show vfioscope -p CPUQuotaPerSecUSec,Nice',
          },
        ],
        fix: 'Give the agent more CPU. A larger ring (`ring.bytes`) helps against bursts only.',
        falseWhen: 'A load test.',
      },
      fires: {
        title: 'it lags behind for minutes',
        series: [
          'vfioscope_ring_backlog_bytes 0 800000x20',
          'vfioscope_ring_size_bytes 1048576x20',
        ],
        at: 5,
        labels: {},
      },
      quiet: {
        title: 'a burst',
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
      because:
        'Nothing is missed: sums have them all. But alerts and dashboards do not name every device, ' +
        'which somebody may want to change when it lasts.',
      expr: 'sum without (object) (vfioscope_series_capped) > 0',
      summary: '{{ $value }} devices or VMs on {{ $labels.instance }} have no series of their own',
      description:
        'There are more devices, VMs or violations on {{ $labels.instance }} than metrics.max_devices. Alerts on those without series name the rule only.',
      runbook: {
        means: 'More objects exist than may have series of their own.',
        confirm: [
          {
            does: 'Of what, and how many.',
            command: `curl -s ${API}/metrics | grep '^vfioscope_series_capped'`,
          },
          { does: 'How many devices the kernel has.', command: 'ls /sys/bus/mdev/devices | wc -l' },
        ],
        fix: 'Raise `metrics.max_devices`, if Prometheus can bear the series, or set `metrics.per_device: false`.',
        falseWhen: 'The cap is meant. Silence it.',
      },
      fires: {
        title: 'a host with more devices than the cap',
        series: [
          'vfioscope_series_capped{object="device"} 0 20x120',
          'vfioscope_series_capped{object="vm"} 0x120',
        ],
        at: 90,
        labels: {},
      },
      quiet: {
        title: 'a test for half an hour',
        series: ['vfioscope_series_capped{object="device"} 0 20x29 0x60'],
        at: 90,
      },
    },
    {
      name: 'VfioscopeLogLinesDropped',
      severity: 'info',
      for: 0,
      because:
        'The API and the metrics still have everything; only the log, which others may read, has not.',
      expr: 'increase(vfioscope_log_lines_dropped_total[15m]) > 0',
      summary: 'vfioscope on {{ $labels.instance }} could not write its log',
      description:
        'Nobody read the log of vfioscope on {{ $labels.instance }} in time, so {{ $value | printf "%.0f" }} lines of it are missing.',
      runbook: {
        means:
          'Whoever reads the output of the agent was too slow, and the agent does not wait for anybody.',
        confirm: [
          {
            does: 'How many lines are missing since it was started.',
            command: `curl -s ${API}/metrics | grep '^vfioscope_log_lines_dropped'`,
          },
          LOG,
          {
            does: 'Whether journald limits it.',
            command: `journalctl -u systemd-journald --since -1h | grep -i suppressed`,
          },
        ],
        fix: 'Mend whatever reads the log: a full disk, a pipe that nobody empties.',
        falseWhen: 'The output was stopped by hand, such as by Ctrl-S in a terminal.',
      },
      fires: {
        title: 'a disk is full',
        series: ['vfioscope_log_lines_dropped_total 0x2 30x30'],
        at: 5,
        labels: {},
      },
      quiet: {
        title: 'lines were lost before this Prometheus knew the agent',
        series: ['vfioscope_log_lines_dropped_total 30x30'],
        at: 5,
      },
    },
  ],
};
