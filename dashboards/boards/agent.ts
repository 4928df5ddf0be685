/** One agent: probe coverage, lost events, and resource usage. */
import type { Board } from '../board.ts';
import { type Colours, GREY } from '../colours.ts';
import { graph, stat, table } from '../panels.ts';
import { HOST, ofHost, sum } from '../promql.ts';
import { cluster, host, single } from '../variables.ts';

const { selector, increase, rate, increaseInRange } = ofHost;
const VERIFIED: Colours = { verified: 'green', unverified: 'orange' };
const PINNED: Colours = { 'not pinned': GREY, pinned: 'green' };
const UNATTACHED: Colours = { 'module not loaded': GREY, failed: 'red' };
const WARN_FROM_ONE = [[1, 'orange']] as const;
const perHost = (metric: string) => ({ expr: selector(metric), legend: '{{instance}}' });
const ratePerHost = (metric: string) => ({ expr: rate(metric), legend: '{{instance}}' });

export const AGENT_BOARD: Board = {
  name: 'agent',
  title: 'Agent',
  description: 'Whether an agent observes every event, and which resources it uses.',
  variables: [cluster, single(host)],
  annotations: {
    expr: `sum by (${HOST}, rule, severity) (increase(${selector('vfioscope_violations_total', 'rule="observer-gap"')}[2m])) > 0`,
    text: 'Events of {{instance}} were lost.',
  },
  rows: {
    'Blind spots': [
      stat({
        title: 'Probe points attached',
        description: 'Probe points in the kernel whose events the agent receives.',
        unit: 'none',
        width: 4,
        expr: sum('', selector('vfioscope_probe_attached')),
      }),
      stat({
        title: 'Probe points that failed',
        description:
          'Probe points that are not attached although their module is loaded. The table below has the others too.',
        unit: 'none',
        width: 4,
        thresholds: WARN_FROM_ONE,
        expr: sum('', selector('vfioscope_probe_failed')),
      }),
      stat({
        title: 'Active rules',
        description:
          'Rules whose probe points are all attached. Rules that cannot fire on the kernel are not counted.',
        unit: 'none',
        width: 4,
        expr: sum('', selector('vfioscope_rule_active')),
      }),
      stat({
        title: 'Events lost',
        description: 'Events that did not reach the agent within the time range.',
        unit: 'none',
        width: 4,
        thresholds: [[1, 'red']],
        expr: sum('', increaseInRange('vfioscope_events_lost_total')),
      }),
      stat({
        title: 'State',
        description:
          'Unverified from a loss of events until a host snapshot has resynchronised the state. Rules are suppressed meanwhile.',
        unit: 'none',
        width: 4,
        codes: VERIFIED,
        expr: `${selector('vfioscope_state_unverified')} + 1`,
      }),
      stat({
        title: 'Probes',
        description:
          'Pinned probes record while the agent is down, so that a restart of the agent misses no event.',
        unit: 'none',
        width: 4,
        codes: PINNED,
        expr: `${selector('vfioscope_pinned')} + 1`,
      }),
      table({
        title: 'Attachment methods',
        description: 'Attached probe points, by the method of their probes.',
        width: 8,
        labels: { instance: { name: 'Host' }, method: { name: 'Method' } },
        values: [
          {
            name: 'Points',
            unit: 'none',
            expr: `${sum(`${HOST}, method`, selector('vfioscope_probe_attached'))} > 0`,
          },
        ],
      }),
      table({
        title: 'Probe points that are not attached',
        description:
          'The agent does not observe their events. Run `vfioscope doctor` on the host for the reason of a failure.',
        width: 8,
        sortBy: 'Reason',
        none: 'all are attached',
        labels: { instance: { name: 'Host' }, point: { name: 'Point' } },
        values: [
          {
            name: 'Reason',
            unit: 'none',
            codes: UNATTACHED,
            expr: `max by (${HOST}, point) (${selector('vfioscope_probe_failed')}) + 1 and on (${HOST}, point) max by (${HOST}, point) (${selector('vfioscope_probe_attached')}) == 0`,
          },
        ],
      }),
      table({
        title: 'Inactive rules',
        description:
          'Rules that cannot fire because a probe point that they need is not attached. Rules that ' +
          'cannot fire on the kernel of the host are not listed.',
        width: 8,
        labels: { instance: { name: 'Host' }, rule: { name: 'Rule' } },
        hideValues: true,
        values: [
          {
            name: 'Active',
            unit: 'none',
            expr: `max by (${HOST}, rule) (${selector('vfioscope_rule_active')}) == 0`,
          },
        ],
      }),
    ],
    'Events and losses': [
      graph({
        title: 'Events',
        description: 'Events per second that the agent receivesd, by probe point.',
        unit: 'eps',
        width: 12,
        queries: [
          { expr: `${sum('point', rate('vfioscope_events_total'))} > 0`, legend: '{{point}}' },
        ],
      }),
      graph({
        title: 'Events lost',
        description:
          'Events that did not reach the agent, by reason; empty when none were lost. For `ring_full`, raise `ring.bytes`.',
        unit: 'none',
        width: 12,
        thresholds: [[1, 'red']],
        queries: [
          {
            expr: `${sum(`${HOST}, reason`, increase('vfioscope_events_lost_total'))} > 0`,
            legend: '{{instance}} {{reason}}',
          },
        ],
      }),
      graph({
        title: 'Ring buffer',
        description:
          'The share of the ring buffer that holds unread records. Events are lost when it is full.',
        unit: 'percentunit',
        width: 8,
        thresholds: [
          [0.5, 'orange'],
          [0.9, 'red'],
        ],
        queries: [
          {
            expr: `${selector('vfioscope_ring_backlog_bytes')} / ${selector('vfioscope_ring_size_bytes')}`,
            legend: '{{instance}}',
          },
        ],
      }),
      graph({
        title: 'Reader lag',
        description: 'An upper bound of the age of the oldest unread record.',
        unit: 's',
        width: 8,
        thresholds: [[2, 'orange']],
        queries: [perHost('vfioscope_reader_lag_seconds')],
      }),
      graph({
        title: 'Records written and dropped',
        description:
          'Records per second that the probes tried to write, and those dropped because the ring buffer was full.',
        unit: 'ops',
        width: 8,
        queries: [
          {
            expr: sum(HOST, rate('vfioscope_ring_attempts_total')),
            legend: '{{instance}} attempted',
          },
          {
            expr: sum(HOST, rate('vfioscope_ring_dropped_total')),
            legend: '{{instance}} dropped',
          },
        ],
      }),
      graph({
        title: 'Calls missed by probes',
        description:
          'Calls for which the kernel could not run the probe, because more were in flight than it has slots for. Empty when there were none.',
        unit: 'none',
        width: 8,
        thresholds: [[1, 'red']],
        queries: [
          {
            expr: `${sum(`${HOST}, point`, increase('vfioscope_probe_missed_total'))} > 0`,
            legend: '{{instance}} {{point}}',
          },
        ],
      }),
      graph({
        title: 'Host snapshots',
        description:
          'Host snapshots by reason. Each one with the reason `loss` follows lost events and costs CPU time.',
        unit: 'none',
        width: 8,
        queries: [
          { expr: sum('reason', increase('vfioscope_snapshots_total')), legend: '{{reason}}' },
        ],
      }),
      graph({
        title: 'Suppressed violations',
        description:
          'Violations that were not raised, because the lifecycle of their object was not observed completely. Empty when there were none.',
        unit: 'none',
        width: 8,
        queries: [
          {
            expr: `${sum('rule', increase('vfioscope_findings_suppressed_total'))} > 0`,
            legend: '{{rule}}',
          },
        ],
      }),
    ],
    'Resource usage': [
      graph({
        title: 'CPU',
        description:
          'CPU time of the agent, as a share of one CPU. The probes run in the kernel and are not included.',
        unit: 'percentunit',
        width: 8,
        thresholds: [[0.5, 'orange']],
        queries: [ratePerHost('process_cpu_seconds_total')],
      }),
      graph({
        title: 'Memory',
        description: 'Resident memory of the agent, and the part that its JavaScript heap uses.',
        unit: 'bytes',
        width: 8,
        queries: [
          { expr: selector('process_resident_memory_bytes'), legend: '{{instance}} resident' },
          { expr: selector('nodejs_heap_size_used_bytes'), legend: '{{instance}} heap' },
        ],
      }),
      graph({
        title: 'Event loop utilisation',
        description:
          'The share of time that the event loop is busy. Near 1, the ring buffer is not read in time.',
        unit: 'percentunit',
        width: 8,
        thresholds: [[0.8, 'red']],
        queries: [ratePerHost('nodejs_eventloop_busy_seconds_total')],
      }),
      graph({
        title: 'Scrape duration',
        description: 'How long a scrape occupies the event loop on average.',
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
        title: 'Duration of the last host snapshot',
        description: 'How long the last host snapshot took.',
        unit: 's',
        width: 8,
        thresholds: [[1, 'orange']],
        queries: [perHost('vfioscope_last_snapshot_duration_seconds')],
      }),
      graph({
        title: 'Open files',
        description: 'Open files of the agent, as a share of its limit.',
        unit: 'percentunit',
        width: 8,
        thresholds: [[0.8, 'red']],
        queries: [
          {
            expr: `${selector('process_open_fds')} / ${selector('process_max_fds')}`,
            legend: '{{instance}}',
          },
        ],
      }),
      graph({
        title: 'Objects without series',
        description:
          'Objects beyond `metrics.max_devices`, which have no series of their own. Empty when there are none.',
        unit: 'none',
        width: 8,
        thresholds: WARN_FROM_ONE,
        queries: [
          {
            expr: `${sum(`${HOST}, object`, selector('vfioscope_series_capped'))} > 0`,
            legend: '{{instance}} {{object}}',
          },
        ],
      }),
      graph({
        title: 'Log lines dropped',
        description:
          'Log lines that were dropped because they could not be written or were not read in time.',
        unit: 'none',
        width: 8,
        thresholds: WARN_FROM_ONE,
        queries: [{ expr: increase('vfioscope_log_lines_dropped_total'), legend: '{{instance}}' }],
      }),
      table({
        title: 'Versions',
        description: 'Versions of the agent and of Node.js, and the time since its start.',
        width: 8,
        labels: {
          instance: { name: 'Host' },
          version: { name: 'Version' },
          nodejs_version: { name: 'Node.js' },
        },
        values: [
          {
            name: 'Up',
            unit: 's',
            expr: `(time() - ${selector('process_start_time_seconds')}) * on (${HOST}) group_right () max by (${HOST}, version, nodejs_version) (${selector('vfioscope_build_info')})`,
          },
        ],
      }),
    ],
  },
};
