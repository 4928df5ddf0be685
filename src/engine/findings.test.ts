/** Which findings become violations, which of those are kept, and what goes with them. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ScenarioRunner } from '../../test/kit/scenario-runner.ts';
import { onOpen, SOUND, whileOpen } from '../../test/kit/simple-rules.ts';
import { POINT } from '../events/wire.gen.ts';
import type { Device } from '../lifecycle/objects.ts';
import { removeKeepingVdev } from '../scenario/vfio.ts';
import type { Rule } from './rule.ts';
import { vmId, vmReference } from './words.ts';

describe('an object that was not observed from its beginning', () => {
  const names = { device: 'adopted', bus: 'mdev', type: 't', parent: 'p' };

  function openPartial(runner: ScenarioRunner): void {
    runner.raw('vfio.device.open:begin', { dev: 1, vdev: 1, file: 2, names });
    runner.raw('vfio.device.open:end', { dev: 1, vdev: 1, file: 2, openCount: 1 });
  }

  function openUnverified(runner: ScenarioRunner): void {
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    runner.lose();
    runner.run((scenario) => scenario.open(device));
  }

  for (const [quality, open] of [
    ['partial', openPartial],
    ['unverified', openUnverified],
  ] as const) {
    it(`keeps back a finding that follows from history when it is ${quality}`, () => {
      const runner = new ScenarioRunner({ rules: [onOpen(() => ({}), { basis: 'history' })] });
      open(runner);
      assert.deepEqual(runner.violations(), []);
      assert.deepEqual([...runner.engine.suppressed], [['on-open', 1]]);
      assert.deepEqual([...runner.engine.occurred], [['on-open warning', 0]]);
    });

    it(`raises a finding that is in the event, and says that it is ${quality}`, () => {
      const runner = new ScenarioRunner({ rules: [onOpen(() => ({}))] });
      open(runner);
      assert.deepEqual(
        runner.violations().map((violation) => violation.quality),
        [quality],
      );
      assert.deepEqual([...runner.engine.suppressed], []);
    });
  }

  it('raises a finding that follows from state about a partial object, suppresses it about an unverified one', () => {
    const late = new ScenarioRunner({ rules: [onOpen(() => ({}), { basis: 'state' })] });
    openPartial(late);
    assert.equal(late.violations().length, 1);
    const unverified = new ScenarioRunner({ rules: [onOpen(() => ({}), { basis: 'state' })] });
    openUnverified(unverified);
    assert.deepEqual(unverified.violations(), []);
    assert.deepEqual([...unverified.engine.suppressed], [['on-open', 1]]);
  });

  it('keeps back a finding that follows from state while a loss is known that no gap has shown', () => {
    let isLosing = false;
    const runner = new ScenarioRunner(
      { rules: [onOpen(() => ({}), { basis: 'state' })] },
      { endedObjects: 1000, isLosing: () => isLosing },
    );
    const parent = runner.run((scenario) => scenario.parent());
    isLosing = true;
    runner.run((scenario) => scenario.open(scenario.create(parent)));
    assert.deepEqual(runner.violations(), []);
    isLosing = false;
    runner.run((scenario) => scenario.open(scenario.create(parent)));
    assert.equal(runner.violations().length, 1);
  });

  it('counts an ongoing finding that is suppressed once for each object, not at each tick', () => {
    const runner = new ScenarioRunner({
      rules: [{ ...whileOpen(), basis: 'history' }],
    });
    openPartial(runner);
    runner.run((scenario) => scenario.wait(100));
    assert.deepEqual([...runner.engine.suppressed], [['while-open', 1]]);
    runner.raw('vfio.device.close:begin', { dev: 1, vdev: 1, file: 2, names });
    runner.raw('vfio.device.close:end', { dev: 1, vdev: 1, file: 2, openCount: 0 });
    openPartial(runner);
    runner.run((scenario) => scenario.wait(100));
    assert.deepEqual([...runner.engine.suppressed], [['while-open', 2]]);
  });

  it('counts one about what an ended object left behind once, too', () => {
    const left: Device[] = [];
    const runner = new ScenarioRunner({
      rules: [
        {
          ...SOUND,
          id: 'left-behind',
          basis: 'history',
          on: { 'mdev.release:begin': ({ device }) => device && left.push(device) },
          onClock({ report }) {
            for (const device of left) report({ device, ongoing: true, message: 'left behind' });
          },
        },
      ],
    });
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    runner.lose();
    runner.run((scenario) => {
      scenario.remove(device);
      scenario.wait(100);
    });
    assert.deepEqual([...runner.engine.suppressed], [['left-behind', 1]]);
  });

  it('keeps back a finding when any of its objects is one', () => {
    const rule = onOpen(({ vm }) => ({ vm }), { basis: 'history' });
    const runner = new ScenarioRunner({ rules: [rule] });
    runner.run((scenario) => scenario.parent());
    runner.raw('kvm.get:begin', { kvm: 500, usersCount: 1 });
    runner.run((scenario) => {
      const vm = { key: 500, task: { pid: 1, comm: 'qemu' }, users: 1 };
      scenario.open(scenario.create(scenario.parent()), { vm });
    });
    assert.deepEqual([...runner.engine.suppressed], [['on-open', 1]]);
  });
});

describe('the list of violations', () => {
  it('is bounded: resolved ones leave first, then the oldest', () => {
    const rules = [onOpen(() => ({})), whileOpen()];
    const runner = new ScenarioRunner({ rules, limit: 3 });
    const parent = runner.run((scenario) => scenario.parent());
    const ids = () => runner.violations().map(({ id }) => id);
    runner.run((scenario) => {
      const open = scenario.open(scenario.create(parent)); // raises v1
      scenario.wait(1); // raises v2
      scenario.close(open); // resolves v2
      scenario.open(scenario.create(parent)); // raises v3
    });
    assert.deepEqual(ids(), ['v1', 'v2', 'v3']);
    runner.run((scenario) => scenario.open(scenario.create(parent)));
    assert.deepEqual(ids(), ['v1', 'v3', 'v4']);
    runner.run((scenario) => scenario.open(scenario.create(parent)));
    assert.deepEqual(ids(), ['v3', 'v4', 'v5']);
  });

  it('never loses a critical one to notices, however old it is, and however many they are', () => {
    const severities = ['critical', 'info', 'warning'] as const;
    let next = 0;
    const rules = [onOpen(() => ({ severity: severities[Math.min(next++, 2)] })), whileOpen()];
    const runner = new ScenarioRunner({ rules, limit: 5 });
    const parent = runner.run((scenario) => scenario.parent());
    for (let i = 0; i < 20; i++) {
      runner.run((scenario) => {
        const open = scenario.open(scenario.create(parent));
        scenario.wait(1);
        scenario.close(open);
      });
    }
    const kept = runner.violations();
    assert.equal(kept.length, 5);
    assert.deepEqual([kept[0].id, kept[0].severity], ['v1', 'critical']);
    assert.equal(
      kept.some(({ severity }) => severity === 'info'),
      false,
    );
  });

  it('keeps what was seen again rather than what was not', () => {
    const runner = new ScenarioRunner({ rules: [onOpen(() => ({}))], limit: 2 });
    runner.run((scenario) => {
      const parent = scenario.parent();
      const [first, second] = [scenario.create(parent), scenario.create(parent)];
      for (const device of [first, second, first, scenario.create(parent)]) {
        scenario.close(scenario.open(device));
      }
    });
    assert.deepEqual(
      runner.violations().map(({ id, count }) => [id, count]),
      [
        ['v1', 2],
        ['v3', 1],
      ],
    );
  });

  it('keeps an ongoing violation rather than a one-shot one', () => {
    const rules = [onOpen(() => ({})), whileOpen()];
    const runner = new ScenarioRunner({ rules, limit: 2 });
    const parent = runner.run((scenario) => scenario.parent());
    runner.raw('vfio.register:begin', { dev: 900, vdev: 900, names: { device: 'held' } });
    const held = runner.device('held');
    assert.ok(held);
    held.openCount = 1;
    runner.run((scenario) => scenario.wait(1)); // raises v1, which lasts
    for (let i = 0; i < 5; i++)
      runner.run((scenario) => scenario.close(scenario.open(scenario.create(parent))));
    runner.run((scenario) => scenario.wait(1));
    assert.deepEqual(
      runner.engine.open().map(({ id }) => id),
      ['v1'],
    );
  });

  it('knows an ongoing violation that was dropped from the list, and reports its end', () => {
    const runner = new ScenarioRunner({ rules: [whileOpen()], limit: 2 });
    const opens = runner.run((scenario) => {
      const parent = scenario.parent();
      return [1, 2, 3].map(() => scenario.open(scenario.create(parent)));
    });
    runner.run((scenario) => scenario.wait(20));
    assert.deepEqual(runner.changes, ['raised v1', 'raised v2', 'raised v3']);
    assert.deepEqual(
      runner.violations().map(({ id }) => id),
      ['v2', 'v3'],
    );
    assert.deepEqual(
      runner.engine.open().map(({ id }) => id),
      ['v1', 'v2', 'v3'],
    );
    runner.run((scenario) => scenario.close(opens[0]));
    assert.deepEqual(runner.changes.slice(3), ['resolved v1']);
    assert.equal(runner.engine.open().length, 2);
  });

  it('raises what it had to forget as a new violation', () => {
    const runner = new ScenarioRunner({ rules: [onOpen(() => ({}))], limit: 1 });
    runner.run((scenario) => {
      const parent = scenario.parent();
      const [first, second] = [scenario.create(parent), scenario.create(parent)];
      for (const device of [first, second, first]) scenario.close(scenario.open(device));
    });
    assert.deepEqual(runner.changes, ['raised v1', 'raised v2', 'raised v3']);
    assert.equal(runner.violations()[0].count, 1);
  });
});

describe('an ongoing violation of the host, about no object', () => {
  /** Holds while somebody has the first device open that there ever was. */
  const HOST_RULE: Rule = {
    ...SOUND,
    id: 'of-host',
    onClock({ world, now, report, resolve }) {
      const [device] = world.devices;
      if (device?.openCount) report({ ongoing: true, message: `the host at ${now}` });
      else resolve();
    },
  };

  it('is one violation whatever it says, until it is resolved', () => {
    const runner = new ScenarioRunner({ rules: [HOST_RULE] });
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    for (let i = 0; i < 2; i++) {
      runner.run((scenario) => {
        const open = scenario.open(device);
        scenario.wait(3);
        scenario.close(open);
        scenario.wait(3);
      });
    }
    assert.deepEqual(runner.changes, ['raised v1', 'resolved v1', 'raised v2', 'resolved v2']);
    const [violation] = runner.violations();
    assert.deepEqual(
      [violation.count, violation.device, violation.quality, violation.evidence],
      [1, undefined, 'observed', []],
    );
    assert.equal(violation.message, `the host at ${violation.lastSeen}`);
    assert.equal(violation.lastSeen - violation.firstSeen, 2e9);
  });

  it('is distinct from one-shot violations about no object, and from those of other rules', () => {
    const oneShot = onOpen(() => ({ device: undefined, message: 'host' }), { id: 'of-host' });
    const runner = new ScenarioRunner({
      rules: [oneShot, HOST_RULE, { ...HOST_RULE, id: 'other' }],
    });
    runner.run((scenario) => {
      scenario.open(scenario.create(scenario.parent()));
      scenario.wait(2);
    });
    assert.deepEqual(
      runner.violations().map(({ rule, ongoing }) => `${rule} ${ongoing}`),
      ['of-host false', 'of-host true', 'other true'],
    );
  });
});

describe('an ongoing violation about what an object left behind', () => {
  const LEFT: Rule = {
    ...SOUND,
    id: 'left',
    onClock({ world, report }) {
      for (const device of world.unfreed) report({ device, ongoing: true, message: 'left behind' });
    },
  };

  it('lasts after the end of the object as long as it is found, and ends by itself', () => {
    const runner = new ScenarioRunner({ rules: [LEFT] });
    runner.run((scenario) => {
      removeKeepingVdev(scenario, scenario.create(scenario.parent()));
      scenario.wait(10);
    });
    assert.deepEqual(runner.changes, ['raised v1']);
    runner.lose();
    runner.run((scenario) => scenario.wait(1));
    assert.deepEqual(runner.changes, ['raised v1', 'resolved v1']);
  });
});

describe('evidence', () => {
  it('is what happened to all objects concerned, in order, each event once', () => {
    const rule = onOpen(({ vm, device }) => ({ vm, parent: device?.parent }));
    const runner = new ScenarioRunner({ rules: [rule] });
    runner.run((scenario) => {
      const vm = scenario.createVm();
      scenario.open(scenario.create(scenario.parent()), { vm });
    });
    const { evidence } = runner.violations()[0];
    const times = evidence.map(({ time }) => time);
    assert.deepEqual(
      times,
      [...new Set(times)].sort((a, b) => a - b),
    );
    const points = new Set(evidence.map(({ point }) => point));
    const expected = [
      POINT.MDEV_PARENT_REGISTER,
      POINT.KVM_VM_INIT,
      POINT.MDEV_CREATE,
      POINT.VFIO_GROUP_SET_KVM,
      POINT.VFIO_DEVICE_OPEN,
    ];
    assert.deepEqual(
      expected.filter((point) => !points.has(point)),
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
          event.ret < 0 && report({ device, message: 'no' }),
      },
    };
    const runner = new ScenarioRunner({ rules: [rule] });
    runner.run((scenario) => {
      const parent = scenario.parent();
      scenario.createFails(parent, 17, { uuid: scenario.create(parent).uuid });
    });
    const creates = runner
      .violations()[0]
      .evidence.filter(({ point }) => point === POINT.MDEV_CREATE);
    assert.equal(creates.length, 4);
  });
});

describe('a VM for people', () => {
  it('has an id, and its creator as far as that is known', () => {
    const runner = new ScenarioRunner();
    runner.raw('kvm.get:begin', { kvm: 1 });
    const vm = runner.onlyVm();
    assert.deepEqual(vmReference(vm), {
      ...{ id: vmId(vm), pid: undefined, comm: undefined, name: undefined, uuid: undefined },
    });
    runner.raw('kvm.get:begin', { kvm: 1, vmPid: 77 });
    assert.equal(vmReference(vm).pid, 77);
  });
});
