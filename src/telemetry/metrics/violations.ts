/** What happened in the wrong order, in sums. */
import { type MetricGroup, tally } from './metric.ts';

export const VIOLATIONS: MetricGroup = {
  title: 'Violations',
  about:
    'What happened in the wrong order, by [rule](rules/README.md). Which devices, who is behind it ' +
    'and the evidence are in `/api/v1/violations`.',
  metrics: [
    {
      name: 'vfioscope_violations_total',
      type: 'counter',
      labels: ['rule', 'severity'],
      help: 'Violations raised, once at each severity that they reached',
      query:
        'sum by (instance, rule) (increase(vfioscope_violations_total{severity="critical"}[10m])) > 0',
      collect({ source, raised }, samples) {
        for (const [key, count] of source.rules.raised) {
          samples.show(count, key.split(' '), raised.of(key));
        }
      },
    },
    {
      name: 'vfioscope_violations_open',
      type: 'gauge',
      labels: ['rule', 'severity'],
      help: 'Conditions that last and are not resolved yet',
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
      name: 'vfioscope_findings_held_back_total',
      type: 'counter',
      labels: ['rule'],
      help: 'Findings that were not raised, because the life that they are about was not seen whole, or a look at the host had put off a close',
      query: 'sum by (instance, rule) (increase(vfioscope_findings_held_back_total[1h])) > 0',
      collect({ source }, samples) {
        for (const [rule, count] of source.rules.heldBack) samples.show(count, [rule]);
      },
    },
  ],
};
