/** The server over a world in which a story is told. */
import type { PointStatus } from '../events/source.ts';
import type { Device, Vm } from '../lifecycle/objects.ts';
import type { Host } from '../rules/rule.ts';
import { LifeIds } from '../telemetry/life-ids.ts';
import { Measured, type MeasuredOptions } from '../telemetry/measured.ts';
import { createServer } from './server.ts';
import { Views } from './views.ts';

const BASH = { pid: 700, comm: 'bash' };
export const UUID = 'aaaabbbb-cccc-4ddd-8eee-ffff00001111';
export const POINT: PointStatus = {
  ...{ point: 'mdev.create', module: 'mdev', meaning: 'made', state: 'failed' },
  ...{ reason: 'no such function', missed: 0, limited: false },
};

interface Answer<Body> {
  readonly status: number;
  readonly type: string;
  readonly body: Body;
  readonly text: string;
}

export type Json = Readonly<Record<string, unknown>>;

export class Served extends Measured {
  notReady: string | undefined;
  /** Paths and what their answers failed with. */
  readonly failures: string[] = [];
  readonly server;

  constructor(options: MeasuredOptions = {}) {
    let ids: LifeIds | undefined;
    const traceIdOf = (life: Device | Vm) => ids?.traceIdOf(life);
    super({ endedLives: 5, traceIdOf, ...options });
    ids = new LifeIds('boot', this.world);
    this.server = createServer({
      world: this.world,
      rules: this.engine,
      views: new Views(this.world, () => 1.763e18, this.host, ids),
      metrics: this.metrics,
      version: '1.2.3',
      probes: () => [POINT],
      ruleStates: () => [],
      modules: () => [{ name: 'mdev', held: 'mdev is used by nobody' }],
      notReady: () => this.notReady,
      losses: () => ({ ring_full: 7, last: undefined }),
      failed: (path, { message }) => this.failures.push(`${path}: ${message}`),
    });
  }

  async get<Body = Json>(url: string): Promise<Answer<Body>> {
    this.live();
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
  const telling = new Served(host ? { host } : {});
  telling.tell((story) => {
    const device = story.create(story.parent({ name: 'gpu0', driver: 'nv' }), { uuid: UUID });
    story.open(device, { vm: story.createVm() });
    story.removeBegins(device, { as: BASH });
    story.wait(11);
  });
  return telling;
}
