/** The HTTP server: metrics for Prometheus, health checks, and the JSON API. */
import fastify, { type FastifyError, type FastifyInstance } from 'fastify';
import type { RuleEngine } from '../engine/engine.ts';
import type { PointStatus } from '../events/source.ts';
import type { DerivedTrait } from '../events/traits.ts';
import type { World } from '../lifecycle/world.ts';
import { UserProblem } from '../problem.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { serveDocuments } from './documents.ts';
import { giveLastAnswers } from './last-answers.ts';
import { serveMetrics } from './scrape.ts';
import type { Views } from './views.ts';
import { type Filterable, filterable, violationFilter } from './violation-filter.ts';

/** A violation of an earlier run, as the API showed it then. */
export interface EarlierViolation extends Filterable {
  readonly id: string;
  readonly fromEarlierRun: true;
}

/** What the server reads from; the agent provides it. */
export interface ServerSource {
  readonly world: World;
  readonly rules: RuleEngine;
  readonly views: Views;
  readonly metrics: Metrics;
  readonly version: string;
  probes(): readonly PointStatus[];
  /** Which rules are active with the points that are watched, and why others are not. */
  ruleStates(): readonly object[];
  /** What the kernel does that others do not, and what shows it. */
  traits(): readonly DerivedTrait[];
  /** Kernel modules of mdev, VFIO and KVM, and what keeps them loaded. */
  modules(): readonly object[];
  /** Why no events can arrive; undefined when they can. */
  notReady(): string | undefined;
  /** Events lost so far, by reason, and when the last loss was detected. */
  losses(): object;
  /** Critical violations that earlier runs of the agent have found since the host was booted. */
  earlierCriticals(): readonly EarlierViolation[];
  /** The directory of the documentation as HTML. */
  readonly documents: string;
  /** Waits until it has been read who has which files, so that holders are shown to who asks only once. */
  readHolders(): Promise<void>;
  /** Is called with the error of a failed response, which is a bug. */
  failed(path: string, error: Error): void;
}

export function createServer(source: ServerSource): FastifyInstance {
  const server = fastify({ logger: false, forceCloseConnections: true });
  giveLastAnswers(server);
  const { world, rules, views } = source;

  server.get('/', async (_request, reply) => {
    reply.type('text/html').send(landingPage(source.version));
  });
  serveMetrics(server, source.metrics);
  serveDocuments(server, source.documents);
  server.get('/-/healthy', async () => ({ status: 'healthy' }));
  server.get('/-/ready', async (_request, reply) => {
    const reason = source.notReady();
    if (reason) reply.code(503);
    return reason ? { status: 'not ready', reason } : { status: 'ready' };
  });

  server.get('/api/v1/parents', async () => ({
    parents: [...world.parents].map((parent) => views.parent(parent)),
  }));
  server.get('/api/v1/devices', async () => ({
    devices: views.devices(world.devices),
    ended: views.devices(world.devices.ended.list()),
  }));
  server.get<{ Params: { id: string } }>('/api/v1/devices/:id', async ({ params }, reply) => {
    // UUIDs are not case-sensitive; other names, such as AMDI8001:00, may contain capitals.
    const ids = [params.id, params.id.toLowerCase()];
    const ended = world.devices.ended.list().filter(({ name }) => ids.includes(name));
    const live = world.devices.named(ids[0]) ?? world.devices.named(ids[1]);
    if (!live && ended.length === 0) {
      return reply.code(404).send({
        error: `device not found: ${params.id} (neither live nor among the last ${world.devices.ended.limit} ended)`,
      });
    }
    return {
      device: live && views.deviceWithTimeline(live),
      ended: ended.reverse().map((device) => views.deviceWithTimeline(device)),
    };
  });
  server.get('/api/v1/operations', async () => ({ operations: views.operations() }));
  server.get('/api/v1/vms', async () => {
    await source.readHolders();
    return {
      vms: [...world.vms].map((vm) => views.vm(vm)),
      ended: world.vms.ended.list().map((vm) => views.vm(vm)),
    };
  });
  server.get<{ Querystring: Record<string, string | string[]> }>(
    '/api/v1/violations',
    async ({ query }, reply) => {
      try {
        const matches = violationFilter(query);
        const earlier = source.earlierCriticals().filter(matches);
        const found = rules.list().filter((one) => matches(filterable(one)));
        return {
          violations: [...earlier, ...found.map((violation) => views.violation(violation))],
        };
      } catch (error) {
        if (!(error instanceof UserProblem)) throw error;
        return reply.code(400).send({ code: error.code, error: `${error.message}: ${error.next}` });
      }
    },
  );
  server.get<{ Params: { id: string } }>('/api/v1/violations/:id', async ({ params }, reply) => {
    const violation = rules.find(params.id);
    if (violation) return { violation: views.violation(violation) };
    const earlier = source.earlierCriticals().find(({ id }) => id === params.id);
    if (earlier) return { violation: earlier };
    return reply.code(404).send({
      error: `violation not found: ${params.id} (it belongs to another run of the agent, or was evicted by later violations)`,
    });
  });
  server.get('/api/v1/probes', async () => ({
    evaluatedUntil: views.time(rules.evaluatedUntil),
    points: source.probes(),
    rules: source.ruleStates(),
    traits: source.traits(),
    modules: source.modules(),
    lost: source.losses(),
  }));

  server.setErrorHandler<FastifyError>((error, { url }, reply) => {
    const status = error.statusCode ?? 500;
    if (status < 500) return reply.code(status).send({ error: error.message });
    source.failed(url, error);
    return reply.code(status).send({
      error:
        'internal error, which is a bug: the log of the agent has the details (event http.failed)',
    });
  });
  server.setNotFoundHandler((request, reply) =>
    reply.code(404).send({ error: `not found: ${request.url} (endpoints are listed at /)` }),
  );
  return server;
}

const ENDPOINTS: readonly (readonly [string, string])[] = [
  ['/metrics', 'metrics for Prometheus'],
  ['/api/v1/devices', 'devices, live and recently ended'],
  ['/api/v1/operations', 'calls in flight, and where they are blocked'],
  ['/api/v1/vms', 'VMs and the processes that hold them'],
  ['/api/v1/violations', 'ordering violations, with evidence'],
  ['/api/v1/parents', 'parents of mediated devices'],
  ['/api/v1/probes', 'points, rules, traits of the kernel, kernel modules, lost events'],
  ['/docs/alerts', 'documentation: alerts and their runbooks'],
  ['/-/healthy', 'liveness: the agent runs'],
  ['/-/ready', 'readiness: probes are attached'],
];

function landingPage(version: string): string {
  const items = ENDPOINTS.map(([path, text]) => `<li><a href="${path}">${path}</a> – ${text}</li>`);
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>vfioscope</title>
<h1>vfioscope ${version}</h1><ul>${items.join('')}</ul></html>`;
}
