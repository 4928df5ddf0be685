// SPDX-License-Identifier: Apache-2.0
/**
 * The cost of sending traces: time per device lifecycle, and memory, with no collector, one that
 * accepts everything, one that cannot be reached, and one that never answers. Each case runs in a
 * process of its own.
 *
 *     node test/bench/export.ts
 */
import { execFileSync } from 'node:child_process';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createSocket } from 'node:net';
import { setImmediate as immediately } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { IngestState } from '../../agent/runtime/ingest-state.ts';
import { Pipeline } from '../../agent/runtime/pipeline.ts';
import { EventCursor } from '../../src/events/cursor.ts';
import { LINUX_6_12 } from '../../src/scenario/kernels.ts';
import { Scenario } from '../../src/scenario/scenario.ts';
import { exportUnder, follow } from '../collector/replayed.ts';

const LIFECYCLES = 20_000;
/** Lifecycles between two turns of the event loop. */
const TURN = 20;
const CASES = ['nobody', 'takes all', 'not there', 'never answers'] as const;
type Case = (typeof CASES)[number];

const [, , which] = process.argv;
if (which) await measure(which as Case);
else for (const one of CASES) report(one);

function report(one: Case): void {
  const flags = ['--expose-gc', '--max-semi-space-size=2'];
  const output = execFileSync(process.execPath, [...flags, fileURLToPath(import.meta.url), one]);
  console.log(output.toString().trim());
}

async function measure(one: Case): Promise<void> {
  const endpoint = await endpointOf(one);
  const { otlp } = await exportUnder(
    endpoint ? { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_BSP_SCHEDULE_DELAY: '100' } : {},
  );
  const host = { traits: LINUX_6_12, pidsWithKvmFiles: () => undefined };
  const state = new IngestState({ bootId: 'boot', endedObjects: 100 });
  const traces = otlp && follow(otlp, state, 1.763e18);
  const pipeline = new Pipeline(state, {
    rules: { rules: [], host },
    sinks: traces ? [traces] : [],
  });
  const scenario = new Scenario();
  const parent = scenario.parent();
  let played = 0;
  let busy = 0;
  let most = 0;
  for (let i = 0; i < LIFECYCLES; i++) {
    const device = scenario.create(parent);
    scenario.close(scenario.open(device));
    scenario.remove(device);
    const began = performance.now();
    for (; played < scenario.steps.length; played++) {
      const step = scenario.steps[played];
      if (step instanceof Uint8Array) {
        pipeline.record(new EventCursor(step.buffer as ArrayBuffer));
      }
    }
    traces?.end();
    busy += performance.now() - began;
    if (i % TURN === 0) await immediately();
    if (i % 1000 === 999) {
      scenario.steps.length = played = 0;
      globalThis.gc?.();
      const { heapUsed, arrayBuffers } = process.memoryUsage();
      most = Math.max(most, heapUsed + arrayBuffers);
    }
  }
  const { counts } = otlp ?? {};
  const mib = (bytes: number) => (bytes / 2 ** 20).toFixed(1);
  const sent = ['sent', 'queue_full', 'failed'].map(
    (outcome) => `${outcome} ${counts?.of('traces', outcome as 'sent') ?? 0}`,
  );
  console.log(
    `${one.padEnd(14)} ${((busy * 1000) / LIFECYCLES).toFixed(1)} µs a lifecycle, heap at most ` +
      `${mib(most)} MiB, resident ${mib(process.memoryUsage.rss())} MiB; spans: ${sent.join(', ')}`,
  );
  process.exit();
}

async function endpointOf(one: Case): Promise<string | undefined> {
  if (one === 'nobody') return undefined;
  if (one === 'not there') return 'http://127.0.0.1:1';
  const server =
    one === 'never answers'
      ? createSocket()
      : createServer((request, response) => {
          request.resume();
          request.on('end', () => response.end());
        });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
