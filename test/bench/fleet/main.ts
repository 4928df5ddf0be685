// SPDX-License-Identifier: Apache-2.0
/**
 * A fleet of simulated hosts, scraped at the same time by Prometheus, by a Prometheus that drops the
 * series of single devices and VMs, and by VictoriaMetrics: what each needs, and how long the queries
 * of the Fleet dashboard take with recording rules and without.
 */
import { cpus, loadavg } from 'node:os';
import { setTimeout } from 'node:timers/promises';
import { alertRules, recordingRules } from '../../../dashboards/alerts/files.ts';
import { TimeSeries } from '../../time-series.ts';
import { table } from '../rounds.ts';
import { INTERVAL, readArguments } from './arguments.ts';
import { ms, ROUNDS, showQueries, showRules } from './costs.ts';
import { Fleet } from './fleet.ts';
import {
  type Footprint,
  logBytes,
  type OnDisk,
  prometheusFootprint,
  prometheusOnDisk,
  victoriaFootprint,
  victoriaOnDisk,
} from './footprint.ts';

/** Series of single devices and VMs, as docs/fleet.md has it. */
const PER_OBJECT = 'vfioscope_(device_(info|state|open_files|vm_info|.+_timestamp_seconds)|vm_.+)';

/** The Prometheus that drops them. */
const LESS = 'without objects';

interface Engine {
  readonly name: string;
  readonly engine: TimeSeries;
  footprint(engine: TimeSeries): Promise<Footprint>;
  onDisk(engine: TimeSeries): Promise<OnDisk>;
  /** Before anything was scraped; at the first full scrape; at the end of the load. */
  readonly idle: Footprint;
  first: Footprint;
  last: Footprint;
}

const { agents, devices, seconds, interval } = readArguments();
const [load] = loadavg();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
const fleet = await Fleet.start(agents, devices);
const engines: Engine[] = [];
try {
  await startEngines();
  await setTimeout(2 * interval * 1000);
  for (const one of engines) one.first = await one.footprint(one.engine);
  await setTimeout((seconds - 2 * interval) * 1000);
  for (const one of engines) one.last = await one.footprint(one.engine);
  await allScraped();
  await show();
} finally {
  for (const { engine } of engines) await engine.stop();
  fleet.stop();
}

/** @throws when fewer agents can be scraped than were requested */
async function allScraped(): Promise<void> {
  for (const { name, engine } of engines) {
    const up = (await engine.query('up == 1')).length;
    if (up !== agents) throw new Error(`${name} can scrape ${up} of ${agents} agents`);
  }
}

async function startEngines(): Promise<void> {
  // Rules are evaluated every minute, a smoke test's as much more often as it scrapes more often.
  const scale = interval / INTERVAL;
  const recording = { 'recording.yml': recordingRules({ scale }) };
  const all = { 'alerts.yml': alertRules({ scale }), ...recording };
  const every = `${60 * scale}s`;
  const { targets } = fleet;
  const scrapes = `${interval}s`;
  const add = async (
    name: string,
    engine: TimeSeries,
    { footprint, onDisk }: Pick<Engine, 'footprint' | 'onDisk'>,
  ) => {
    const idle = await footprint(engine);
    engines.push({ name, engine, footprint, onDisk, idle, first: idle, last: idle });
  };
  const ofPrometheus = { footprint: prometheusFootprint, onDisk: prometheusOnDisk };
  const ofVictoria = { footprint: victoriaFootprint, onDisk: victoriaOnDisk };
  await add(
    'Prometheus',
    await TimeSeries.prometheus(targets, scrapes, { rules: { files: all, every } }),
    ofPrometheus,
  );
  await add(
    LESS,
    await TimeSeries.prometheus(targets, scrapes, {
      rules: { files: all, every },
      without: PER_OBJECT,
    }),
    ofPrometheus,
  );
  await add(
    'VictoriaMetrics',
    await TimeSeries.victoriaMetrics(targets, scrapes, {
      rules: { files: recording, every },
    }),
    ofVictoria,
  );
}

async function show(): Promise<void> {
  console.log(
    `\n${agents} agents with ${devices} devices, scraped every ${interval} s for ${(seconds / 60).toFixed(1)} min`,
  );
  const columns = await Promise.all(engines.map(takes));
  table(columns[0].map(([what], row) => [what, ...columns.map((column) => column[row][1])]));
  const [{ engine }] = engines;
  await showRules(engine);
  for (const { engine, name } of engines) {
    if (name !== LESS) await showQueries(name, engine, seconds, interval);
  }
  const [cpu] = cpus();
  console.log(`
Medians of ${ROUNDS} rounds (least–most); the ratio is computed for each round.
${cpu.model}, ${cpus().length} CPUs, load ${load.toFixed(1)} at the start; Node ${process.versions.node}.`);
}

/** The table of what an engine needs. */
async function takes(one: Engine): Promise<(readonly [string, string])[]> {
  const { name, engine, idle, first, last } = one;
  const seconds = (last.at - first.at) / 1000;
  const value = async (expression: string) => (await engine.query(expression))[0]?.values[0] ?? 0;
  const { chunks, index } = await one.onDisk(engine);
  const hasLog = one.footprint === prometheusFootprint;
  const scrapes = ['quantile(0.5, ', 'max('].map((of) => value(`${of}scrape_duration_seconds)`));
  const [usual, longest] = await Promise.all(scrapes);
  const churned = await value(`sum(rate(scrape_series_added[${Math.max(60, seconds - 60)}s]))`);
  return [
    ['', name],
    ['series', `${last.series}`],
    ['of them recorded', `${await value('count({__name__=~".+:.+"})')}`],
    ['new series/s while devices are created', churned.toFixed(1)],
    ['samples/s', ((last.samples - first.samples) / seconds).toFixed(0)],
    ['scrape, ms: usual, longest', `${ms(usual)}, ${ms(longest)}`],
    ['CPU, cores', ((last.cpu - first.cpu) / seconds).toFixed(2)],
    ['resident, MiB', mebi(last.resident)],
    ['bytes of it a series', ((last.resident - idle.resident) / last.series).toFixed(0)],
    ['log on disk, bytes a sample', hasLog ? (logBytes(engine) / last.samples).toFixed(2) : '–'],
    ['kept, bytes a sample', (chunks / last.samples).toFixed(2)],
    ['index, bytes a series', (index / last.series).toFixed(0)],
  ];
}

function mebi(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(0);
}
