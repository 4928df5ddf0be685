/** The agent itself: what it watches, what it costs, which one it is. */
import { isWatched } from '../../events/source.ts';
import { OUTCOMES, SIGNALS } from '../export-counts.ts';
import type { MetricGroup } from './metric.ts';

export const WATCHING: MetricGroup = {
  title: 'Probes and rules',
  about: 'What is watched on this kernel, and which rules can therefore judge.',
  metrics: [
    {
      name: 'vfioscope_probe_attached',
      type: 'gauge',
      labels: ['point', 'function', 'method'],
      help: '1 if the point is watched, and by which kernel function and kind of probe',
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
      help: '1 if the point cannot be watched although its module is loaded',
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
      help: 'Calls that the kernel could not run the probe for',
      query: 'sum by (instance, point) (increase(vfioscope_probe_missed_total[10m])) > 0',
      collect({ source }, samples) {
        for (const { point, missed } of source.probes()) samples.show(missed, [point]);
      },
    },
    {
      name: 'vfioscope_rule_active',
      type: 'gauge',
      labels: ['rule'],
      help: '1 if everything that the rule needs is watched; not there for what cannot happen on this kernel',
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
  about: 'Which one it is, and what it does beside watching.',
  metrics: [
    {
      name: 'vfioscope_build_info',
      type: 'gauge',
      labels: ['version', 'node'],
      help: 'Always 1; which agent this is, and the Node that runs it',
      query: 'count by (version) (vfioscope_build_info)',
      collect({ source }, samples) {
        samples.show(1, [source.version, process.versions.node]);
      },
    },
    {
      name: 'vfioscope_scrape_duration_seconds',
      type: 'summary',
      labels: [],
      help: 'How long the scrapes before this one held the event loop',
      query:
        'rate(vfioscope_scrape_duration_seconds_sum[5m]) / rate(vfioscope_scrape_duration_seconds_count[5m])',
      collect({ cost }, samples) {
        samples.part('_sum', cost.held / 1e9);
        samples.part('_count', cost.scrapes);
      },
    },
    {
      name: 'vfioscope_log_lines_dropped_total',
      type: 'counter',
      labels: [],
      help: 'Log lines that nobody read in time',
      query: 'increase(vfioscope_log_lines_dropped_total[10m]) > 0',
      collect({ source }, samples) {
        samples.show(source.logLinesDropped());
      },
    },
    {
      name: 'vfioscope_log_lines_held_back_total',
      type: 'counter',
      labels: ['rule'],
      help: 'Log lines about violations that were not written, because a rule had too many',
      query: 'sum by (rule) (increase(vfioscope_log_lines_held_back_total[10m])) > 0',
      collect({ source }, samples) {
        for (const [rule, count] of source.logLinesHeldBack) samples.show(count, [rule]);
      },
    },
    {
      name: 'vfioscope_otlp_items_total',
      type: 'counter',
      labels: ['signal', 'outcome'],
      help: 'Spans and log records for the OpenTelemetry collector, by what became of them',
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
