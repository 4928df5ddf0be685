// SPDX-License-Identifier: Apache-2.0
/**
 * How long a scrape of /metrics holds the event loop on a host with 10,000 devices, against
 * prom-client that has the same series in plain gauges.
 */
import { promisify } from 'node:util';
import { constants, gzip } from 'node:zlib';
import { Gauge, Registry } from 'prom-client';
import type { Format } from '../../src/telemetry/metrics/exposition.ts';
import { Measured } from '../kit/measured.ts';
import { readArguments } from './arguments.ts';
import { type Round, ratio, spread, table } from './rounds.ts';

const DEVICES = 10_000;
const PARENTS = 20;
const VMS = 1000;
const WARM_UP = 10;

const { rounds, warmUp } = readArguments();

/** Every other device is open, by one of the VMs. */
function host(perDevice: boolean): Measured {
  const runner = new Measured({ maxDevices: DEVICES, perDevice });
  runner.run((scenario) => {
    const parents = Array.from({ length: PARENTS }, (_, i) =>
      scenario.parent({ name: `0000:${i}:00.0` }),
    );
    const vms = Array.from({ length: VMS }, () => scenario.createVm());
    for (let i = 0; i < DEVICES; i++) {
      const device = scenario.create(parents[i % PARENTS]);
      if (i % 2 === 0) scenario.open(device, { vm: vms[i % VMS] });
    }
  });
  return runner;
}

/** Gauges with all series of a document. */
function gaugesOf(text: string): Registry {
  const registry = new Registry();
  const gauges = new Map<string, Gauge>();
  for (const [, name, labelText = '', value] of text.matchAll(/^(\w+)(?:\{(.*)\})? (\S+)$/gm)) {
    const labels = Object.fromEntries(
      [...labelText.matchAll(/(\w+)="([^"]*)"/g)].map(([, label, text]) => [label, text]),
    );
    let gauge = gauges.get(name);
    if (!gauge) {
      const labelNames = Object.keys(labels);
      gauge = new Gauge({ name, help: name, labelNames, registers: [registry] });
      gauges.set(name, gauge);
    }
    gauge.set(labels, Number(value));
  }
  return registry;
}

/** Bytes of heap that are in use when nothing is left to collect. */
function heap(): number {
  globalThis.gc?.();
  return process.memoryUsage().heapUsed;
}

/** ms of CPU that the thread of the event loop took. */
async function timed(scrape: () => Promise<Buffer | string>): Promise<number> {
  const began = process.threadCpuUsage();
  const document = await scrape();
  // What a server sends are bytes.
  if (typeof document === 'string') Buffer.from(document);
  const { user, system } = process.threadCpuUsage(began);
  return (user + system) / 1000;
}

const runner = host(true);
const scrape = (format: Format) => () => runner.metrics.scrape(format);
const before = heap();
const text = await runner.text();
const afterOurs = heap();
const registry = gaugesOf(text);
const afterPeer = heap();
const peer = () => registry.metrics();

async function round(format: Format): Promise<Round> {
  return { ours: await timed(scrape(format)), peer: await timed(peer) };
}

async function row(title: string, format: Format): Promise<string[]> {
  for (let i = 0; i < warmUp * WARM_UP; i++) await round(format);
  const results: Round[] = [];
  for (let i = 0; i < rounds; i++) results.push(await round(format));
  return [
    title,
    spread(
      results.map(({ ours }) => ours),
      1,
    ),
    spread(
      results.map((one) => one.peer),
      1,
    ),
    ratio(results),
  ];
}

const series = text.match(/^[^#]/gm)?.length ?? 0;
const mebi = (bytes: number) => `${(bytes / 2 ** 20).toFixed(2)} MiB`;
const began = performance.now();
const zipped = await promisify(gzip)(text, { level: constants.Z_BEST_SPEED });
const zipping = performance.now() - began;

console.log(`\nA scrape with ${DEVICES} devices: ${series} series, ms of CPU on the event loop`);
table([
  ['', 'ours', 'prom-client', 'ratio'],
  await row('text', 'text'),
  await row('OpenMetrics', 'openmetrics'),
]);
console.log(`  document ${mebi(text.length)}, with gzip ${mebi(zipped.length)} (${zipping.toFixed(0)} ms beside the event loop)
  heap kept for it: ours ${mebi(Math.max(0, afterOurs - before))}, prom-client ${mebi(afterPeer - afterOurs)}`);
