/** Violations in sums: how many were raised, are open, or were suppressed. */
import { type MetricGroup, tally, withZeros } from './metric.ts';

export const VIOLATIONS: MetricGroup = {
  title: 'Violations',
  about:
    'Ordering violations by [rule](rules/README.md). The devices concerned, the attribution (holders, ' +
    'creator, remover, blocked task) and the evidence are in `/api/v1/violations`.',
  metrics: [
    {
      name: 'vfioscope_violations_total',
      type: 'counter',
      labels: ['rule', 'severity'],
      help: 'Occurrences of violations: a one-shot one each time, an ongoing one when it begins, and each again when its severity rises; 0 for each rule that can fire on this kernel',
      query:
        'sum by (instance, rule) (increase(vfioscope_violations_total{severity="critical"}[10m])) > 0',
      collect({ source, raised }, samples) {
        const possible = new Set(source.rules.possible().map(({ id }) => id));
        for (const [key, count] of source.rules.occurred) {
          const [rule, severity] = key.split(' ');
          if (count === 0 && !possible.has(rule)) continue;
          samples.show(count, [rule, severity], raised.of(key));
        }
      },
    },
    {
      name: 'vfioscope_last_violation_timestamp_seconds',
      type: 'gauge',
      labels: ['rule', 'severity'],
      help: 'When a violation last began, was repeated, or became more severe, as far as this run of the agent has found any',
      query: 'time() - vfioscope_last_violation_timestamp_seconds{severity!="info"} < 900',
      collect({ latest }, samples) {
        for (const [key, at] of latest.violations) samples.show(at, key.split(' '));
      },
    },
    {
      name: 'vfioscope_critical_violation_timestamp_seconds',
      type: 'gauge',
      labels: [
        ...['violation_id', 'rule', 'device', 'parent', 'vm_pid', 'vm_comm', 'vm_name'],
        ...['holder_pid', 'holder_comm', 'systemd_unit'],
      ],
      help: 'When a critical violation last occurred, with the first process that held the device or VM then; of all runs of the agent since the host was booted',
      query: 'vfioscope_critical_violation_timestamp_seconds',
      collect({ source }, samples) {
        for (const one of source.criticals()) {
          const { id, rule, device, parent, vmPid, vmComm, vmName } = one;
          const { holderPid, holderComm, systemdUnit, at } = one;
          samples.show(at, [
            ...[id, rule, device, parent, vmPid, vmComm, vmName],
            ...[holderPid, holderComm, systemdUnit],
          ]);
        }
      },
    },
    {
      name: 'vfioscope_critical_violations_dropped_total',
      type: 'counter',
      labels: [],
      help: 'Critical violations that are no longer kept over restarts and have no series, because a hundred later ones do',
      query: 'sum by (instance) (increase(vfioscope_critical_violations_dropped_total[1h])) > 0',
      collect({ source }, samples) {
        samples.show(source.criticalsDropped());
      },
    },
    {
      name: 'vfioscope_violations_open',
      type: 'gauge',
      labels: ['rule', 'severity'],
      help: 'Ongoing violations that are not resolved; 0 for each rule that can fire on this kernel, at its least severity',
      query: 'sum by (instance, rule, severity) (vfioscope_violations_open) > 0',
      collect({ source }, samples) {
        const open = tally(source.rules.open(), (v) => `${v.rule}\0${v.severity}`);
        const none = source.rules.possible().map(({ id, severity }) => `${id}\0${severity}`);
        for (const { labels, count } of withZeros(open, none)) samples.show(count, labels);
      },
    },
    {
      name: 'vfioscope_findings_suppressed_total',
      type: 'counter',
      labels: ['rule'],
      fromFirstUse: true,
      help: 'Findings not raised as violations because the object was not observed completely, or a host snapshot delayed the close of a file',
      query: 'sum by (instance, rule) (increase(vfioscope_findings_suppressed_total[1h])) > 0',
      collect({ source }, samples) {
        for (const [rule, count] of source.rules.suppressed) samples.show(count, [rule]);
      },
    },
  ],
};
