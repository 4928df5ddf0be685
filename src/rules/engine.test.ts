import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { POINT } from '../events/wire.gen.ts';
import type { Moment } from '../lifecycle/moment.ts';
import { vmId, vmReference } from './engine.ts';
import type { Finding, Rule, RuleContext } from './rule.ts';
import { Telling } from './telling.ts';

const SOUND = {
  title: 'A rule of this test',
  severity: 'warning',
  meaning: '',
  advice: '',
  origin: '',
  basis: 'event',
  examples: { fires: [], silent: [] },
} as const;

/** Finds an act in every open. */
function onOpen(finding: (moment: Moment) => Partial<Finding>, more: Partial<Rule> = {}): Rule {
  return {
    ...SOUND,
    id: 'on-open',
    on: {
      'vfio.device.open:end': (moment, { report }) =>
        report({
          device: moment.device,
          says: `opened at ${moment.event.time}`,
          ...finding(moment),
        }),
    },
    ...more,
  };
}

/** Finds every open device at every tick; `resolve` at its last close. */
function whileOpen(finding: (context: RuleContext) => Partial<Finding> = () => ({})): Rule {
  return {
    ...SOUND,
    id: 'while-open',
    on: {
      'vfio.device.close:end': ({ device }, { resolve }) => device && resolve(device),
    },
    onClock(context) {
      for (const device of context.world.devices) {
        if (device.openCount === 0) continue;
        const says = `open at ${context.now}`;
        context.report({ device, lasting: true, says, ...finding(context) });
      }
    },
  };
}

describe('an act', () => {
  it('is counted when the same object does it again', () => {
    const telling = new Telling({ rules: [onOpen(() => ({}))] });
    const device = telling.tell((story) => story.create(story.parent()));
    for (let i = 0; i < 3; i++) telling.tell((story) => story.close(story.open(device)));
    const [violation, ...others] = telling.violations();
    assert.deepEqual([violation.count, violation.lasting, others.length], [3, false, 0]);
    assert.ok(violation.lastSeen > violation.firstSeen);
    assert.equal(violation.explanation, `opened at ${violation.lastSeen}`);
    assert.deepEqual(telling.changes, ['raised v1', 'repeated v1', 'repeated v1']);
    assert.deepEqual([...telling.engine.raised], [['on-open warning', 1]]);
  });

  it('is another violation when another object does it', () => {
    const telling = new Telling({ rules: [onOpen(() => ({}))] });
    const parent = telling.tell((story) => story.parent());
    for (let i = 0; i < 2; i++) telling.tell((story) => story.open(story.create(parent)));
    assert.deepEqual(
      telling.violations().map(({ id, count }) => [id, count]),
      [
        ['v1', 1],
        ['v2', 1],
      ],
    );
  });

  it('is another violation when another rule finds it', () => {
    const rules = [onOpen(() => ({})), onOpen(() => ({}), { id: 'other' })];
    const telling = new Telling({ rules });
    telling.tell((story) => story.open(story.create(story.parent())));
    assert.deepEqual(
      telling.violations().map(({ rule }) => rule),
      ['on-open', 'other'],
    );
  });

  it('is told apart by its words when it is about no object', () => {
    const telling = new Telling({
      rules: [onOpen(({ event }) => ({ device: undefined, says: `${event.groupId}` }))],
    });
    telling.tell((story) => {
      const parent = story.parent();
      const [first, second] = [story.create(parent), story.create(parent)];
      for (const device of [first, second, first]) story.close(story.open(device));
    });
    assert.deepEqual(
      telling.violations().map(({ count }) => count),
      [2, 1],
    );
  });

  it('stays as severe as it has been at its worst', () => {
    const severities = ['warning', 'error', 'info'] as const;
    let next = 0;
    const telling = new Telling({ rules: [onOpen(() => ({ severity: severities[next++] }))] });
    const device = telling.tell((story) => story.create(story.parent()));
    for (const _ of severities) telling.tell((story) => story.close(story.open(device)));
    assert.equal(telling.violations()[0].severity, 'error');
    assert.deepEqual(
      [...telling.engine.raised],
      [
        ['on-open warning', 1],
        ['on-open error', 1],
      ],
    );
  });
});

describe('a lasting condition', () => {
  it('is one violation however many ticks see it', () => {
    const telling = new Telling({ rules: [whileOpen()] });
    telling.tell((story) => {
      story.open(story.create(story.parent()));
      story.wait(30);
    });
    const [violation, ...others] = telling.violations();
    assert.equal(others.length, 0);
    assert.deepEqual([violation.count, violation.lasting, violation.resolvedAt], [1, true, 0]);
    assert.equal(violation.lastSeen - violation.firstSeen, 29e9);
    assert.deepEqual(telling.changes, ['raised v1']);
    assert.deepEqual(telling.engine.open(), [violation]);
  });

  it('is told again when it gets worse, once', () => {
    const start = 1000e9;
    const severity = ({ now }: RuleContext) => (now > start + 5e9 ? 'error' : 'warning');
    const telling = new Telling({
      rules: [whileOpen((context) => ({ severity: severity(context) }))],
    });
    telling.tell((story) => {
      story.open(story.create(story.parent()));
      story.wait(20);
    });
    const [violation] = telling.violations();
    assert.deepEqual([violation.severity, violation.count], ['error', 1]);
    assert.deepEqual(telling.changes, ['raised v1', 'repeated v1']);
    assert.deepEqual(
      [...telling.engine.raised],
      [
        ['while-open warning', 1],
        ['while-open error', 1],
      ],
    );
  });

  it('is resolved, and raised as a new one when it comes back', () => {
    const telling = new Telling({ rules: [whileOpen()] });
    const device = telling.tell((story) => story.create(story.parent()));
    for (let i = 0; i < 2; i++) {
      telling.tell((story) => {
        const open = story.open(device);
        story.wait(2);
        story.close(open);
        story.wait(2);
      });
    }
    assert.deepEqual(telling.changes, ['raised v1', 'resolved v1', 'raised v2', 'resolved v2']);
    const [first, second] = telling.violations();
    assert.ok(first.resolvedAt > first.lastSeen && first.resolvedAt < second.firstSeen);
    assert.deepEqual(telling.engine.open(), []);
    assert.equal(telling.engine.get('v2'), second);
  });

  it('is not resolved twice, nor when it never was', () => {
    const telling = new Telling({ rules: [whileOpen()] });
    const device = telling.tell((story) => story.create(story.parent()));
    telling.tell((story) => story.close(story.open(device)));
    assert.deepEqual(telling.changes, []);
  });
});

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
      assert.deepEqual([...telling.engine.raised], []);
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
    assert.equal(telling.engine.get('v1'), undefined);
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
