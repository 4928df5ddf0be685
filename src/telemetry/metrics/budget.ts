/** What probes and agent cost, and what was detached because of it. */
import { SECOND } from '../../units.ts';
import type { MetricGroup } from './metric.ts';

export const BUDGET: MetricGroup = {
  title: 'Cost and budget',
  about:
    'What the probes cost in the kernel, the budget for probes and agent, and which points are detached because ' +
    'the cost is over it. There are no series while the budget is off.',
  metrics: [
    {
      name: 'vfioscope_probe_run_time_seconds_total',
      type: 'counter',
      labels: ['point'],
      help: 'CPU time of the programs of the point in the kernel, extrapolated from samples; without the kprobe itself',
      query: 'topk by (instance) (3, rate(vfioscope_probe_run_time_seconds_total[5m]))',
      collect({ source }, samples) {
        for (const [point, time] of source.costs()?.runTimes ?? []) {
          if (time > 0) samples.show(time / SECOND, [point]);
        }
      },
    },
    {
      name: 'vfioscope_probe_detached',
      type: 'gauge',
      labels: ['point'],
      help: '1 while the point is detached because the cost is over the budget, 0 once it is attached again',
      query: 'vfioscope_probe_detached == 1',
      collect({ source }, samples) {
        const ever = source.costs()?.everDetached;
        if (!ever || ever.size === 0) return;
        for (const { point, state } of source.probes()) {
          if (ever.has(point)) samples.show(state === 'detached' ? 1 : 0, [point]);
        }
      },
    },
    {
      name: 'vfioscope_budget_exceeded',
      type: 'gauge',
      labels: ['budget'],
      help: '1 while the cost is over the budget or points are detached because of it, else 0',
      query: 'vfioscope_budget_exceeded == 1',
      collect({ source }, samples) {
        for (const { budget, exceeded } of source.costs()?.budgets ?? []) {
          samples.show(exceeded ? 1 : 0, [budget]);
        }
      },
    },
    {
      name: 'vfioscope_budget_used_ratio',
      type: 'gauge',
      labels: ['budget'],
      help: 'The latest cost as a share of one CPU',
      query: 'vfioscope_budget_used_ratio / vfioscope_budget_limit_ratio > 0.5',
      collect({ source }, samples) {
        for (const { budget, used } of source.costs()?.budgets ?? []) samples.show(used, [budget]);
      },
    },
    {
      name: 'vfioscope_budget_limit_ratio',
      type: 'gauge',
      labels: ['budget'],
      help: 'The budget as a share of one CPU',
      query: 'vfioscope_budget_limit_ratio',
      collect({ source }, samples) {
        for (const { budget, limit } of source.costs()?.budgets ?? [])
          samples.show(limit, [budget]);
      },
    },
  ],
};
