/** The agents themselves: what they watch, what they lost, what they cost. */
import type { Board } from '../board.ts';
import { graph, stat, table } from '../panels.ts';
import { grown, growth, HOST, of, rate, sum } from '../promql.ts';
import { cluster, host } from '../variables.ts';

const SOME = [[1, 'orange']] as const;
const onHost = (metric: string) => ({ expr: of(metric), legend: '{{instance}}' });
const rateOnHost = (metric: string) => ({ expr: rate(metric), legend: '{{instance}}' });

export const AGENT_BOARD: Board = {
  name: 'agent',
  title: 'Agent',
  description: 'Whether the agents see everything, and what that costs the host.',
  variables: [cluster, host],
  marks: `sum by (${HOST}, rule, severity) (increase(${of('vfioscope_violations_total', 'rule="observer-gap"')}[2m])) > 0`,
  rows: {
    'Can it be trusted': [
      stat({
        title: 'Points watched',
        description: 'Places in the kernel that tell what happens.',
        unit: 'none',
        width: 4,
        expr: sum('', of('vfioscope_probe_attached')),
      }),
      stat({
        title: 'Points not watched',
        description:
          'The table below says which. Those of modules that are not loaded count as well.',
        unit: 'none',
        width: 4,
        thresholds: SOME,
        none: '0',
        expr: `count(${of('vfioscope_probe_attached')} == 0)`,
      }),
      stat({
        title: 'Rules that judge',
        description:
          'Rules for which everything is watched that they need, of those that the kernel can break.',
        unit: 'none',
        width: 4,
        expr: sum('', of('vfioscope_rule_active')),
      }),
      stat({
        title: 'Events lost',
        description: 'In the time shown.',
        unit: 'none',
        width: 4,
        thresholds: [[1, 'red']],
        expr: sum('', grown('vfioscope_events_lost_total')),
      }),
      stat({
        title: 'Tainted hosts',
        description: 'Events were lost, and the host has not been looked at since.',
        unit: 'none',
        width: 4,
        thresholds: SOME,
        expr: sum('', of('vfioscope_state_tainted')),
      }),
      stat({
        title: 'Recording without an agent',
        description:
          'Hosts whose probes are pinned, so that a restart of the agent misses nothing.',
        unit: 'none',
        width: 4,
        expr: sum('', of('vfioscope_pinned')),
      }),
      table({
        title: 'Probes',
        description: 'By the way in which they are attached.',
        width: 8,
        labels: { instance: { name: 'Host' }, method: { name: 'Method' } },
        values: [
          {
            name: 'Points',
            unit: 'none',
            expr: `${sum(`${HOST}, method`, of('vfioscope_probe_attached'))} > 0`,
          },
        ],
      }),
      table({
        title: 'Points that are not watched',
        description: 'What happens there is not seen. `vfioscope doctor` on the host says why.',
        width: 8,
        labels: { instance: { name: 'Host' }, point: { name: 'Point' } },
        hideValues: true,
        values: [
          {
            name: 'Watched',
            unit: 'none',
            expr: `max by (${HOST}, point) (${of('vfioscope_probe_attached')}) == 0`,
          },
        ],
      }),
      table({
        title: 'Rules that do not judge',
        description:
          'Because a point that they need is not watched. Rules of what cannot happen on that kernel ' +
          'are not counted.',
        width: 8,
        labels: { instance: { name: 'Host' }, rule: { name: 'Rule' } },
        hideValues: true,
        values: [
          {
            name: 'Active',
            unit: 'none',
            expr: `max by (${HOST}, rule) (${of('vfioscope_rule_active')}) == 0`,
          },
        ],
      }),
    ],
    'Events and their loss': [
      graph({
        title: 'Events',
        description: 'Received, by the point that tells them.',
        unit: 'eps',
        width: 12,
        queries: [
          { expr: `${sum('point', rate('vfioscope_events_total'))} > 0`, legend: '{{point}}' },
        ],
      }),
      graph({
        title: 'Events lost',
        description:
          'Happened, but did not arrive; empty when none were lost. `ring_full`: raise `ring.bytes`.',
        unit: 'none',
        width: 12,
        thresholds: [[1, 'red']],
        queries: [
          {
            expr: `${sum(`${HOST}, reason`, growth('vfioscope_events_lost_total'))} > 0`,
            legend: '{{instance}} {{reason}}',
          },
        ],
      }),
      graph({
        title: 'Ring buffer',
        description: 'How full it is with records that are not read yet.',
        unit: 'percentunit',
        width: 8,
        thresholds: [
          [0.5, 'orange'],
          [0.9, 'red'],
        ],
        queries: [
          {
            expr: `${of('vfioscope_ring_backlog_bytes')} / ${of('vfioscope_ring_size_bytes')}`,
            legend: '{{instance}}',
          },
        ],
      }),
      graph({
        title: 'Reader lag',
        description: 'How long the oldest record that is not read yet has waited at most.',
        unit: 's',
        width: 8,
        thresholds: [[2, 'orange']],
        queries: [onHost('vfioscope_reader_lag_seconds')],
      }),
      graph({
        title: 'Records',
        description: 'That probes tried to write, and those that found the ring full.',
        unit: 'ops',
        width: 8,
        queries: [
          {
            expr: sum(HOST, rate('vfioscope_ring_attempts_total')),
            legend: '{{instance}} tried',
          },
          {
            expr: sum(HOST, rate('vfioscope_ring_dropped_total')),
            legend: '{{instance}} dropped',
          },
        ],
      }),
      graph({
        title: 'Calls that probes missed',
        description:
          'The kernel had no room to note them: more at once than it is prepared for. Empty when none.',
        unit: 'none',
        width: 8,
        thresholds: [[1, 'red']],
        queries: [
          {
            expr: `${sum(`${HOST}, point`, growth('vfioscope_probe_missed_total'))} > 0`,
            legend: '{{instance}} {{point}}',
          },
        ],
      }),
      graph({
        title: 'Looks at the host',
        description: 'By their reason. Many because of losses cost time.',
        unit: 'none',
        width: 8,
        queries: [
          { expr: sum('reason', growth('vfioscope_host_looks_total')), legend: '{{reason}}' },
        ],
      }),
      graph({
        title: 'Findings held back',
        description: 'Not raised, because the life that they are about was not seen whole.',
        unit: 'none',
        width: 8,
        queries: [
          {
            expr: `${sum('rule', growth('vfioscope_findings_held_back_total'))} > 0`,
            legend: '{{rule}}',
          },
        ],
      }),
    ],
    'What it costs': [
      graph({
        title: 'CPU',
        description: 'Of one CPU. Probes run in the kernel and are not in it.',
        unit: 'percentunit',
        width: 8,
        thresholds: [[0.5, 'orange']],
        queries: [rateOnHost('process_cpu_seconds_total')],
      }),
      graph({
        title: 'Memory',
        description: 'Resident, and what of it objects use.',
        unit: 'bytes',
        width: 8,
        queries: [
          { expr: of('process_resident_memory_bytes'), legend: '{{instance}} resident' },
          { expr: of('nodejs_heap_size_used_bytes'), legend: '{{instance}} objects' },
        ],
      }),
      graph({
        title: 'Event loop',
        description: 'Share of the time that it is busy. Near 1 the ring is not read in time.',
        unit: 'percentunit',
        width: 8,
        thresholds: [[0.8, 'red']],
        queries: [rateOnHost('nodejs_eventloop_busy_seconds_total')],
      }),
      graph({
        title: 'A scrape',
        description: 'How long one holds the event loop.',
        unit: 's',
        width: 8,
        thresholds: [[0.1, 'orange']],
        queries: [
          {
            expr: `${rate('vfioscope_scrape_duration_seconds_sum')} / ${rate('vfioscope_scrape_duration_seconds_count')}`,
            legend: '{{instance}}',
          },
        ],
      }),
      graph({
        title: 'A look at the host',
        description: 'How long the last one took.',
        unit: 's',
        width: 8,
        thresholds: [[1, 'orange']],
        queries: [onHost('vfioscope_last_host_look_seconds')],
      }),
      graph({
        title: 'Open files',
        description: 'Of the agent, as a share of what it may have.',
        unit: 'percentunit',
        width: 8,
        thresholds: [[0.8, 'red']],
        queries: [
          {
            expr: `${of('process_open_fds')} / ${of('process_max_fds')}`,
            legend: '{{instance}}',
          },
        ],
      }),
      graph({
        title: 'Without series of their own',
        description: 'Because there are more than `metrics.max_devices`. Empty when there are not.',
        unit: 'none',
        width: 8,
        thresholds: SOME,
        queries: [
          {
            expr: `${sum(`${HOST}, object`, of('vfioscope_series_capped'))} > 0`,
            legend: '{{instance}} {{object}}',
          },
        ],
      }),
      graph({
        title: 'Log lines dropped',
        description: 'Nobody read them in time.',
        unit: 'none',
        width: 8,
        thresholds: SOME,
        queries: [{ expr: growth('vfioscope_log_lines_dropped_total'), legend: '{{instance}}' }],
      }),
      table({
        title: 'Versions',
        description:
          'Of the agents and of the Node that runs them, and for how long they have run.',
        width: 8,
        labels: {
          instance: { name: 'Host' },
          version: { name: 'Version' },
          node: { name: 'Node' },
        },
        values: [
          {
            name: 'Up',
            unit: 's',
            expr: `(time() - ${of('process_start_time_seconds')}) * on (${HOST}) group_right () max by (${HOST}, version, node) (${of('vfioscope_build_info')})`,
          },
        ],
      }),
    ],
  },
};
