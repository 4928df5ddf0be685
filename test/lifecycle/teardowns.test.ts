/** Removals and unregistrations that began before the agent: a snapshot finds the threads that are in them. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RULES } from '../../src/catalogue.ts';
import type { Violation } from '../../src/engine/violation.ts';
import type { Host } from '../../src/events/host.ts';
import type { PointName } from '../../src/events/points.ts';
import { DEVICE_STATE } from '../../src/events/wire.gen.ts';
import { LINUX_6_12 } from '../../src/scenario/kernels.ts';
import { unbindBegins } from '../../src/scenario/vfio.ts';
import { ScenarioRunner } from '../kit/scenario-runner.ts';
import {
  applyAll,
  type SnapshotFields,
  snapshotBegins,
  snapshotEnds,
  snapshotRecord,
} from '../kit/snapshot-records.ts';

type Found = readonly [PointName, SnapshotFields];

const { LEAVING, WAITING, IN_DRIVER, INFERRED } = DEVICE_STATE;
const UUID = '00000000-0000-4000-8000-00000000002a';
const MDEV = { device: UUID, bus: 'mdev', parent: 'mtty' };
const BASH = { pid: 700, tid: 701, comm: 'bash' };
const PARENT = ['snapshot.parent', { names: { parent: 'mtty' } }] as const;
const DEVICE = ['snapshot.device', { deviceState: LEAVING, groupId: 7, names: MDEV }] as const;
const UNREGISTERS = ['snapshot.unregister', { ...BASH, names: { parent: 'mtty' } }] as const;

function removal(deviceState: number): Found {
  return ['snapshot.removal', { ...BASH, deviceState, names: MDEV }];
}

class LateHost extends ScenarioRunner {
  #time = 2000e9;

  constructor(host: Partial<Host> = {}) {
    super({
      rules: RULES,
      host: {
        traits: LINUX_6_12,
        pidsWithKvmFiles: () => new Set(),
        fileOwners: () => [],
        ...host,
      },
    });
  }

  snapshot(...found: readonly Found[]): void {
    applyAll(this.world, [
      snapshotBegins(this.#next()),
      ...found.map(([point, fields]) => snapshotRecord(point, this.#next(), fields)),
      snapshotEnds(this.#next()),
    ]);
  }

  after(seconds: number): readonly Violation[] {
    this.#time += seconds * 1e9;
    this.engine.tick(this.#time);
    return this.violations();
  }

  emit(...[kind, fields = {}]: Parameters<ScenarioRunner['raw']>): void {
    this.raw(kind, { time: this.#next(), ...fields });
  }

  #next(): number {
    this.#time += 1e6;
    return this.#time;
  }
}

function messages(violations: readonly Violation[]): string[] {
  return violations.map(({ rule, message }) => `${rule}: ${message}`);
}

describe('a removal that began before the agent', () => {
  it('is a stall when it waits although nobody has the device open', () => {
    const host = new LateHost();
    host.snapshot(PARENT, DEVICE, removal(WAITING | IN_DRIVER));
    assert.deepEqual(messages(host.after(5)), []);
    assert.match(
      messages(host.after(11)).join(),
      /^remove-stall: The removal of \S+ by bash \(pid 700\) has been waiting for at least 16 s: no process has it or its cdev open/,
    );
    assert.equal(host.violations()[0].blocked?.task.tid, 701);
  });

  it('is a stall when the driver does not return, also of a device that sysfs does not show', () => {
    const host = new LateHost();
    host.snapshot(PARENT, removal(IN_DRIVER));
    assert.match(
      messages(host.after(11)).join(),
      /^remove-stall: .* by bash \(pid 700\) has been in the driver for at least 11 s: its remove callback has not returned, although nobody has the device open\.$/,
    );
  });

  it('names a thread only as the probable one that no file shows', () => {
    const host = new LateHost();
    host.snapshot(PARENT, DEVICE, removal(WAITING | INFERRED));
    assert.match(messages(host.after(11)).join(), / by probably bash \(pid 700\) has been waiting/);
  });

  it('ends with the device', () => {
    const host = new LateHost();
    host.snapshot(PARENT, DEVICE, removal(WAITING));
    host.after(11);
    host.emit('mdev.release:begin', { dev: 70, parent: 60, names: { ...MDEV, type: 'mtty-1' } });
    host.after(1);
    assert.deepEqual(host.changes, ['raised v1', 'resolved v1']);
    assert.equal(host.world.devices.size, 0);
  });

  it('keeps the time of the snapshot that found it first', () => {
    const host = new LateHost();
    for (let i = 0; i < 2; i++) {
      host.snapshot(PARENT, DEVICE, removal(WAITING));
      host.after(6);
    }
    assert.match(messages(host.violations()).join(), /for at least 12 s/);
  });

  it('changes nothing of one whose begin was observed', () => {
    const host = new LateHost();
    const device = host.run((scenario) => scenario.create(scenario.parent()));
    host.run((scenario) => scenario.removeBegins(device));
    const [known] = host.world.devices;
    const names = { device: known.name, bus: 'mdev', parent: known.parentName };
    host.snapshot(['snapshot.removal', { ...BASH, deviceState: WAITING | INFERRED, names }]);
    assert.deepEqual([known.removeKnownBy, known.remover?.pid === BASH.pid], ['begin', false]);
  });

  it('is not what a thread does that waits for the lock of an unbinding that was observed', () => {
    const host = new LateHost();
    const admin = { pid: 600, comm: 'admin' };
    const device = host.run((scenario) => scenario.create(scenario.parent()));
    host.run((scenario) => unbindBegins(scenario, { device, task: admin, idle: false }));
    const [known] = host.world.devices;
    const names = { device: known.name, bus: 'mdev', parent: known.parentName };
    host.snapshot(
      ['snapshot.parent', { names: { parent: known.parentName } }],
      ['snapshot.device', { deviceState: LEAVING, groupId: 7, names }],
      ['snapshot.removal', { ...BASH, deviceState: 0, names }],
    );
    assert.deepEqual([known.removeKnownBy, known.remover], ['begin', undefined]);
    const [{ blocked, message }] = host.after(11);
    assert.equal(blocked?.task.comm, 'admin');
    assert.match(message, /by admin \(pid 600\) has been in the driver \(mtty\) for \d+ s/);
  });
});

describe('an unregistration that began before the agent', () => {
  const late = (...found: readonly Found[]) => {
    const host = new LateHost();
    host.snapshot(...found);
    return host;
  };
  const state = (host: LateHost) => [...host.world.parents].map((parent) => parent.state).join();

  it('is a stall, also while sysfs shows the parent as registered', () => {
    const host = late(PARENT, UNREGISTERS);
    assert.equal(state(host), 'unregistering');
    assert.match(
      messages(host.after(11)).join(),
      /^parent-unregister-stall: bash \(pid 700\) has been unregistering mtty for at least 11 s: what it waits for was not observed\.$/,
    );
  });

  it('of a parent that is only inferred is said to be so', () => {
    const [point, fields] = UNREGISTERS;
    const host = late(PARENT, [point, { ...fields, deviceState: INFERRED }]);
    assert.match(messages(host.after(11)).join(), /unregistering a parent, probably mtty, for at/);
  });

  it('ends with its last device, because no event ends it', () => {
    const host = late(DEVICE, removal(WAITING), UNREGISTERS);
    assert.equal(state(host), 'unregistering');
    assert.deepEqual(
      host
        .after(11)
        .map(({ rule }) => rule)
        .sort(),
      ['parent-unregister-stall', 'remove-stall'],
    );
    host.emit('mdev.release:begin', { dev: 70, parent: 60, names: { ...MDEV, type: 'mtty-1' } });
    host.after(1);
    assert.equal(state(host), '');
    assert.ok(host.violations().every(({ resolvedAt }) => resolvedAt > 0));
  });

  it('is over when a later snapshot finds no thread in it', () => {
    const registered = late(PARENT, UNREGISTERS);
    registered.snapshot(PARENT, UNREGISTERS);
    assert.equal(state(registered), 'unregistering');
    registered.snapshot(PARENT);
    assert.equal(state(registered), 'registered');
    const gone = late(PARENT, UNREGISTERS);
    gone.snapshot();
    assert.equal(state(gone), '');
  });

  it('is over when the process has ended', () => {
    let isAlive = true;
    const host = new LateHost({ isAlive: () => isAlive });
    host.snapshot(PARENT, UNREGISTERS);
    host.after(11);
    isAlive = false;
    host.after(1);
    assert.deepEqual(host.changes, ['raised v1', 'resolved v1']);
  });
});
