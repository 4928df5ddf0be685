/** The metrics that Prometheus scrapes, read from the agent's state when it does. */
import { Counter, Gauge, Registry } from 'prom-client';
import type { Device, Vm } from '../lifecycle/objects.ts';
import { momentIndex, POINT_NAMES, POINTS } from '../lifecycle/points.ts';
import type { World } from '../lifecycle/world.ts';
import type { RuleEngine } from '../rules/engine.ts';
import { vmId } from '../rules/words.ts';
import { Durations } from './durations.ts';
import type { Looks } from './looks.ts';

/** What the metrics need to know; the agent provides it. */
export interface MetricsSource {
  readonly version: string;
  readonly world: World;
  readonly rules: RuleEngine;
  /** Events by moment index. */
  readonly events: Float64Array;
  readonly lost: Readonly<Record<string, number>>;
  /** Seconds since 1970 when events were last found lost, 0 for never. */
  lastLoss(): number;
  /** Looks at the host, which put right what was lost. */
  readonly looks: Looks;
  /** Gaps in the sequence numbers that the reader saw, by CPU. */
  sequenceGaps(): readonly number[];
  lanes(): readonly { cpu: number; attempts: number; dropped: number }[];
  ring(): { readonly bytes: number; readonly backlog: number };
  /** What all agents have read from a pinned ring, by moment index; undefined where it is not pinned. */
  pinned(): { readonly lost: number; readonly counts: Float64Array } | undefined;
  probes(): readonly {
    readonly point: string;
    readonly state: string;
    readonly symbol?: string;
    readonly method?: string;
    readonly missed: number;
  }[];
  activeRules(): ReadonlyMap<string, boolean>;
  logLinesDropped(): number;
}

export interface MetricsOptions {
  /** Whether there are series for single devices and VMs. */
  readonly perDevice: boolean;
  /** Most devices, and most VMs, that get series of their own. */
  readonly maxDevices: number;
}

/** A registry with everything that the agent exports, and the sink that times operations. */
export function createMetrics(
  source: MetricsSource,
  options: MetricsOptions,
): { readonly registry: Registry; readonly durations: Durations } {
  const registry = new Registry();
  const registers = [registry];
  const durations = new Durations();
  registry.registerMetric(durations);

  gauge('vfioscope_build_info', 'Always 1; which agent this is', ['version', 'node'], (set) =>
    set({ version: source.version, node: process.versions.node }, 1),
  );
  counter('vfioscope_events_total', 'Events received', ['point', 'phase'], (set) => {
    for (const point of POINT_NAMES) {
      for (const phase of ['begin', 'end']) {
        const count = source.events[momentIndex(POINTS[point], phase === 'end')];
        if (count > 0) set({ point, phase }, count);
      }
    }
  });
  counter(
    'vfioscope_events_lost_total',
    'Events that happened but did not arrive',
    ['reason'],
    (set) => {
      for (const [reason, count] of Object.entries(source.lost)) set({ reason }, count);
    },
  );
  gauge(
    'vfioscope_last_loss_timestamp_seconds',
    'When events were last found lost, 0 if never',
    [],
    (set) => set({}, source.lastLoss()),
  );
  gauge(
    'vfioscope_state_tainted',
    '1 from a loss until a look at the host has put the state right',
    [],
    (set) => {
      set({}, source.world.isTainted || source.world.isLosing() ? 1 : 0);
    },
  );
  counter('vfioscope_host_looks_total', 'Looks at what exists on the host', ['reason'], (set) => {
    for (const [reason, count] of source.looks.counts) set({ reason }, count);
  });
  gauge(
    'vfioscope_last_host_look_timestamp_seconds',
    'When the last look at the host began',
    [],
    (set) => set({}, source.looks.lastBegan),
  );
  gauge('vfioscope_last_host_look_seconds', 'What the last look at the host took', [], (set) =>
    set({}, source.looks.lastTook),
  );
  counter('vfioscope_ring_attempts_total', 'Records that probes tried to write', ['cpu'], (set) => {
    for (const { cpu, attempts } of source.lanes()) set({ cpu }, attempts);
  });
  counter('vfioscope_ring_dropped_total', 'Records that found the ring full', ['cpu'], (set) => {
    for (const { cpu, dropped } of source.lanes()) set({ cpu }, dropped);
  });
  counter(
    'vfioscope_sequence_gaps_total',
    'Records missing in the sequence read',
    ['cpu'],
    (set) => {
      for (const [cpu, gaps] of source.sequenceGaps().entries()) set({ cpu }, gaps);
    },
  );
  gauge('vfioscope_ring_size_bytes', 'Room for records', [], (set) => set({}, source.ring().bytes));
  gauge('vfioscope_ring_backlog_bytes', 'Records written and not yet read', [], (set) =>
    set({}, source.ring().backlog),
  );
  gauge('vfioscope_pinned', '1 if the probes go on recording without an agent', [], (set) =>
    set({}, source.pinned() ? 1 : 0),
  );
  counter(
    'vfioscope_pinned_records_total',
    'Records read from the pinned ring, by this agent and those before it',
    ['point', 'phase'],
    (set) => {
      const counts = source.pinned()?.counts;
      for (const point of counts ? POINT_NAMES : []) {
        for (const phase of ['begin', 'end']) {
          const count = counts?.[momentIndex(POINTS[point], phase === 'end')] ?? 0;
          if (count > 0) set({ point, phase }, count);
        }
      }
    },
  );
  counter(
    'vfioscope_pinned_records_lost_total',
    'Records that never reached any agent because the pinned ring was full',
    [],
    (set) => set({}, source.pinned()?.lost ?? 0),
  );
  gauge(
    'vfioscope_probe_attached',
    '1 if the point is watched',
    ['point', 'function', 'method'],
    (set) => {
      for (const { point, state, symbol = '', method = '' } of source.probes()) {
        const watched = state === 'attached' || state === 'implied';
        set({ point, function: symbol, method }, watched ? 1 : 0);
      }
    },
  );
  counter(
    'vfioscope_probe_missed_total',
    'Calls that the probe could not see',
    ['point'],
    (set) => {
      for (const { point, missed } of source.probes()) set({ point }, missed);
    },
  );
  gauge(
    'vfioscope_rule_active',
    '1 if everything that the rule needs is watched',
    ['rule'],
    (set) => {
      for (const [rule, active] of source.activeRules()) set({ rule }, active ? 1 : 0);
    },
  );
  counter(
    'vfioscope_violations_total',
    'Violations raised, once at each severity that they reached',
    ['rule', 'severity'],
    (set) => {
      for (const [key, count] of source.rules.raised) {
        const [rule, severity] = key.split(' ');
        set({ rule, severity }, count);
      }
    },
  );
  counter(
    'vfioscope_findings_held_back_total',
    'Findings about lives not seen whole',
    ['rule'],
    (set) => {
      for (const [rule, count] of source.rules.heldBack) set({ rule }, count);
    },
  );
  gauge(
    'vfioscope_violations_open',
    'Lasting violations not yet resolved',
    ['rule', 'severity'],
    (set) => {
      for (const [labels, count] of tally(source.rules.open(), (v) => [v.rule, v.severity])) {
        set({ rule: labels[0], severity: labels[1] }, count);
      }
    },
  );
  gauge('vfioscope_parents', 'Registered parents', ['state'], (set) => {
    for (const [[state], count] of tally(source.world.parents, (p) => [p.state]))
      set({ state }, count);
  });
  gauge('vfioscope_devices', 'Devices', ['state', 'parent', 'type'], (set) => {
    const groups = tally(source.world.devices, (d) => [d.state, d.parentName, d.type]);
    for (const [[state, parent, type], count] of groups) set({ state, parent, type }, count);
  });
  gauge('vfioscope_vms', 'Virtual machines', ['state'], (set) => {
    for (const [[state], count] of tally(source.world.vms, (vm) => [vm.state]))
      set({ state }, count);
  });
  counter('vfioscope_log_lines_dropped_total', 'Log lines that nobody read in time', [], (set) =>
    set({}, source.logLinesDropped()),
  );
  if (options.perDevice) perDevice();
  counter('process_cpu_seconds_total', 'User and system CPU time', [], (set) => {
    const { user, system } = process.cpuUsage();
    set({}, (user + system) / 1e6);
  });
  gauge('process_resident_memory_bytes', 'Resident memory', [], (set) =>
    set({}, process.memoryUsage.rss()),
  );
  gauge('process_start_time_seconds', 'Start of the process, seconds since 1970', [], (set) =>
    set({}, Math.round(Date.now() / 1000 - process.uptime())),
  );
  return { registry, durations };

  function perDevice(): void {
    const capped = <T>(all: Set<T>): T[] => [...all].slice(0, options.maxDevices);
    const labels = ['device', 'parent', 'type', 'driver', 'group'];
    gauge('vfioscope_device_info', 'Always 1; what a device is', labels, (set) => {
      for (const device of capped(source.world.devices)) set(deviceLabels(device), 1);
    });
    gauge('vfioscope_device_open_files', 'Device files open', ['device'], (set) => {
      for (const { name, openCount } of capped(source.world.devices))
        set({ device: name }, openCount);
    });
    gauge('vfioscope_vm_references', 'References that keep a VM alive', ['vm', 'pid'], (set) => {
      for (const vm of capped(source.world.vms)) {
        if (vm.users >= 0) set(vmLabels(vm), vm.users);
      }
    });
    gauge('vfioscope_series_capped', 'Devices and VMs without series of their own', [], (set) => {
      const { devices, vms } = source.world;
      const over = (all: number) => Math.max(0, all - options.maxDevices);
      set({}, over(devices.size) + over(vms.size));
    });
  }

  type Labels = Record<string, string | number>;
  type Show = (labels: Labels, value: number) => void;

  function gauge(name: string, help: string, labelNames: string[], collect: (show: Show) => void) {
    new Gauge({ ...shown(collect), name, help, labelNames, registers });
  }

  function counter(
    name: string,
    help: string,
    labelNames: string[],
    collect: (show: Show) => void,
  ) {
    new Counter({ ...shown(collect), name, help, labelNames, registers });
  }

  /** Values that are kept elsewhere: prom-client only shows them, anew at each scrape. */
  function shown(collect: (show: Show) => void) {
    return {
      collect(this: { reset(): void; inc: Show }) {
        this.reset();
        collect((labels, value) => this.inc(labels, value));
      },
    };
  }
}

function deviceLabels(device: Device) {
  const { name, parentName, type, driver, groupId } = device;
  return { device: name, parent: parentName, type, driver, group: groupId < 0 ? '' : groupId };
}

function vmLabels(vm: Vm) {
  return { vm: vmId(vm), pid: vm.task?.pid ?? vm.makerTid };
}

/** Counts by several texts at once. */
function tally<T>(all: Iterable<T>, by: (one: T) => string[]): [string[], number][] {
  const counts = new Map<string, [string[], number]>();
  for (const one of all) {
    const texts = by(one);
    const key = texts.join('\0');
    const entry = counts.get(key);
    if (entry) entry[1]++;
    else counts.set(key, [texts, 1]);
  }
  return [...counts.values()];
}
