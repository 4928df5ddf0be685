// SPDX-License-Identifier: Apache-2.0
/** A real OpenTelemetry Collector, and the spans, records and metrics that it received. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { freePort } from '../daemon.ts';
import { until } from '../until.ts';
import { buildCollector } from './build.ts';

type Value = {
  readonly stringValue?: string;
  readonly intValue?: string;
  readonly boolValue?: boolean;
  readonly arrayValue?: { readonly values: readonly Value[] };
};
export type Attributes = readonly { readonly key: string; readonly value: Value }[];

/** As OTLP has them in JSON. */
export interface ReceivedSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: Attributes;
  readonly links?: readonly { readonly traceId: string; readonly spanId: string }[];
  readonly status?: { readonly code?: number; readonly message?: string };
}

export interface ReceivedRecord {
  readonly traceId?: string;
  readonly spanId?: string;
  readonly eventName?: string;
  readonly severityNumber?: number;
  readonly body?: Value;
  readonly attributes: Attributes;
}

interface Point {
  readonly attributes?: Attributes;
  /** Of a gauge or sum. */
  readonly asDouble?: number;
}

export interface ReceivedMetric {
  readonly name: string;
  readonly gauge?: { readonly dataPoints: readonly Point[] };
  readonly sum?: { readonly dataPoints: readonly Point[] };
}

interface Scoped {
  readonly scope?: { readonly name: string; readonly version?: string };
  readonly schemaUrl?: string;
}

interface Request {
  readonly resourceSpans?: readonly {
    readonly resource: { readonly attributes: Attributes };
    readonly schemaUrl?: string;
    readonly scopeSpans: readonly (Scoped & { readonly spans: readonly ReceivedSpan[] })[];
  }[];
  readonly resourceLogs?: readonly {
    readonly resource: { readonly attributes: Attributes };
    readonly schemaUrl?: string;
    readonly scopeLogs: readonly (Scoped & { readonly logRecords: readonly ReceivedRecord[] })[];
  }[];
  readonly resourceMetrics?: readonly {
    readonly resource: { readonly attributes: Attributes };
    readonly schemaUrl?: string;
    readonly scopeMetrics: readonly (Scoped & { readonly metrics: readonly ReceivedMetric[] })[];
  }[];
}

export class Collector {
  readonly spans: ReceivedSpan[] = [];
  readonly records: ReceivedRecord[] = [];
  readonly metrics: ReceivedMetric[] = [];
  /** Attributes of the latest resource. */
  resource: Attributes = [];
  /** "SIGNAL resource URL" and "SIGNAL NAME VERSION URL" of each resource and each scope that has arrived. */
  readonly schemas = new Set<string>();
  readonly grpc: string;
  readonly http: string;
  /** Where its metrics are scraped. */
  readonly prometheus: string;
  readonly #process: ChildProcess;
  readonly #server: Server;

  private constructor(process: ChildProcess, server: Server, ports: readonly number[]) {
    this.#process = process;
    this.#server = server;
    this.grpc = `http://127.0.0.1:${ports[0]}`;
    this.http = `http://127.0.0.1:${ports[1]}`;
    this.prometheus = `http://127.0.0.1:${ports[2]}/metrics`;
    server.on('request', (request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        this.#take(JSON.parse(Buffer.concat(chunks).toString()) as Request);
        response.setHeader('content-type', 'application/json').end('{}');
      });
    });
  }

  /** @param host where it listens */
  static async start(host = '127.0.0.1'): Promise<Collector> {
    const program = await buildCollector();
    const ports = [await freePort(), await freePort(), await freePort()];
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    // As the collector reads it, YAML, of which JSON is a part.
    const config = {
      receivers: {
        otlp: {
          protocols: {
            grpc: { endpoint: `${host}:${ports[0]}` },
            http: { endpoint: `${host}:${ports[1]}` },
          },
        },
      },
      exporters: {
        otlphttp: { endpoint: `http://127.0.0.1:${port}`, encoding: 'json', compression: 'none' },
        prometheus: { endpoint: `127.0.0.1:${ports[2]}` },
      },
      service: {
        telemetry: { metrics: { level: 'none' } },
        pipelines: {
          traces: { receivers: ['otlp'], exporters: ['otlphttp'] },
          logs: { receivers: ['otlp'], exporters: ['otlphttp'] },
          metrics: { receivers: ['otlp'], exporters: ['otlphttp', 'prometheus'] },
        },
      },
    };
    // programs: none (./build.ts has compiled it)
    const child = spawn(program, ['--config', `yaml:${JSON.stringify(config)}`], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const collector = new Collector(child, server, ports);
    let output = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-4000);
    });
    await until('the collector is ready', () => output.includes('Everything is ready'), {
      over: () => (child.exitCode === null ? undefined : `it ended with ${child.exitCode}`),
      more: () => `; its output: ${output}`,
    });
    return collector;
  }

  /** Waits until something has arrived. */
  until(what: string, holds: () => boolean): Promise<void> {
    return until(what, holds, {
      over: () =>
        this.#process.exitCode === null ? undefined : `it ended with ${this.#process.exitCode}`,
    });
  }

  clear(): void {
    this.schemas.clear();
    this.spans.length = 0;
    this.records.length = 0;
    this.metrics.length = 0;
  }

  async stop(): Promise<void> {
    this.#process.kill();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #take({ resourceSpans = [], resourceLogs = [], resourceMetrics = [] }: Request): void {
    for (const { resource, schemaUrl, scopeSpans } of resourceSpans) {
      this.resource = resource.attributes;
      this.schemas.add(`traces resource ${schemaUrl}`);
      for (const { spans, ...scoped } of scopeSpans) {
        this.schemas.add(`traces ${scopeText(scoped)}`);
        this.spans.push(...spans);
      }
    }
    for (const { resource, schemaUrl, scopeLogs } of resourceLogs) {
      this.resource = resource.attributes;
      this.schemas.add(`logs resource ${schemaUrl}`);
      for (const { logRecords, ...scoped } of scopeLogs) {
        this.schemas.add(`logs ${scopeText(scoped)}`);
        this.records.push(...logRecords);
      }
    }
    for (const { resource, schemaUrl, scopeMetrics } of resourceMetrics) {
      this.resource = resource.attributes;
      this.schemas.add(`metrics resource ${schemaUrl}`);
      for (const { metrics, ...scoped } of scopeMetrics) {
        this.schemas.add(`metrics ${scopeText(scoped)}`);
        this.metrics.push(...metrics);
      }
    }
  }
}

function scopeText({ scope, schemaUrl }: Scoped): string {
  return `${scope?.name} ${scope?.version} ${schemaUrl}`;
}

/** The attribute of that name, as text. */
export function attribute(attributes: Attributes, name: string): string | undefined {
  const value = attributes.find(({ key }) => key === name)?.value;
  return value && (value.stringValue ?? value.intValue ?? String(value.boolValue));
}
