/** What arrived from the kernel, what did not, and how far the reader is behind. */
import { momentIndex, POINT_NAMES, POINTS } from '../../lifecycle/points.ts';
import { SECOND } from '../../rules/rule.ts';
import type { MetricGroup, Samples } from './metric.ts';

export const EVENTS: MetricGroup = {
  title: 'Events and their loss',
  about:
    'Whether the answers can be trusted. What is lost is counted here and nowhere guessed; from a ' +
    'loss until a look at the host, the state is tainted.',
  metrics: [
    {
      name: 'vfioscope_events_total',
      type: 'counter',
      labels: ['point', 'phase'],
      help: 'Events received, by the point that tells them and whether a call began or ended',
      query: 'sum by (instance) (rate(vfioscope_events_total[5m]))',
      collect({ source }, samples) {
        byMoment(source.events, samples);
      },
    },
    {
      name: 'vfioscope_events_lost_total',
      type: 'counter',
      labels: ['reason'],
      help: 'Events that happened but did not arrive',
      query: 'sum by (instance, reason) (increase(vfioscope_events_lost_total[10m])) > 0',
      collect({ source }, samples) {
        for (const [reason, count] of Object.entries(source.lost)) samples.show(count, [reason]);
      },
    },
    {
      name: 'vfioscope_last_loss_timestamp_seconds',
      type: 'gauge',
      labels: [],
      help: 'When events were last found lost, 0 if never',
      query: 'time() - (vfioscope_last_loss_timestamp_seconds > 0)',
      collect({ source }, samples) {
        const at = source.lastLossAt();
        samples.show(at === 0 ? 0 : source.sinceEpoch(at));
      },
    },
    {
      name: 'vfioscope_state_tainted',
      type: 'gauge',
      labels: [],
      help: '1 from a loss until a look at the host has put the state right',
      query: 'max_over_time(vfioscope_state_tainted[10m]) == 1',
      collect({ source }, samples) {
        samples.show(source.world.isTainted || source.world.isLosing() ? 1 : 0);
      },
    },
    {
      name: 'vfioscope_reader_lag_seconds',
      type: 'gauge',
      labels: [],
      help: 'How long the oldest record that is not read yet has waited at most, 0 if none waits',
      query: 'max_over_time(vfioscope_reader_lag_seconds[10m]) > 1',
      collect({ source }, samples) {
        const isBehind = source.ring().backlog > 0;
        samples.show(isBehind ? Math.max(0, source.now() - source.world.now) / SECOND : 0);
      },
    },
    {
      name: 'vfioscope_ring_size_bytes',
      type: 'gauge',
      labels: [],
      help: 'Room for records in the ring buffer',
      query: 'vfioscope_ring_size_bytes',
      collect({ source }, samples) {
        samples.show(source.ring().bytes);
      },
    },
    {
      name: 'vfioscope_ring_backlog_bytes',
      type: 'gauge',
      labels: [],
      help: 'Records in the ring buffer that are not read yet',
      query: 'vfioscope_ring_backlog_bytes / vfioscope_ring_size_bytes > 0.5',
      collect({ source }, samples) {
        samples.show(source.ring().backlog);
      },
    },
    {
      name: 'vfioscope_ring_attempts_total',
      type: 'counter',
      labels: ['cpu'],
      help: 'Records that probes tried to write',
      query: 'sum by (instance) (rate(vfioscope_ring_attempts_total[5m]))',
      collect({ source }, samples) {
        for (const { cpu, attempts } of source.lanes()) samples.show(attempts, [`${cpu}`]);
      },
    },
    {
      name: 'vfioscope_ring_dropped_total',
      type: 'counter',
      labels: ['cpu'],
      help: 'Records that found the ring buffer full',
      query: 'sum by (instance) (increase(vfioscope_ring_dropped_total[10m])) > 0',
      collect({ source }, samples) {
        for (const { cpu, dropped } of source.lanes()) samples.show(dropped, [`${cpu}`]);
      },
    },
    {
      name: 'vfioscope_sequence_gaps_total',
      type: 'counter',
      labels: ['cpu'],
      help: 'Records that are missing in the sequence that was read',
      query: 'sum by (instance) (increase(vfioscope_sequence_gaps_total[10m])) > 0',
      collect({ source }, samples) {
        for (const [cpu, gaps] of source.sequenceGaps().entries()) samples.show(gaps, [`${cpu}`]);
      },
    },
    {
      name: 'vfioscope_pinned',
      type: 'gauge',
      labels: [],
      help: '1 if the probes go on recording without an agent',
      query: 'vfioscope_pinned == 0',
      collect({ source }, samples) {
        samples.show(source.pinned() ? 1 : 0);
      },
    },
    {
      name: 'vfioscope_pinned_records_total',
      type: 'counter',
      labels: ['point', 'phase'],
      help: 'Records read from the pinned ring buffer, by this agent and those before it',
      query: 'sum by (instance) (vfioscope_pinned_records_total)',
      collect({ source }, samples) {
        const counts = source.pinned()?.counts;
        if (counts) byMoment(counts, samples);
      },
    },
    {
      name: 'vfioscope_pinned_records_lost_total',
      type: 'counter',
      labels: [],
      help: 'Records that never reached any agent because the pinned ring buffer was full',
      query: 'increase(vfioscope_pinned_records_lost_total[1h]) > 0',
      collect({ source }, samples) {
        samples.show(source.pinned()?.lost ?? 0);
      },
    },
    {
      name: 'vfioscope_host_looks_total',
      type: 'counter',
      labels: ['reason'],
      help: 'Looks at what exists on the host',
      query: 'increase(vfioscope_host_looks_total{reason="loss"}[1h]) > 0',
      collect({ source }, samples) {
        for (const [reason, count] of source.looks.counts) samples.show(count, [reason]);
      },
    },
    {
      name: 'vfioscope_last_host_look_timestamp_seconds',
      type: 'gauge',
      labels: [],
      help: 'When the last look at the host began, 0 if there was none',
      query: 'time() - vfioscope_last_host_look_timestamp_seconds',
      collect({ source }, samples) {
        samples.show(source.looks.lastBegan);
      },
    },
    {
      name: 'vfioscope_last_host_look_seconds',
      type: 'gauge',
      labels: [],
      help: 'How long the last look at the host took',
      query: 'vfioscope_last_host_look_seconds > 1',
      collect({ source }, samples) {
        samples.show(source.looks.lastTook);
      },
    },
  ],
};

/** Those that there were: most hosts never see most of them. */
function byMoment(counts: Float64Array, samples: Samples): void {
  for (const point of POINT_NAMES) {
    for (const phase of ['begin', 'end']) {
      const count = counts[momentIndex(POINTS[point], phase === 'end')];
      if (count > 0) samples.show(count, [point, phase]);
    }
  }
}
