// SPDX-License-Identifier: Apache-2.0
/** The resources that a database uses, and its own metrics. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
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
  /** Bytes of samples, and of the index to them. */
  readonly chunks: number;
  readonly index: number;
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

/** Bytes of a snapshot of all samples, as they would be stored. */
export async function prometheusOnDisk({
  url,
  daemons: [
    {
      home: { directory },
    },
  ],
}: TimeSeries): Promise<OnDisk> {
  const response = await fetch(`${url}/api/v1/admin/tsdb/snapshot`, { method: 'POST' });
  const { data } = (await response.json()) as { data: { name: string } };
  const snapshot = join(directory, 'data', 'snapshots', data.name);
  return {
    chunks: bytesIn(snapshot, /chunks/),
    index: bytesIn(snapshot, /index$/),
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
  return {
    chunks: bytesIn(join(directory, 'data', 'data')),
    index: bytesIn(join(directory, 'data', 'indexdb')),
  };
}

async function ownMetrics({ url }: TimeSeries): Promise<OwnMetric> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return (name, matcher = '') => {
    const lines = text.split('\n').filter((line) => /^[\w:]+/.exec(line)?.[0] === name);
    const values = lines
      .filter((line) => line.includes(matcher))
      .map((line) => line.split(' ').at(-1));
    return values.reduce((sum, value) => sum + Number(value), 0);
  };
}

function resident(pid: number): number {
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
