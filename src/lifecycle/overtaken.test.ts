import assert from 'node:assert/strict';
import { it } from 'node:test';
import { play } from '../rules/play.ts';

it('a device whose removal overtakes the end of its creation is released, not left behind', () => {
  const { world } = play((story) => {
    const creation = story.createBegins(story.parent());
    const removal = story.removeBegins(creation.device, { as: { pid: 700, comm: 'bash' } });
    story.removeEnds(removal);
    story.createEnds(creation);
  }, []);
  const [device] = world.endedDevices.list();
  assert.equal(device.state, 'released');
  assert.ok(device.createdAt > 0);
  assert.deepEqual(
    [world.devices.size, world.deviceKeys.size, world.devicesByName.size],
    [0, 0, 0],
  );
});
