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
import { until } from '../../until.ts';
import { table } from '../rounds.ts';
import { INTERVAL, readArguments } from './arguments.ts';
import { scrapeSizes } from './bandwidth.ts';
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
import { bytesOfSeries, HeadWatch, heapOfEmpty } from './head.ts';

/** Series of single devices and VMs, as docs/fleet.md has it. */
const PER_OBJECT =
  'vfioscope_(device_(info|state|open_files|vm_info|.+_timestamp_seconds)|vm_(references|devices|.+_timestamp_seconds))';

/** How often the memory of a Prometheus is read while it fills a block. */
const READINGS = 60;

/** The Prometheus that drops them. */
const LESS = 'without objects';

interface Engine {
  readonly name: string;
  readonly engine: TimeSeries;
  footprint(engine: TimeSeries): Promise<Footprint>;
  onDisk(engine: TimeSeries): Promise<OnDisk | undefined>;
  /** Of a Prometheus. */
  readonly head: HeadWatch | undefined;
  /** At the first full scrape; at the end of the load. */
  first: Footprint;
  last: Footprint;
}

const { agents, devices, compression, seconds, interval, block } = readArguments();
const [load] = loadavg();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
const emptyHeap = await heapOfEmpty();
const fleet = await Fleet.start(agents, devices, compression);
const engines: Engine[] = [];
try {
  await startEngines();
  await setTimeout(2 * interval * 1000);
  for (const one of engines) one.first = await one.footprint(one.engine);
  await setTimeout((seconds - 2 * interval) * 1000);
  for (const one of engines) {
    one.last = await one.footprint(one.engine);
    await one.head?.stop();
  }
  await allScraped();
  await show();
} finally {
  for (const { engine } of engines) await engine.stop();
  fleet.stop();
}

/** Waits until each engine can scrape all agents, which a busy machine may delay. @throws when that does not come */
async function allScraped(): Promise<void> {
  for (const { name, engine } of engines) {
    await until(`${name} can scrape all agents`, async () => {
      return (await engine.query('up == 1')).length === agents;
    });
  }
}

async function startEngines(): Promise<void> {
  const scale = 1 / compression;
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
    const first = await footprint(engine);
    const head =
      footprint === prometheusFootprint ? new HeadWatch(engine, block / READINGS) : undefined;
    engines.push({ name, engine, footprint, onDisk, head, first, last: first });
  };
  const ofPrometheus = { footprint: prometheusFootprint, onDisk: prometheusOnDisk };
  const ofVictoria = { footprint: victoriaFootprint, onDisk: victoriaOnDisk };
  await add(
    'Prometheus',
    await TimeSeries.prometheus(targets, scrapes, { rules: { files: all, every }, block }),
    ofPrometheus,
  );
  await add(
    LESS,
    await TimeSeries.prometheus(targets, scrapes, {
      rules: { files: all, every },
      ...{ without: PER_OBJECT, block },
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
    `\n${agents} agents with ${devices} devices, scraped every ${INTERVAL} s for ${((seconds * compression) / 3600).toFixed(1)} h, in a ${compression}th of that time`,
  );
  const columns = await Promise.all(engines.map(takes));
  table(columns[0].map(([what], row) => [what, ...columns.map((column) => column[row][1])]));
  const [{ engine }] = engines;
  await showBandwidth();
  await showRules(engine);
  for (const { engine, name } of engines) {
    if (name !== LESS) await showQueries(name, engine, seconds, interval);
  }
  const [cpu] = cpus();
  console.log(`
Medians of ${ROUNDS} rounds (least–most); the ratio is computed for each round.
${cpu.model}, ${cpus().length} CPUs, load ${load.toFixed(1)} at the start; Node ${process.versions.node}.`);
}

/** The table of what an engine needs; times are those of the hosts. */
async function takes(one: Engine): Promise<(readonly [string, string])[]> {
  const { name, engine, first, last, head } = one;
  const lasted = ((last.at - first.at) / 1000) * compression;
  const value = async (expression: string) => (await engine.query(expression))[0]?.values[0] ?? 0;
  const kept = await one.onDisk(engine);
  const block = head?.latest;
  const each = block && bytesOfSeries(block, emptyHeap);
  const scrapes = ['quantile(0.5, ', 'max('].map((of) => value(`${of}scrape_duration_seconds)`));
  const [usual, longest] = await Promise.all(scrapes);
  const failed = 100 * (1 - (await value(`avg(avg_over_time(up[${Math.ceil(seconds)}s]))`)));
  const added = await value(`sum(rate(scrape_series_added[${Math.floor(seconds / 2)}s]))`);
  return [
    ['', name],
    ['live series', `${await value('count({__name__!=""})')}`],
    ['of them recorded', `${await value('count({__name__=~".+:.+"})')}`],
    ['new series/s while devices are created', (added / compression).toFixed(2)],
    ['series of the past before a block', number(block?.before.past)],
    ['series of the past after it', number(block?.after.past)],
    [
      'heap, MiB: before, after it',
      block ? `${mebi(block.before.heap)}, ${mebi(block.after.heap)}` : '–',
    ],
    ['bytes of a live series', number(each?.live)],
    ['bytes of one of the past', number(each?.past)],
    ['resident, MiB, at the end', mebi(last.resident)],
    ['log on disk, MiB, at the end', head ? mebi(logBytes(engine)) : '–'],
    ['samples/s', ((last.samples - first.samples) / lasted).toFixed(0)],
    ['scrapes that failed, %', failed.toFixed(1)],
    ['scrape, ms: usual, longest', `${ms(usual)}, ${ms(longest)}`],
    ['CPU, cores', ((last.cpu - first.cpu) / lasted).toFixed(3)],
    ['kept, bytes a sample', number(kept?.sample, 2)],
    ['index, bytes a series', number(kept?.series)],
  ];
}

/** A figure that only some engines have. */
function number(value: number | undefined, digits = 0): string {
  return value === undefined ? '–' : value.toFixed(digits);
}

async function showBandwidth(): Promise<void> {
  const { all, fewer } = await scrapeSizes(fleet.targets, PER_OBJECT);
  console.log('\nBytes of a scrape');
  table([
    ['', 'compressed', 'plain'],
    ...Object.entries({ 'all series': all, [LESS]: fewer }).map(([what, { compressed, plain }]) => [
      ...[what, number(compressed), number(plain)],
    ]),
  ]);
}

function mebi(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(0);
}
