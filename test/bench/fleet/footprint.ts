// SPDX-License-Identifier: Apache-2.0
/** The resources that a database uses, and its own metrics. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { TimeSeries } from '../../time-series.ts';

export interface Footprint {
  /** When it was taken, ms. */
  readonly at: number;
  readonly series: number;
  readonly samples: number;
  /** Bytes, of the database and what evaluates rules for it. */
  readonly resident: number;
  /** CPU so far, s. */
  readonly cpu: number;
}

export interface OnDisk {
  /** Bytes of a sample. */
  readonly sample: number;
  /** Bytes of the index to a series: in each block, or on each day. */
  readonly series: number;
}

/** Sums over all labels of one of its own metrics. */
type OwnMetric = (name: string, matcher?: string) => number;

export async function prometheusFootprint(engine: TimeSeries): Promise<Footprint> {
  const own = await ownMetrics(engine);
  return footprint(engine, {
    series: own('prometheus_tsdb_head_series'),
    samples: own('prometheus_tsdb_head_samples_appended_total'),
  });
}

export async function victoriaFootprint(engine: TimeSeries): Promise<Footprint> {
  const own = await ownMetrics(engine);
  return footprint(engine, {
    series: own('vm_cache_entries', 'type="storage/hour_metric_ids"'),
    samples: own('vm_rows_inserted_total'),
  });
}

function footprint(
  { daemons }: TimeSeries,
  { series, samples }: Pick<Footprint, 'series' | 'samples'>,
): Footprint {
  const sum = (one: (pid: number) => number) =>
    daemons.reduce((total, { pid }) => total + one(pid), 0);
  return { at: Date.now(), series, samples, resident: sum(resident), cpu: sum(cpu) };
}

/** Bytes of the write-ahead log. */
export function logBytes({
  daemons: [
    {
      home: { directory },
    },
  ],
}: TimeSeries): number {
  return bytesIn(join(directory, 'data', 'wal'));
}

/** What a block states about itself, in its meta.json. */
interface Block {
  readonly stats: { readonly numSamples: number; readonly numSeries: number };
}

/** The mean of the blocks that it has written; undefined if there is none. */
export async function prometheusOnDisk({
  daemons: [
    {
      home: { directory },
    },
  ],
}: TimeSeries): Promise<OnDisk | undefined> {
  const data = join(directory, 'data');
  const blocks = readdirSync(data)
    .map((name) => join(data, name))
    .filter((block) => existsSync(join(block, 'meta.json')));
  if (blocks.length === 0) return undefined;
  const stats = blocks.map(
    (block) => (JSON.parse(readFileSync(join(block, 'meta.json'), 'utf8')) as Block).stats,
  );
  const sum = (values: readonly number[]) => values.reduce((total, one) => total + one, 0);
  return {
    sample:
      sum(blocks.map((block) => bytesIn(join(block, 'chunks')))) /
      sum(stats.map(({ numSamples }) => numSamples)),
    series:
      sum(blocks.map((block) => statSync(join(block, 'index')).size)) /
      sum(stats.map(({ numSeries }) => numSeries)),
  };
}

export async function victoriaOnDisk(engine: TimeSeries): Promise<OnDisk> {
  const {
    url,
    daemons: [
      {
        home: { directory },
      },
    ],
  } = engine;
  await fetch(`${url}/internal/force_flush`);
  await fetch(`${url}/internal/force_merge`);
  do await setTimeout(500);
  while ((await ownMetrics(engine))('vm_active_merges') > 0);
  const { samples, series } = await victoriaFootprint(engine);
  return {
    sample: bytesIn(join(directory, 'data', 'data')) / samples,
    series: bytesIn(join(directory, 'data', 'indexdb')) / series,
  };
}

export async function ownMetrics({ url }: TimeSeries): Promise<OwnMetric> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return (name, matcher = '') => {
    const lines = text.split('\n').filter((line) => /^[\w:]+/.exec(line)?.[0] === name);
    const values = lines
      .filter((line) => line.includes(matcher))
      .map((line) => line.split(' ').at(-1));
    return values.reduce((sum, value) => sum + Number(value), 0);
  };
}

export function resident(pid: number): number {
  const [, kibi] = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kibi) * 1024;
}

/** Ticks of 10 ms, of user and kernel. */
function cpu(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function bytesIn(directory: string, pattern = /./): number {
  const files = readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));
  const wanted = files.filter((file) => pattern.test(file.slice(directory.length)));
  return wanted.reduce((sum, file) => sum + statSync(file).size, 0);
}
