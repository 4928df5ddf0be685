/** How long operations take and how they fail. */
import type { MetricGroup } from './metric.ts';

export const OPERATIONS: MetricGroup = {
  title: 'Operations',
  about:
    'Each call that a device, parent or VM goes through, timed from its begin to its end in the ' +
    'kernel. A call that blocks is counted when it returns; while it waits, see ' +
    '`vfioscope_devices_waiting`. Exemplars of the buckets lead to the trace of the device.',
  metrics: [
    {
      name: 'vfioscope_operation_duration_seconds',
      type: 'histogram',
      labels: ['operation', 'result'],
      help: 'How long an operation on a device, parent or VM took, by how it ended',
      query:
        'histogram_quantile(0.99, sum by (operation, le) (rate(vfioscope_operation_duration_seconds_bucket[5m])))',
      collect({ source, durations }, samples) {
        durations.show(samples, source);
      },
    },
    {
      name: 'vfioscope_operation_errors_total',
      type: 'counter',
      labels: ['operation', 'errno'],
      help: 'Operations that failed, by the error that they returned',
      query: 'sum by (operation, errno) (increase(vfioscope_operation_errors_total[1h])) > 0',
      collect({ durations }, samples) {
        for (const { operation, errno, count } of durations.errors()) {
          samples.show(count, [operation, errno]);
        }
      },
    },
  ],
};
