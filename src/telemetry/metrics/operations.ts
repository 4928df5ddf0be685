/** How long operations take and how they fail. */
import { OPERATIONS as IN_PROGRESS, inProgress } from '../../lifecycle/operations.ts';
import type { MetricGroup } from './metric.ts';

export const OPERATIONS: MetricGroup = {
  title: 'Operations',
  about:
    'Kernel calls on a device, parent or VM, timed from entry to return. A call that blocks is counted ' +
    'when it returns; until then it is in `vfioscope_operations_in_progress`. Exemplars of ' +
    'the buckets link to the trace of the device. An operation and result have series from the first such ' +
    'call on; of operations that may wait for somebody the buckets reach from 1 ms to an hour, of all others ' +
    'from 0.1 ms to ten minutes. Prometheus 3 makes native histograms of them with ' +
    '`convert_classic_histograms_to_nhcb: true`; prom-client cannot write native ones.',
  metrics: [
    {
      name: 'vfioscope_operation_duration_seconds',
      type: 'histogram',
      labels: ['operation', 'result'],
      fromFirstUse: true,
      help: 'Duration of operations on devices, parents and VMs, by result',
      query:
        'histogram_quantile(0.99, sum by (operation, le) (rate(vfioscope_operation_duration_seconds_bucket[5m])))',
      collect({ source, durations }, samples) {
        durations.show(samples, source);
      },
    },
    {
      name: 'vfioscope_operations_in_progress',
      type: 'gauge',
      labels: ['operation'],
      help: 'Operations that have begun and not returned; details are in /api/v1/operations',
      query: 'sum by (operation) (vfioscope_operations_in_progress) > 0',
      collect({ source }, samples) {
        for (const { name } of IN_PROGRESS) {
          samples.show(inProgress(source.world, name).length, [name]);
        }
      },
    },
    {
      name: 'vfioscope_operation_oldest_start_timestamp_seconds',
      type: 'gauge',
      labels: ['operation'],
      help: 'When the operation began that has been in progress longest; absent while none is',
      query: 'time() - vfioscope_operation_oldest_start_timestamp_seconds > 30',
      collect({ source }, samples) {
        for (const { name } of IN_PROGRESS) {
          const [oldest] = inProgress(source.world, name);
          // Whole seconds, so that corrections of the wall clock do not change the value.
          if (oldest) samples.show(Math.round(source.sinceEpoch(oldest.began)), [name]);
        }
      },
    },
    {
      name: 'vfioscope_operation_errors_total',
      type: 'counter',
      labels: ['operation', 'errno'],
      fromFirstUse: true,
      help: 'Operations that failed, by the errno that they returned',
      query: 'sum by (operation, errno) (increase(vfioscope_operation_errors_total[1h])) > 0',
      collect({ durations }, samples) {
        for (const { operation, errno, count } of durations.errors()) {
          samples.show(count, [operation, errno]);
        }
      },
    },
  ],
};
