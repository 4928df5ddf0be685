/** Events received and lost, and how far the reader lags behind the kernel. */

import { kindIndex, POINT_NAMES, POINTS } from '../../events/points.ts';
import type { LossReason } from '../../events/source.ts';
import { PROBLEM_CODES } from '../../problem-codes.ts';
import { SECOND } from '../../units.ts';
import type { MetricGroup } from './metric.ts';
import type { Samples } from './samples.ts';

const SNAPSHOT_PROBLEMS = Object.keys(PROBLEM_CODES).filter((code) => code.startsWith('snapshot.'));

export const EVENTS: MetricGroup = {
  title: 'Events and losses',
  about:
    'These metrics show whether the reported state can be trusted. Every lost event is counted. After a ' +
    'loss the state is unverified until a host snapshot has resynchronised it.',
  metrics: [
    {
      name: 'vfioscope_events_total',
      type: 'counter',
      labels: ['point', 'phase'],
      fromFirstUse: true,
      help: 'Events received, by point and by phase of the call',
      query: 'sum by (instance) (rate(vfioscope_events_total[5m]))',
      collect({ events }, samples) {
        byKind(events, samples);
      },
    },
    {
      name: 'vfioscope_events_lost_total',
      type: 'counter',
      labels: ['reason'],
      help: 'Events that occurred in the kernel but did not reach the agent, by reason',
      query: 'sum by (instance, reason) (increase(vfioscope_events_lost_total[10m])) > 0',
      collect({ source }, samples) {
        for (const [reason, count] of Object.entries(source.lost)) samples.show(count, [reason]);
      },
    },
    {
      name: 'vfioscope_last_loss_timestamp_seconds',
      type: 'gauge',
      labels: ['reason'],
      help: 'When a loss of events was last detected, by reason; 0 if never',
      query: 'time() - (vfioscope_last_loss_timestamp_seconds > 0)',
      collect({ source, latest }, samples) {
        for (const reason of Object.keys(source.lost) as LossReason[]) {
          samples.show(latest.losses.get(reason) ?? 0, [reason]);
        }
      },
    },
    {
      name: 'vfioscope_state_unverified',
      type: 'gauge',
      labels: [],
      help: '1 from a loss of events until a host snapshot has resynchronised the state, else 0',
      query: 'max_over_time(vfioscope_state_unverified[10m]) == 1',
      collect({ source }, samples) {
        samples.show(source.world.isUnverified || source.world.isLosing() ? 1 : 0);
      },
    },
    {
      name: 'vfioscope_reader_lag_seconds',
      type: 'gauge',
      labels: [],
      help: 'Upper bound of the time that the oldest unread record has been waiting, 0 if there is none',
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
      help: 'Size of the ring buffer',
      query: 'vfioscope_ring_size_bytes',
      collect({ source }, samples) {
        samples.show(source.ring().bytes);
      },
    },
    {
      name: 'vfioscope_ring_backlog_bytes',
      type: 'gauge',
      labels: [],
      help: 'Unread records in the ring buffer',
      query: 'vfioscope_ring_backlog_bytes / vfioscope_ring_size_bytes > 0.5',
      collect({ source }, samples) {
        samples.show(source.ring().backlog);
      },
    },
    {
      name: 'vfioscope_ring_attempts_total',
      type: 'counter',
      labels: ['cpu'],
      fromPinning: true,
      help: 'Records that probes tried to write to the ring buffer',
      query: 'sum by (instance) (rate(vfioscope_ring_attempts_total[5m]))',
      collect({ source }, samples) {
        for (const { cpu, attempts } of source.cpuCounters()) samples.show(attempts, [`${cpu}`]);
      },
    },
    {
      name: 'vfioscope_ring_dropped_total',
      type: 'counter',
      labels: ['cpu'],
      fromPinning: true,
      help: 'Records that were dropped because the ring buffer was full',
      query: 'sum by (instance) (increase(vfioscope_ring_dropped_total[10m])) > 0',
      collect({ source }, samples) {
        for (const { cpu, dropped } of source.cpuCounters()) samples.show(dropped, [`${cpu}`]);
      },
    },
    {
      name: 'vfioscope_sequence_gaps_total',
      type: 'counter',
      labels: ['cpu'],
      help: 'Records missing from the sequence numbers that the agent has read',
      query: 'sum by (instance) (increase(vfioscope_sequence_gaps_total[10m])) > 0',
      collect({ source }, samples) {
        for (const [cpu, gaps] of source.sequenceGaps().entries()) samples.show(gaps, [`${cpu}`]);
      },
    },
    {
      name: 'vfioscope_pinned',
      type: 'gauge',
      labels: [],
      help: '1 if the probes are pinned and continue to record while no agent runs, else 0',
      query: 'vfioscope_pinned == 0',
      collect({ source }, samples) {
        samples.show(source.pinned() ? 1 : 0);
      },
    },
    {
      name: 'vfioscope_pinned_records_total',
      type: 'counter',
      labels: ['point', 'phase'],
      fromPinning: true,
      help: 'Records read from the pinned ring buffer, by this agent and its predecessors',
      query: 'sum by (instance) (vfioscope_pinned_records_total)',
      collect({ source }, samples) {
        const counts = source.pinned()?.counts;
        if (counts) byKind(counts, samples);
      },
    },
    {
      name: 'vfioscope_pinned_records_lost_total',
      type: 'counter',
      labels: [],
      fromPinning: true,
      help: 'Records that reached no agent because the pinned ring buffer was full',
      query: 'increase(vfioscope_pinned_records_lost_total[1h]) > 0',
      collect({ source }, samples) {
        samples.show(source.pinned()?.lost ?? 0);
      },
    },
    {
      name: 'vfioscope_snapshots_total',
      type: 'counter',
      labels: ['reason'],
      help: 'Host snapshots taken, by reason',
      query: 'increase(vfioscope_snapshots_total{reason="loss"}[1h]) > 0',
      collect({ snapshots }, samples) {
        for (const [reason, count] of snapshots.counts) samples.show(count, [reason]);
      },
    },
    {
      name: 'vfioscope_last_snapshot_timestamp_seconds',
      type: 'gauge',
      labels: [],
      help: 'When the last host snapshot began, 0 if there was none',
      query: 'time() - vfioscope_last_snapshot_timestamp_seconds',
      collect({ snapshots }, samples) {
        samples.show(snapshots.lastBegan);
      },
    },
    {
      name: 'vfioscope_last_snapshot_incomplete',
      type: 'gauge',
      labels: ['code'],
      help: '1 if the last host snapshot could not read a part of the host, by its error code; else 0',
      query: 'vfioscope_last_snapshot_incomplete == 1',
      collect({ snapshots }, samples) {
        for (const code of SNAPSHOT_PROBLEMS) {
          samples.show(snapshots.lastProblems.includes(code) ? 1 : 0, [code]);
        }
      },
    },
    {
      name: 'vfioscope_last_snapshot_duration_seconds',
      type: 'gauge',
      labels: [],
      help: 'Duration of the last host snapshot',
      query: 'vfioscope_last_snapshot_duration_seconds > 1',
      collect({ snapshots }, samples) {
        samples.show(snapshots.lastTook);
      },
    },
  ],
};

/** Leaves out the event kinds that did not occur, which on most hosts are most of them. */
function byKind(counts: Float64Array, samples: Samples): void {
  for (const point of POINT_NAMES) {
    for (const phase of ['begin', 'end']) {
      const count = counts[kindIndex(POINTS[point], phase === 'end')];
      if (count > 0) samples.show(count, [point, phase]);
    }
  }
}
