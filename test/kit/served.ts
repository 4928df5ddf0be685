/** A scenario runner with the HTTP server. */

import { fileURLToPath } from 'node:url';
import type { Host } from '../../src/events/host.ts';
import type { PointStatus } from '../../src/events/source.ts';
import type { DerivedTrait } from '../../src/events/traits.ts';
import { createServer, type EarlierViolation } from '../../src/http/server.ts';
import { Views } from '../../src/http/views.ts';
import type { Device, Vm } from '../../src/lifecycle/objects.ts';
import { TraceIds } from '../../src/telemetry/trace-ids.ts';
import { Measured, type MeasuredOptions } from './measured.ts';

const DOCUMENTS = fileURLToPath(new URL('../../dist/docs', import.meta.url));
const BASH = { pid: 700, comm: 'bash' };
export const UUID = 'aaaabbbb-cccc-4ddd-8eee-ffff00001111';
export const POINT: PointStatus = {
  ...{ point: 'mdev.create', module: 'mdev', description: 'made', state: 'failed' },
  ...{ reason: 'no such function', missed: 0, limited: false },
};

export const RULE_STATE = {
  ...{ id: 'kvm-ref-leak', active: false, missing: ['kvm.put'], detached: ['kvm.put'] },
  unknown: [],
};

export const TRAIT: DerivedTrait = {
  ...{ name: 'coreHoldsVm', statement: 'the core takes a reference', value: undefined },
  evidence: 'the module vfio is not loaded',
};

interface Answer<Body> {
  readonly status: number;
  readonly type: string;
  readonly body: Body;
  readonly text: string;
}

export type Json = Readonly<Record<string, unknown>>;

export interface ServedOptions extends MeasuredOptions {
  readHolders?(): Promise<void>;
}

export class Served extends Measured {
  notReady: string | undefined;
  /** Paths and what their answers failed with. */
  readonly failures: string[] = [];
  /** Critical violations of earlier runs. */
  readonly earlier: EarlierViolation[] = [];
  readonly server;

  constructor(options: ServedOptions = {}) {
    let ids: TraceIds | undefined;
    const traceIdOf = (object: Device | Vm) => ids?.traceIdOf(object);
    super({ endedObjects: 5, traceIdOf, ...options });
    ids = new TraceIds('boot', this.world);
    this.server = createServer({
      world: this.world,
      rules: this.engine,
      views: new Views(this.world, () => 1.763e18, this.host, ids),
      metrics: this.metrics,
      version: '1.2.3',
      probes: () => [POINT],
      ruleStates: () => [RULE_STATE],
      traits: () => [TRAIT],
      modules: () => [{ name: 'mdev', held: 'mdev is used by nobody' }],
      notReady: () => this.notReady,
      earlierCriticals: () => this.earlier,
      documents: DOCUMENTS,
      readHolders: options.readHolders ?? (async () => {}),
      losses: () => ({ ring_full: 7, last: undefined }),
      failed: (path, { message }) => this.failures.push(`${path}: ${message}`),
    });
  }

  async get<Body = Json>(url: string): Promise<Answer<Body>> {
    this.flush();
    const { statusCode, headers, body } = await this.server.inject(url);
    const type = String(headers['content-type']);
    const json = type.startsWith('application/json');
    return {
      status: statusCode,
      type,
      body: (json ? JSON.parse(body) : undefined) as Body,
      text: body,
    };
  }
}

/** A removal that waits for a VM's device. */
export function stalled(host?: Host): Served {
  const runner = new Served(host ? { host } : {});
  runner.run((scenario) => {
    const device = scenario.create(scenario.parent({ name: 'gpu0', driver: 'nv' }), { uuid: UUID });
    scenario.open(device, { vm: scenario.createVm() });
    scenario.removeBegins(device, { as: BASH });
    scenario.wait(11);
  });
  return runner;
}
