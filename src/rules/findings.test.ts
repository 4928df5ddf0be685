/** Which findings become violations, which of those are kept, and what goes with them. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { POINT } from '../events/wire.gen.ts';
import type { Rule } from './rule.ts';
import { onOpen, SOUND, whileOpen } from './simple-rules.ts';
import { removeKeepingVdev } from './story-vfio.ts';
import { Telling } from './telling.ts';
import { vmId, vmReference } from './words.ts';

describe('a life that was not seen whole', () => {
  const names = { device: 'late', bus: 'mdev', type: 't', parent: 'p' };

  function openLate(telling: Telling): void {
    telling.raw('vfio.device.open:begin', { dev: 1, vdev: 1, file: 2, names });
    telling.raw('vfio.device.open:end', { dev: 1, vdev: 1, file: 2, openCount: 1 });
  }

  function openTainted(telling: Telling): void {
    const device = telling.tell((story) => story.create(story.parent()));
    telling.lose();
    telling.tell((story) => story.open(device));
  }

  for (const [quality, open] of [
    ['late', openLate],
    ['tainted', openTainted],
  ] as const) {
    it(`keeps back a finding that follows from history when it is ${quality}`, () => {
      const telling = new Telling({ rules: [onOpen(() => ({}), { basis: 'history' })] });
      open(telling);
      assert.deepEqual(telling.violations(), []);
      assert.deepEqual([...telling.engine.heldBack], [['on-open', 1]]);
      assert.deepEqual([...telling.engine.raised], [['on-open warning', 0]]);
    });

    it(`raises a finding that is in the event, and says that it is ${quality}`, () => {
      const telling = new Telling({ rules: [onOpen(() => ({}))] });
      open(telling);
      assert.deepEqual(
        telling.violations().map((violation) => violation.quality),
        [quality],
      );
      assert.deepEqual([...telling.engine.heldBack], []);
    });
  }

  it('raises a finding that follows from state about a late life, keeps it back about a tainted one', () => {
    const late = new Telling({ rules: [onOpen(() => ({}), { basis: 'state' })] });
    openLate(late);
    assert.equal(late.violations().length, 1);
    const tainted = new Telling({ rules: [onOpen(() => ({}), { basis: 'state' })] });
    openTainted(tainted);
    assert.deepEqual(tainted.violations(), []);
    assert.deepEqual([...tainted.engine.heldBack], [['on-open', 1]]);
  });

  it('keeps back a finding that follows from state while a loss is known that no gap has shown', () => {
    const telling = new Telling({ rules: [onOpen(() => ({}), { basis: 'state' })] });
    const parent = telling.tell((story) => story.parent());
    telling.world.isLosing = () => true;
    telling.tell((story) => story.open(story.create(parent)));
    assert.deepEqual(telling.violations(), []);
    telling.world.isLosing = () => false;
    telling.tell((story) => story.open(story.create(parent)));
    assert.equal(telling.violations().length, 1);
  });

  it('keeps back a finding when any of its objects is one', () => {
    const rule = onOpen(({ vm }) => ({ vm }), { basis: 'history' });
    const telling = new Telling({ rules: [rule] });
    telling.tell((story) => story.parent());
    telling.raw('kvm.get:begin', { kvm: 500, usersCount: 1 });
    telling.tell((story) => {
      const vm = { key: 500, task: { pid: 1, comm: 'qemu' }, users: 1 };
      story.open(story.create(story.parent()), { vm });
    });
    assert.deepEqual([...telling.engine.heldBack], [['on-open', 1]]);
  });
});

describe('the list of violations', () => {
  it('is bounded: resolved ones leave first, then the oldest', () => {
    const rules = [onOpen(() => ({})), whileOpen()];
    const telling = new Telling({ rules, limit: 3 });
    const parent = telling.tell((story) => story.parent());
    const ids = () => telling.violations().map(({ id }) => id);
    telling.tell((story) => {
      const open = story.open(story.create(parent)); // raises v1
      story.wait(1); // raises v2
      story.close(open); // resolves v2
      story.open(story.create(parent)); // raises v3
    });
    assert.deepEqual(ids(), ['v1', 'v2', 'v3']);
    telling.tell((story) => story.open(story.create(parent)));
    assert.deepEqual(ids(), ['v1', 'v3', 'v4']);
    telling.tell((story) => story.open(story.create(parent)));
    assert.deepEqual(ids(), ['v3', 'v4', 'v5']);
  });

  it('keeps a condition that still holds rather than an act', () => {
    const rules = [onOpen(() => ({})), whileOpen()];
    const telling = new Telling({ rules, limit: 2 });
    const parent = telling.tell((story) => story.parent());
    telling.raw('vfio.register:begin', { dev: 900, vdev: 900, names: { device: 'held' } });
    const held = telling.device('held');
    assert.ok(held);
    held.openCount = 1;
    telling.tell((story) => story.wait(1)); // raises v1, which lasts
    for (let i = 0; i < 5; i++)
      telling.tell((story) => story.close(story.open(story.create(parent))));
    telling.tell((story) => story.wait(1));
    assert.deepEqual(
      telling.engine.open().map(({ id }) => id),
      ['v1'],
    );
  });

  it('knows a condition that holds though it has no room for it, and tells its end', () => {
    const telling = new Telling({ rules: [whileOpen()], limit: 2 });
    const opens = telling.tell((story) => {
      const parent = story.parent();
      return [1, 2, 3].map(() => story.open(story.create(parent)));
    });
    telling.tell((story) => story.wait(20));
    assert.deepEqual(telling.changes, ['raised v1', 'raised v2', 'raised v3']);
    assert.deepEqual(
      telling.violations().map(({ id }) => id),
      ['v2', 'v3'],
    );
    assert.deepEqual(
      telling.engine.open().map(({ id }) => id),
      ['v1', 'v2', 'v3'],
    );
    telling.tell((story) => story.close(opens[0]));
    assert.deepEqual(telling.changes.slice(3), ['resolved v1']);
    assert.equal(telling.engine.open().length, 2);
  });

  it('raises what it had to forget as a new violation', () => {
    const telling = new Telling({ rules: [onOpen(() => ({}))], limit: 1 });
    telling.tell((story) => {
      const parent = story.parent();
      const [first, second] = [story.create(parent), story.create(parent)];
      for (const device of [first, second, first]) story.close(story.open(device));
    });
    assert.deepEqual(telling.changes, ['raised v1', 'raised v2', 'raised v3']);
    assert.equal(telling.violations()[0].count, 1);
  });
});

describe('a condition of the host, about no object', () => {
  /** Holds while somebody has the first device open that there ever was. */
  const HOST_RULE: Rule = {
    ...SOUND,
    id: 'of-host',
    onClock({ world, now, report, resolve }) {
      const [device] = world.devices;
      if (device?.openCount) report({ lasting: true, says: `the host at ${now}` });
      else resolve();
    },
  };

  it('is one violation whatever it says, until it is resolved', () => {
    const telling = new Telling({ rules: [HOST_RULE] });
    const device = telling.tell((story) => story.create(story.parent()));
    for (let i = 0; i < 2; i++) {
      telling.tell((story) => {
        const open = story.open(device);
        story.wait(3);
        story.close(open);
        story.wait(3);
      });
    }
    assert.deepEqual(telling.changes, ['raised v1', 'resolved v1', 'raised v2', 'resolved v2']);
    const [violation] = telling.violations();
    assert.deepEqual(
      [violation.count, violation.device, violation.quality, violation.evidence],
      [1, undefined, 'observed', []],
    );
    assert.equal(violation.explanation, `the host at ${violation.lastSeen}`);
    assert.equal(violation.lastSeen - violation.firstSeen, 2e9);
  });

  it('is kept apart from acts about no object, and from those of other rules', () => {
    const act = onOpen(() => ({ device: undefined, says: 'host' }), { id: 'of-host' });
    const telling = new Telling({ rules: [act, HOST_RULE, { ...HOST_RULE, id: 'other' }] });
    telling.tell((story) => {
      story.open(story.create(story.parent()));
      story.wait(2);
    });
    assert.deepEqual(
      telling.violations().map(({ rule, lasting }) => `${rule} ${lasting}`),
      ['of-host false', 'of-host true', 'other true'],
    );
  });
});

describe('a condition about what an object left behind', () => {
  const LEFT: Rule = {
    ...SOUND,
    id: 'left',
    onClock({ world, report }) {
      for (const device of world.unfreed) report({ device, lasting: true, says: 'left behind' });
    },
  };

  it('lasts after the life of the object as long as it is found, and ends by itself', () => {
    const telling = new Telling({ rules: [LEFT] });
    telling.tell((story) => {
      removeKeepingVdev(story, story.create(story.parent()));
      story.wait(10);
    });
    assert.deepEqual(telling.changes, ['raised v1']);
    telling.lose();
    telling.tell((story) => story.wait(1));
    assert.deepEqual(telling.changes, ['raised v1', 'resolved v1']);
  });
});

describe('evidence', () => {
  it('is what happened to all objects concerned, in order, each event once', () => {
    const rule = onOpen(({ vm, device }) => ({ vm, parent: device?.parent }));
    const telling = new Telling({ rules: [rule] });
    telling.tell((story) => {
      const vm = story.createVm();
      story.open(story.create(story.parent()), { vm });
    });
    const { evidence } = telling.violations()[0];
    const times = evidence.map(({ time }) => time);
    assert.deepEqual(
      times,
      [...new Set(times)].sort((a, b) => a - b),
    );
    const points = new Set(evidence.map(({ point }) => point));
    const told = [
      POINT.MDEV_PARENT_REGISTER,
      POINT.KVM_VM_INIT,
      POINT.MDEV_CREATE,
      POINT.VFIO_GROUP_SET_KVM,
      POINT.VFIO_DEVICE_OPEN,
    ];
    assert.deepEqual(
      told.filter((point) => !points.has(point)),
      [],
    );
    assert.equal(evidence.at(-1)?.point, POINT.VFIO_DEVICE_OPEN);
  });

  it('has what happened to the device that holds the UUID', () => {
    const rule: Rule = {
      ...SOUND,
      id: 'refused',
      on: {
        'mdev.create:end': ({ event, device }, { report }) =>
          event.ret < 0 && report({ device, says: 'no' }),
      },
    };
    const telling = new Telling({ rules: [rule] });
    telling.tell((story) => {
      const parent = story.parent();
      story.createFails(parent, 17, { uuid: story.create(parent).uuid });
    });
    const creates = telling
      .violations()[0]
      .evidence.filter(({ point }) => point === POINT.MDEV_CREATE);
    assert.equal(creates.length, 4);
  });
});

describe('a VM for people', () => {
  it('has an id, and its maker as far as that is known', () => {
    const telling = new Telling();
    telling.raw('kvm.get:begin', { kvm: 1 });
    const vm = telling.onlyVm();
    assert.deepEqual(vmReference(vm), { id: vmId(vm), pid: undefined, comm: undefined });
    telling.raw('kvm.get:begin', { kvm: 1, vmPid: 77 });
    assert.equal(vmReference(vm).pid, 77);
  });
});
