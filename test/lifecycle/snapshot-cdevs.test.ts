/** Host snapshots that find device cdevs, or do not find those that events showed. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DEVICE_STATE } from '../../src/events/wire.gen.ts';
import type { Device } from '../../src/lifecycle/objects.ts';
import { closeCdev, openCdev } from '../../src/scenario/cdev.ts';
import { ScenarioRunner } from '../kit/scenario-runner.ts';
import {
  applyAll,
  type SnapshotFields,
  snapshotBegins,
  snapshotEnds,
  snapshotRecord,
} from '../kit/snapshot-records.ts';

const UUID = '00000000-0000-4000-8000-00000000002a';
const NAMES = { device: UUID, bus: 'mdev', type: 'mtty-1', parent: 'mtty', driver: 'mtty' };
const QEMU = { pid: 4200, tid: 4242, comm: 'qemu' };
const KVM = { kvm: 80, usersCount: 2, vmPid: 4242 };
const { BOUND, ATTACHED, REMOVABLE } = DEVICE_STATE;

/** A host with a device that existed before the agent. */
class Host extends ScenarioRunner {
  #time = 2000e9;

  get now(): number {
    this.#time += 1e6;
    return this.#time;
  }

  /** A whole host snapshot that finds the device and these cdevs of it. */
  snapshot(...cdevs: readonly SnapshotFields[]): void {
    const found = (fields: SnapshotFields) => {
      const device = { dev: 70, vdev: 71, ...QEMU, fd: 9, names: { ...NAMES, type: '' } };
      return snapshotRecord('snapshot.cdev', this.now, { ...device, openCount: 0, ...fields });
    };
    const device = { deviceState: REMOVABLE, names: NAMES };
    applyAll(this.world, [
      snapshotBegins(this.now),
      snapshotRecord('snapshot.parent', this.now, { names: { parent: 'mtty', driver: 'mtty' } }),
      snapshotRecord('snapshot.device', this.now, device),
      ...cdevs.map(found),
      snapshotEnds(this.now),
    ]);
  }

  only(): Device {
    const [device, ...others] = this.world.devices;
    assert.ok(device && others.length === 0);
    return device;
  }

  states(): string[] {
    return this.only().cdevs.map(({ state }) => state);
  }
}

describe('a host snapshot', () => {
  it('finds a cdev that is not bound: its device is not open', () => {
    const host = new Host();
    host.snapshot({ file: 72 });
    const device = host.only();
    const [cdev] = device.cdevs;
    assert.deepEqual([cdev.state, cdev.opener.pid, cdev.fd], ['unbound', QEMU.pid, 9]);
    assert.equal(host.world.qualityOf(cdev), 'partial');
    assert.deepEqual([device.state, device.openCount, device.opens], ['bound', 0, []]);
  });

  it('finds a cdev that is bound and attached: its device is open, for its VM', () => {
    const host = new Host();
    host.snapshot({ file: 72, openCount: 1, deviceState: BOUND | ATTACHED, ...KVM });
    const device = host.only();
    assert.deepEqual(host.states(), ['attached']);
    assert.deepEqual([device.state, device.openCount, device.opens.length], ['open', 1, 1]);
    // The descriptor is not of a device file that a group returned, for which the host can be asked.
    assert.equal(device.opens[0].fd, -1);
    host.snapshot({ file: 72, openCount: 1, deviceState: BOUND | ATTACHED, ...KVM });
    assert.deepEqual([device.opens.length, device.cdevs.length], [1, 1]);
  });

  it('counts one cdev once, whatever number of processes has it', () => {
    const host = new Host();
    host.snapshot({ file: 72 }, { file: 72, pid: 1, tid: 1, comm: 'shim' });
    assert.deepEqual(host.states(), ['unbound']);
  });

  it('changes nothing of a cdev whose events all arrived', () => {
    const host = new Host();
    host.snapshot();
    const cdev = { dev: 70, vdev: 71, openCount: 0 };
    host.raw('vfio.cdev.open:begin', { time: host.now, ...cdev, names: { ...NAMES, type: '' } });
    host.raw('vfio.cdev.open:end', { time: host.now, ...cdev, file: 72 });
    host.snapshot({ file: 72, openCount: 1, deviceState: BOUND });
    assert.deepEqual(host.states(), ['unbound']);
    host.snapshot();
    assert.deepEqual(host.states(), ['unbound']);
  });

  it('corrects the state of a cdev after a loss, and ends one that it does not find', () => {
    const host = new Host();
    host.snapshot({ file: 72 }, { file: 73 });
    host.lose();
    host.snapshot({ file: 72, openCount: 1, deviceState: BOUND });
    assert.deepEqual(host.states(), ['bound']);
    assert.deepEqual([host.only().openCount, host.world.cdevs.size], [1, 1]);
  });

  it('does not adopt a cdev again that was closed since it began', () => {
    const runner = new ScenarioRunner();
    const made = runner.run((scenario) => scenario.create(scenario.parent()));
    const file = runner.run((scenario) => openCdev(scenario, made));
    const device = runner.device(made.uuid) as Device;
    const read = device.cdevs[0].openedAt + 1;
    applyAll(runner.world, [snapshotBegins(read)]);
    runner.run((scenario) => closeCdev(scenario, file));
    const names = { device: made.uuid, bus: 'mdev' };
    const fields = { dev: made.key, vdev: made.key, file: file.key, ...QEMU, names };
    applyAll(runner.world, [
      snapshotRecord('snapshot.cdev', read, fields),
      snapshotEnds(read + 1e6),
    ]);
    assert.deepEqual(device.cdevs, []);
  });
});
