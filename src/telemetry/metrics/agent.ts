/** The agent itself: its probes and rules, its version, its own cost. */
import { isWatched } from '../../events/source.ts';
import { SECOND } from '../../units.ts';
import { OUTCOMES, SIGNALS } from '../export-counts.ts';
import { COMPONENTS } from '../internal-errors.ts';
import type { MetricGroup } from './metric.ts';

export const WATCHING: MetricGroup = {
  title: 'Probes and rules',
  about: 'Which points are watched on this kernel, and which rules are active because of that.',
  metrics: [
    {
      name: 'vfioscope_probe_attached',
      type: 'gauge',
      labels: ['point', 'function', 'method'],
      help: '1 if the point is watched, else 0; with the kernel function and the kind of probe',
      query: 'count by (instance) (vfioscope_probe_attached == 0)',
      collect({ source }, samples) {
        for (const probe of source.probes()) {
          const { point, symbol = '', method = '' } = probe;
          samples.show(isWatched(probe) ? 1 : 0, [point, symbol, method]);
        }
      },
    },
    {
      name: 'vfioscope_probe_failed',
      type: 'gauge',
      labels: ['point'],
      help: '1 if the point cannot be watched although its module is loaded, else 0',
      query: 'vfioscope_probe_failed == 1',
      collect({ source }, samples) {
        for (const { point, state } of source.probes()) {
          samples.show(state === 'failed' ? 1 : 0, [point]);
        }
      },
    },
    {
      name: 'vfioscope_probe_missed_total',
      type: 'counter',
      labels: ['point'],
      fromPinning: true,
      fromFirstUse: true,
      help: 'Calls for which the kernel did not run the probe (recursion, no free kretprobe instance)',
      query: 'sum by (instance, point) (increase(vfioscope_probe_missed_total[10m])) > 0',
      collect({ source }, samples) {
        for (const { point, missed } of source.probes())
          if (missed > 0) samples.show(missed, [point]);
      },
    },
    {
      name: 'vfioscope_rule_active',
      type: 'gauge',
      labels: ['rule'],
      help: '1 if all points that the rule needs are watched, else 0; absent where its violation cannot occur on this kernel',
      query: 'count by (instance) (vfioscope_rule_active == 0)',
      collect({ source }, samples) {
        for (const { id, active, impossible } of source.ruleStates()) {
          if (impossible === undefined) samples.show(active ? 1 : 0, [id]);
        }
      },
    },
  ],
};

export const AGENT: MetricGroup = {
  title: 'The agent',
  about: 'Its version, its log, its export to a collector, and the cost of a scrape.',
  metrics: [
    {
      name: 'vfioscope_build_info',
      type: 'gauge',
      labels: ['version', 'nodejs_version'],
      help: 'Always 1; version of vfioscope and of the Node.js that runs it',
      query: 'count by (version) (vfioscope_build_info)',
      collect({ source }, samples) {
        samples.show(1, [source.version, process.versions.node]);
      },
    },
    {
      name: 'vfioscope_scrape_duration_seconds',
      type: 'summary',
      labels: [],
      help: 'Time for which earlier scrapes occupied the event loop',
      query:
        'rate(vfioscope_scrape_duration_seconds_sum[5m]) / rate(vfioscope_scrape_duration_seconds_count[5m])',
      collect({ cost }, samples) {
        samples.part('_sum', cost.held / SECOND);
        samples.part('_count', cost.scrapes);
      },
    },
    {
      name: 'vfioscope_log_lines_dropped_total',
      type: 'counter',
      labels: [],
      help: 'Log lines dropped because they could not be written (a full disk, a closed pipe) or were not read in time',
      query: 'increase(vfioscope_log_lines_dropped_total[10m]) > 0',
      collect({ source }, samples) {
        samples.show(source.logLinesDropped());
      },
    },
    {
      name: 'vfioscope_log_lines_suppressed_total',
      type: 'counter',
      labels: ['rule'],
      fromFirstUse: true,
      help: 'Log lines about violations that were suppressed by the rate limit of a rule',
      query: 'sum by (rule) (increase(vfioscope_log_lines_suppressed_total[10m])) > 0',
      collect({ source }, samples) {
        for (const [rule, count] of source.logLinesSuppressed) samples.show(count, [rule]);
      },
    },
    {
      name: 'vfioscope_kernel_log_skipped_total',
      type: 'counter',
      labels: [],
      help: 'Records of the kernel log that were not read because the kernel logged too many',
      query: 'increase(vfioscope_kernel_log_skipped_total[10m]) > 0',
      collect({ source }, samples) {
        samples.show(source.kernelLogSkipped());
      },
    },
    {
      name: 'vfioscope_internal_errors_total',
      type: 'counter',
      labels: ['component'],
      help: 'Errors of the agent itself, which are bugs: rules that threw, HTTP responses and readings of metrics for a collector that failed',
      query: 'sum by (instance, component) (increase(vfioscope_internal_errors_total[1h])) > 0',
      collect({ source: { internalErrors } }, samples) {
        for (const component of COMPONENTS) samples.show(internalErrors.of(component), [component]);
      },
    },
    {
      name: 'vfioscope_last_internal_error_timestamp_seconds',
      type: 'gauge',
      labels: ['component'],
      help: 'When an error of the agent itself last happened, 0 if never',
      query: 'time() - vfioscope_last_internal_error_timestamp_seconds < 3600',
      collect({ source: { internalErrors } }, samples) {
        for (const component of COMPONENTS)
          samples.show(internalErrors.latest(component), [component]);
      },
    },
    {
      name: 'vfioscope_otlp_items_total',
      type: 'counter',
      labels: ['signal', 'outcome'],
      help: 'Spans, log records and data points of metrics for the OpenTelemetry collector, by outcome',
      query:
        'sum by (signal, outcome) (increase(vfioscope_otlp_items_total{outcome!="sent"}[10m])) > 0',
      collect({ source: { exported } }, samples) {
        if (!exported) return;
        for (const signal of SIGNALS) {
          for (const outcome of OUTCOMES) {
            samples.show(exported.of(signal, outcome), [signal, outcome]);
          }
        }
      },
    },
  ],
};
