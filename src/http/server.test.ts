import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { POINT, Served, stalled, UUID } from './served.ts';

/** The paths of all values that no client can use. */
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
  it('lists on its first page what there is, and all of that is there', async () => {
    const telling = stalled();
    const page = await telling.get('/');
    assert.deepEqual([page.status, page.type.split(';')[0]], [200, 'text/html']);
    assert.match(page.text, /vfioscope 1\.2\.3/);
    const links = [...page.text.matchAll(/href="([^"]+)"/g)].map(([, link]) => link);
    assert.ok(links.length >= 8);
    for (const link of links) assert.equal((await telling.get(link)).status, 200, link);
  });

  it('is healthy whenever it answers', async () => {
    const telling = new Served();
    telling.notReady = 'no point is watched';
    assert.deepEqual((await telling.get('/-/healthy')).body, { status: 'healthy' });
  });

  it('is ready when events flow, and else says why not', async () => {
    const telling = new Served();
    assert.deepEqual(
      [(await telling.get('/-/ready')).status, (await telling.get('/-/ready')).body],
      [200, { status: 'ready' }],
    );
    telling.notReady = 'no point is watched';
    const { status, body } = await telling.get('/-/ready');
    assert.equal(status, 503);
    assert.deepEqual(body, { status: 'not ready', reason: 'no point is watched' });
  });

  it('says of a path that it does not know what to do', async () => {
    const { status, body } = await new Served().get('/api/v2/devices');
    assert.equal(status, 404);
    assert.deepEqual(body, {
      error: 'there is nothing at /api/v2/devices; see / for what there is',
    });
  });

  it('tells what is watched and what was lost', async () => {
    const { body } = await new Served().get('/api/v1/probes');
    assert.deepEqual(body, {
      ...{ points: [POINT], rules: [], lost: { ring_full: 7 } },
      modules: [{ name: 'mdev', held: 'mdev is used by nobody' }],
    });
  });

  it('answers with JSON that has no junk in it', async () => {
    const telling = stalled();
    telling.raw('kvm.get:begin', { kvm: 99 });
    telling.raw('vfio.unregister:begin', { dev: 98, vdev: 98, names: { device: 'late' } });
    telling.tell((story) => story.createFails(story.parent(), 17, { uuid: UUID }));
    for (const path of [
      'parents',
      'devices',
      `devices/${UUID}`,
      'devices/late',
      'vms',
      'violations',
    ]) {
      const { status, type, body } = await telling.get(`/api/v1/${path}`);
      assert.deepEqual([status, type], [200, 'application/json; charset=utf-8'], path);
      assert.deepEqual(junk(body), [], path);
      assert.ok(Object.keys(body).length > 0);
    }
  });
});
