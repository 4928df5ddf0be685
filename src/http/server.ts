/** The HTTP side: metrics for Prometheus, health for whoever restarts us, JSON for tools. */
import fastify, { type FastifyError, type FastifyInstance } from 'fastify';
import type { PointStatus } from '../events/source.ts';
import type { World } from '../lifecycle/world.ts';
import { UserProblem } from '../problem.ts';
import type { RuleEngine } from '../rules/engine.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { giveLastAnswers } from './last-answers.ts';
import { serveMetrics } from './scrape.ts';
import type { Views } from './views.ts';
import { violationFilter } from './violation-filter.ts';

/** What the server shows; the agent provides it. */
export interface ServerSource {
  readonly world: World;
  readonly rules: RuleEngine;
  readonly views: Views;
  readonly metrics: Metrics;
  readonly version: string;
  probes(): readonly PointStatus[];
  /** Which rules can work with them, and which cannot and why. */
  ruleStates(): readonly object[];
  /** Modules of mdev, VFIO and KVM, and who keeps them loaded. */
  modules(): readonly object[];
  /** Undefined when events flow; otherwise why they do not. */
  notReady(): string | undefined;
  /** What was lost so far, by reason, and when last. */
  losses(): object;
  /** Takes what an answer failed with, which is a bug. */
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
    devices: [...world.devices].map((device) => views.device(device)),
    ended: world.endedDevices.list().map((device) => views.device(device)),
  }));
  server.get<{ Params: { id: string } }>('/api/v1/devices/:id', async ({ params }, reply) => {
    // UUIDs are the same in capitals; other names, such as AMDI8001:00, may have some.
    const ids = [params.id, params.id.toLowerCase()];
    const ended = world.endedDevices.list().filter(({ name }) => ids.includes(name));
    const live = world.devicesByName.get(ids[0]) ?? world.devicesByName.get(ids[1]);
    if (!live && ended.length === 0) {
      return reply.code(404).send({
        error: `no device ${params.id} is alive or among the last ${world.endedDevices.limit} ended`,
      });
    }
    return {
      device: live && views.deviceWithTimeline(live),
      ended: ended.reverse().map((device) => views.deviceWithTimeline(device)),
    };
  });
  server.get('/api/v1/vms', async () => ({
    vms: [...world.vms].map((vm) => views.vm(vm)),
    ended: world.endedVms.list().map((vm) => views.vm(vm)),
  }));
  server.get<{ Querystring: Record<string, string | string[]> }>(
    '/api/v1/violations',
    async ({ query }, reply) => {
      try {
        const found = rules.list().filter(violationFilter(query));
        return { violations: found.map((violation) => views.violation(violation)) };
      } catch (error) {
        if (!(error instanceof UserProblem)) throw error;
        return reply.code(400).send({ error: `${error.message}: ${error.next}` });
      }
    },
  );
  server.get<{ Params: { id: string } }>('/api/v1/violations/:id', async ({ params }, reply) => {
    const violation = rules.find(params.id);
    if (violation) return { violation: views.violation(violation) };
    return reply.code(404).send({
      error: `no violation ${params.id} is kept: it is of another run, or had to make room for later ones`,
    });
  });
  server.get('/api/v1/probes', async () => ({
    points: source.probes(),
    rules: source.ruleStates(),
    modules: source.modules(),
    lost: source.losses(),
  }));

  server.setErrorHandler<FastifyError>((error, { url }, reply) => {
    const status = error.statusCode ?? 500;
    if (status < 500) return reply.code(status).send({ error: error.message });
    source.failed(url, error);
    return reply.code(status).send({
      error: 'this answer failed, which is a bug: the log of the agent says what happened',
    });
  });
  server.setNotFoundHandler((request, reply) =>
    reply.code(404).send({ error: `there is nothing at ${request.url}; see / for what there is` }),
  );
  return server;
}

const PLACES: readonly (readonly [string, string])[] = [
  ['/metrics', 'metrics for Prometheus'],
  ['/api/v1/devices', 'devices, alive and lately ended'],
  ['/api/v1/vms', 'virtual machines and who holds them'],
  ['/api/v1/violations', 'what happened in the wrong order, with evidence'],
  ['/api/v1/parents', 'parents of mediated devices'],
  ['/api/v1/probes', 'what is watched, and what was lost'],
  ['/-/healthy', 'whether the agent runs'],
  ['/-/ready', 'whether events flow'],
];

function landingPage(version: string): string {
  const items = PLACES.map(([path, text]) => `<li><a href="${path}">${path}</a> – ${text}</li>`);
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>vfioscope</title>
<h1>vfioscope ${version}</h1><ul>${items.join('')}</ul></html>`;
}
