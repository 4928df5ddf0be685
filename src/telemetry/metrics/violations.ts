/** Violations in sums: how many were raised, are open, or were suppressed. */
import { type MetricGroup, tally } from './metric.ts';

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
      help: 'Occurrences of violations: a one-shot one each time, an ongoing one when it begins, and each again when its severity rises',
      query:
        'sum by (instance, rule) (increase(vfioscope_violations_total{severity="critical"}[10m])) > 0',
      collect({ source, raised }, samples) {
        for (const [key, count] of source.rules.occurred) {
          samples.show(count, key.split(' '), raised.of(key));
        }
      },
    },
    {
      name: 'vfioscope_violations_open',
      type: 'gauge',
      labels: ['rule', 'severity'],
      help: 'Ongoing violations that are not resolved',
      query: 'sum by (instance, rule, severity) (vfioscope_violations_open) > 0',
      collect({ source }, samples) {
        for (const { labels, count } of tally(
          source.rules.open(),
          (v) => `${v.rule}\0${v.severity}`,
        )) {
          samples.show(count, labels);
        }
      },
    },
    {
      name: 'vfioscope_findings_suppressed_total',
      type: 'counter',
      labels: ['rule'],
      help: 'Findings not raised as violations because the object was not observed completely, or a host snapshot delayed the close of a file',
      query: 'sum by (instance, rule) (increase(vfioscope_findings_suppressed_total[1h])) > 0',
      collect({ source }, samples) {
        for (const [rule, count] of source.rules.suppressed) samples.show(count, [rule]);
      },
    },
  ],
};
