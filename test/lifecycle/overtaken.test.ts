import assert from 'node:assert/strict';
import { it } from 'node:test';
import { play } from '../../src/engine/play.ts';

it('a device whose removal overtakes the return of its create is released when the create returns', () => {
  const { world } = play((scenario) => {
    const creation = scenario.createBegins(scenario.parent());
    const removal = scenario.removeBegins(creation.device, { as: { pid: 700, comm: 'bash' } });
    scenario.removeEnds(removal);
    scenario.createEnds(creation);
  }, []);
  const [device] = world.devices.ended.list();
  assert.equal(device.state, 'released');
  assert.ok(device.createdAt > 0);
  assert.deepEqual([world.devices.size, world.devices.indexed, world.calls.size], [0, 0, 0]);
});
