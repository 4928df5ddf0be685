import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { POINT, RULE_STATE, Served, stalled, TRAIT, UUID } from '../../test/kit/served.ts';

/** The paths of all values that are of no use to a client. */
function junk(value: unknown, path = ''): string[] {
  if (
    value === null ||
    (typeof value === 'string' && /undefined|NaN|\[object|Invalid/.test(value))
  ) {
    return [path];
  }
  if (typeof value !== 'object') return [];
  return Object.entries(value).flatMap(([key, one]) => junk(one, `${path}/${key}`));
}

describe('the server', () => {
  it('lists its endpoints on the first page, and all of them answer', async () => {
    const runner = stalled();
    const page = await runner.get('/');
    assert.deepEqual([page.status, page.type.split(';')[0]], [200, 'text/html']);
    assert.match(page.text, /vfioscope 1\.2\.3/);
    const links = [...page.text.matchAll(/href="([^"]+)"/g)].map(([, link]) => link);
    assert.ok(links.length >= 8);
    for (const link of links) assert.equal((await runner.get(link)).status, 200, link);
  });

  it('is healthy whenever it answers', async () => {
    const runner = new Served();
    runner.notReady = 'no point is watched';
    assert.deepEqual((await runner.get('/-/healthy')).body, { status: 'healthy' });
  });

  it('is ready when points are watched, and else reports why not', async () => {
    const runner = new Served();
    assert.deepEqual(
      [(await runner.get('/-/ready')).status, (await runner.get('/-/ready')).body],
      [200, { status: 'ready' }],
    );
    runner.notReady = 'no point is watched';
    const { status, body } = await runner.get('/-/ready');
    assert.equal(status, 503);
    assert.deepEqual(body, { status: 'not ready', reason: 'no point is watched' });
  });

  it('answers an unknown path with where the endpoints are listed', async () => {
    const { status, body } = await new Served().get('/api/v2/devices');
    assert.equal(status, 404);
    assert.deepEqual(body, {
      error: 'not found: /api/v2/devices (endpoints are listed at /)',
    });
  });

  it('shows points, rules, traits, modules and lost events', async () => {
    const { body } = await new Served().get('/api/v1/probes');
    assert.deepEqual(body, {
      ...{ points: [POINT], rules: [RULE_STATE], lost: { ring_full: 7 } },
      traits: [{ name: TRAIT.name, statement: TRAIT.statement, evidence: TRAIT.evidence }],
      modules: [{ name: 'mdev', held: 'mdev is used by nobody' }],
    });
  });

  it('shows up to which time the rules were evaluated', async () => {
    const runner = new Served();
    const { body: never } = await runner.get('/api/v1/probes');
    assert.equal(never.evaluatedUntil, undefined);
    runner.run((scenario) => {
      scenario.parent();
      scenario.wait(3);
    });
    const evaluated = runner.world.now;
    runner.run((scenario) => scenario.createVm());
    assert.ok(runner.world.now > evaluated);
    const { body } = await runner.get<{ evaluatedUntil: { ns: number } }>('/api/v1/probes');
    assert.equal(body.evaluatedUntil.ns, evaluated);
  });

  it('answers with JSON without undefined or invalid values', async () => {
    const runner = stalled();
    runner.raw('kvm.get:begin', { kvm: 99 });
    runner.raw('vfio.unregister:begin', { dev: 98, vdev: 98, names: { device: 'adopted' } });
    runner.run((scenario) => scenario.createFails(scenario.parent(), 17, { uuid: UUID }));
    for (const path of [
      'parents',
      'devices',
      `devices/${UUID}`,
      'devices/adopted',
      'vms',
      'violations',
    ]) {
      const { status, type, body } = await runner.get(`/api/v1/${path}`);
      assert.deepEqual([status, type], [200, 'application/json; charset=utf-8'], path);
      assert.deepEqual(junk(body), [], path);
      assert.ok(Object.keys(body).length > 0);
    }
  });
});
