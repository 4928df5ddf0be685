/** Host snapshots case by case; snapshot-histories.test.ts checks them on random histories. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RULES } from '../../src/catalogue.ts';
import type { PointName } from '../../src/events/points.ts';
import { COVERED, DEVICE_STATE } from '../../src/events/wire.gen.ts';
import type { Device } from '../../src/lifecycle/objects.ts';
import type { TrackedObject } from '../../src/lifecycle/tracked-object.ts';
import { ScenarioRunner } from '../kit/scenario-runner.ts';
import {
  ALL_COVERED,
  applyAll,
  type SnapshotFields,
  snapshotBegins,
  snapshotEnds,
  snapshotRecord,
  wholeSnapshot,
} from '../kit/snapshot-records.ts';

const UUID = '00000000-0000-4000-8000-00000000002a';
const PCI = '0000:00:08.0';
const MDEV = { device: UUID, bus: 'mdev', type: 'mtty-1', parent: 'mtty', driver: 'mtty' };
const VFIO_PCI = { device: PCI, bus: 'pci', driver: 'vfio-pci' };
/** Keys of the device and its file, and of a VM. */
const DEVICE = { dev: 70, vdev: 71 };
const FILE = { ...DEVICE, file: 72 };
const KVM = { kvm: 80, usersCount: 2, vmPid: 4242 };
const QEMU = { pid: 4200, tid: 4242, comm: 'qemu' };

/** A world with methods that deliver events and records of host snapshots, each a millisecond later. */
class Host extends ScenarioRunner {
  #time = 2000e9;

  constructor() {
    super({ rules: RULES });
  }

  get now(): number {
    this.#time += 1e6;
    return this.#time;
  }

  begin(): void {
    applyAll(this.world, [snapshotBegins(this.now)]);
  }

  /** A record of a host snapshot. @param time when it was read, by default now */
  record(point: PointName, fields: SnapshotFields = {}, time = this.now): void {
    applyAll(this.world, [snapshotRecord(point, time, fields)]);
  }

  end(parts: number = ALL_COVERED): void {
    applyAll(this.world, [snapshotEnds(this.now, parts)]);
  }

  /** A whole host snapshot that finds these objects. */
  snapshot(
    found: readonly (readonly [PointName, SnapshotFields?])[],
    parts: number = ALL_COVERED,
  ): void {
    this.begin();
    for (const [point, fields] of found) this.record(point, fields);
    this.end(parts);
  }

  /** An event, now. */
  emit(...[kind, fields = {}]: Parameters<ScenarioRunner['raw']>): void {
    this.raw(kind, { time: this.now, ...fields });
  }

  only(): Device {
    const [device, ...others] = this.world.devices;
    assert.ok(device && others.length === 0, `${others.length} other devices`);
    return device;
  }

  quality(object: TrackedObject | undefined): string {
    return object ? this.world.qualityOf(object) : 'unknown';
  }
}

const MTTY = ['snapshot.parent', { names: { parent: 'mtty', driver: '' } }] as const;
const BOUND = [
  'snapshot.device',
  { deviceState: DEVICE_STATE.REMOVABLE, groupId: 7, names: MDEV },
] as const;
const LEAVING = [
  'snapshot.device',
  { deviceState: DEVICE_STATE.LEAVING, groupId: 7, names: { ...MDEV, type: '', driver: '' } },
] as const;
const PASSED_THROUGH = ['snapshot.device', { groupId: 5, names: VFIO_PCI }] as const;
const OPEN = [
  'snapshot.open',
  { ...FILE, ...KVM, ...QEMU, fd: 20, openCount: 1, groupId: 7, names: { ...MDEV, type: '' } },
] as const;
const VM = ['snapshot.vm', { ...KVM, ...QEMU, fd: 11, names: {} }] as const;
const LISTED = ['snapshot.vm_entry', { vmPid: 4242, fd: 11 }] as const;
const EVERYTHING = [MTTY, BOUND, OPEN, VM, LISTED] as const;

describe('the host snapshot at the start', () => {
  it('finds parents, devices, opens and VMs, all of them partial', () => {
    const host = new Host();
    host.snapshot(EVERYTHING);
    const device = host.only();
    const [open] = device.opens;
    assert.deepEqual(
      [device.name, device.bus, device.type, device.driver, device.state, device.openCount],
      [UUID, 'mdev', 'mtty-1', 'mtty', 'open', 1],
    );
    assert.equal(device.parent, host.onlyParent());
    assert.deepEqual([open.state, open.fd, open.task.pid, open.vm], ['open', 20, 4200, device.vm]);
    assert.equal(device.vm, host.onlyVm());
    assert.deepEqual([host.onlyVm().state, host.onlyVm().users], ['running', 2]);
    assert.ok(host.world.groups.get(7)?.devices.includes(device));
    for (const object of [device, open, host.onlyVm(), host.onlyParent()]) {
      assert.equal(host.quality(object), 'partial');
    }
    assert.deepEqual(host.violations(), []);
  });

  for (const [title, fields, state] of [
    ['bound', BOUND[1], 'bound'],
    ['without a driver', { ...BOUND[1], names: { ...MDEV, driver: '' } }, 'unbound'],
    ['being created', { deviceState: 0, names: { ...MDEV, type: '' } }, 'creating'],
    ['leaving', LEAVING[1], 'removing'],
    ['whose remove file is gone', { ...BOUND[1], deviceState: 0 }, 'bound'],
    ['passed through', PASSED_THROUGH[1], 'bound'],
    [
      'passed through and leaving',
      { ...PASSED_THROUGH[1], deviceState: DEVICE_STATE.LEAVING },
      'removing',
    ],
  ] as const) {
    it(`finds a device ${title}`, () => {
      const host = new Host();
      host.snapshot([['snapshot.device', fields]]);
      assert.equal(host.only().state, state);
    });
  }

  it('finds a VM with its own file, with only a vcpu, or only in debugfs', () => {
    for (const [found, state] of [
      [[VM, LISTED], 'running'],
      [[['snapshot.vm_file', VM[1]], LISTED], 'zombie'],
      [[LISTED], 'zombie'],
      [[BOUND, OPEN, LISTED], 'zombie'],
    ] as const) {
      const host = new Host();
      host.snapshot(found);
      host.snapshot(found);
      assert.deepEqual([host.onlyVm().state, host.onlyVm().creatorTid], [state, 4242]);
    }
  });

  it('takes no VM for closed that was created behind the place that the reader had reached', () => {
    for (const found of [
      [BOUND, OPEN, LISTED],
      [['snapshot.vm_file', VM[1]], LISTED],
      [LISTED],
    ] as const) {
      const host = new Host();
      host.snapshot(found);
      assert.equal(host.onlyVm().state, 'running');
      host.snapshot([BOUND, OPEN, VM, LISTED]);
      assert.deepEqual([host.onlyVm().state, host.onlyVm().fdClosedAt], ['running', 0]);
    }
  });

  it('distinguishes VMs of one thread by their count in debugfs', () => {
    const host = new Host();
    const found = [VM, LISTED, LISTED, ['snapshot.vm_entry', { vmPid: 9 }]] as const;
    host.snapshot(found);
    host.snapshot(found);
    const states = [...host.world.vms].map(({ creatorTid, state }) => `${creatorTid} ${state}`);
    assert.deepEqual(states.sort(), ['4242 running', '4242 zombie', '9 zombie']);
  });

  it('turns a zombie back into a running VM when it finds the file of the VM', () => {
    const host = new Host();
    host.snapshot([['snapshot.vm_file', VM[1]], LISTED]);
    host.snapshot([['snapshot.vm_file', VM[1]], LISTED]);
    assert.equal(host.onlyVm().state, 'zombie');
    host.snapshot([VM, LISTED]);
    assert.deepEqual([host.onlyVm().state, host.onlyVm().fdClosedAt], ['running', 0]);
  });

  it('does not adopt a VM from the dangling pointer of a device', () => {
    const host = new Host();
    host.snapshot([BOUND, OPEN]);
    assert.equal(host.world.vms.size, 0);
    assert.deepEqual([host.only().vm, host.only().opens[0].vm], [undefined, undefined]);
    assert.deepEqual(host.world.vms.indexed, 0);
  });

  it('finds a device that sysfs does not show by its open file', () => {
    const host = new Host();
    host.snapshot([['snapshot.open', { ...OPEN[1], names: VFIO_PCI }], VM, LISTED]);
    assert.deepEqual([host.only().name, host.only().state], [PCI, 'open']);
  });

  it('measures the wait of a removal that was waiting before from the snapshot on', () => {
    const host = new Host();
    host.snapshot([LEAVING, OPEN, VM, LISTED]);
    assert.ok(host.only().isWaiting);
    host.engine.tick(host.now + 11e9);
    assert.deepEqual(
      host.violations().map(({ rule, quality }) => `${rule} ${quality}`),
      ['remove-stall partial'],
    );
    host.emit('mdev.release:begin', { dev: 70, parent: 60, names: MDEV });
    host.engine.tick(host.now + 12e9);
    assert.deepEqual(host.engine.open(), []);
  });

  it('does not adopt the objects of an earlier snapshot again', () => {
    const host = new Host();
    host.snapshot(EVERYTHING);
    const before = [host.only(), host.only().opens[0], host.onlyVm(), host.onlyParent()];
    host.snapshot(EVERYTHING);
    assert.deepEqual([host.only(), host.only().opens[0], host.onlyVm(), host.onlyParent()], before);
  });
});

describe('an object that was found gets its key or its next state', () => {
  it('from a removal, which contains the key of the device', () => {
    const host = new Host();
    host.snapshot([MTTY, BOUND]);
    const device = host.only();
    host.emit('mdev.remove:begin', { dev: 70, parent: 60, names: MDEV });
    host.emit('mdev.unbind:begin', { dev: 70, parent: 60, names: MDEV });
    assert.deepEqual([host.only(), device.state], [device, 'removing']);
    host.emit('mdev.release:begin', { dev: 70, parent: 60, names: MDEV });
    host.emit('mdev.release:end', { dev: 70 });
    host.emit('mdev.remove:end', { dev: 70 });
    assert.equal(device.state, 'released');
    host.emit('mdev.parent.unregister:begin', { parent: 60, names: { parent: 'mtty' } });
    host.emit('mdev.parent.unregister:end', { parent: 60 });
    assert.deepEqual(host.leftovers(), {});
  });

  it('from the release of a device whose unbind was in flight', () => {
    const host = new Host();
    host.snapshot([
      ['snapshot.device', { ...PASSED_THROUGH[1], deviceState: DEVICE_STATE.LEAVING }],
    ]);
    host.emit('vfio.release:begin', { ...DEVICE, names: VFIO_PCI });
    host.emit('vfio.release:end', DEVICE);
    assert.deepEqual(host.leftovers(), {});
  });

  it('from opens and closes', () => {
    const host = new Host();
    host.snapshot(EVERYTHING);
    const device = host.only();
    const names = OPEN[1].names;
    const second = { ...DEVICE, ...KVM, file: 73 };
    host.emit('vfio.device.open:begin', { ...second, openCount: 1, names });
    host.emit('vfio.device.open:end', { ...second, openCount: 2 });
    assert.deepEqual([host.only(), device.opens.length, device.openCount], [device, 2, 2]);
    for (const [file, openCount] of [
      [72, 1],
      [73, 0],
    ]) {
      host.emit('vfio.device.close:begin', { ...DEVICE, ...KVM, file, names });
      host.emit('vfio.device.close:end', { ...DEVICE, ...KVM, file, openCount });
    }
    host.emit('vfio.device.kvm_drop:begin', { ...DEVICE, ...KVM });
    assert.deepEqual([device.state, device.opens, device.vm], ['bound', [], undefined]);
  });

  it('from a put, which contains the key and the creator of the VM', () => {
    const host = new Host();
    host.snapshot([LISTED]);
    const vm = host.onlyVm();
    host.emit('kvm.put:begin', KVM);
    assert.deepEqual([host.onlyVm(), vm.users], [vm, 1]);
    host.emit('kvm.vm.destroy:begin', { ...KVM, usersCount: 0 });
    host.emit('kvm.vm.destroy:end', KVM);
    assert.deepEqual([host.world.vms.size, host.world.vms.indexed], [0, 0]);
  });

  it('from the success or failure of a creation', () => {
    const creating = ['snapshot.device', { deviceState: 0, names: { ...MDEV, type: '' } }] as const;
    const host = new Host();
    host.snapshot([MTTY, creating]);
    host.emit('vfio.register_emulated:begin', { ...DEVICE, names: { ...MDEV, type: '' } });
    host.emit('mdev.probe:end', { dev: 70 });
    assert.equal(host.only().state, 'bound');
    const other = new Host();
    other.snapshot([MTTY, creating]);
    other.emit('mdev.release:begin', { dev: 70, parent: 60, names: MDEV });
    assert.equal(other.world.devices.size, 0);
  });

  it('from an open of a device that was being created', () => {
    const host = new Host();
    host.snapshot([['snapshot.device', { deviceState: 0, names: { ...MDEV, type: '' } }]]);
    host.emit('vfio.device.open:begin', { ...FILE, openCount: 0, names: MDEV });
    host.emit('vfio.device.open:end', { ...FILE, openCount: 1 });
    assert.equal(host.only().state, 'open');
  });

  it('from the next snapshot, when the end of its creation was not observed', () => {
    const host = new Host();
    host.snapshot([['snapshot.device', { deviceState: 0, names: { ...MDEV, type: '' } }]]);
    host.snapshot([BOUND]);
    assert.equal(host.only().state, 'bound');
  });

  it('and ends with its parent, whose unregistration began before the start', () => {
    const host = new Host();
    host.snapshot([LEAVING]);
    const removed = { dev: 70, parent: 60, names: MDEV };
    host.emit('mdev.remove_child:begin', removed);
    assert.equal(host.onlyParent().state, 'unregistering');
    host.emit('mdev.release:begin', removed);
    host.emit('mdev.remove_child:end', removed);
    assert.deepEqual([host.world.parents.size, host.world.parents.indexed], [0, 0]);
  });
});

describe('during a host snapshot', () => {
  /** Emits events between the time at which the snapshot reads the objects and its end. */
  function meanwhile(host: Host, found: typeof EVERYTHING, events: () => void): void {
    host.begin();
    const read = host.now;
    events();
    for (const [point, fields] of found) host.record(point, fields, read);
    host.end();
  }
  const removal = { dev: 70, parent: 60, names: MDEV };

  it('a device is removed', () => {
    for (const isKnown of [true, false]) {
      const host = new Host();
      if (isKnown) host.snapshot([MTTY, BOUND]);
      host.begin();
      const read = host.now;
      host.emit('mdev.remove:begin', removal);
      host.emit('mdev.release:begin', removal);
      host.emit('mdev.remove:end', removal);
      host.record(...MTTY, read);
      host.record(...BOUND, read);
      host.end();
      assert.equal(host.world.devices.size, 0);
      assert.equal(host.world.devices.ended.list().length, 1);
    }
  });

  it('the removal of a device begins', () => {
    const host = new Host();
    host.begin();
    const read = host.now;
    host.emit('mdev.unbind:begin', removal);
    host.record(...BOUND, read);
    host.end();
    assert.equal(host.only().state, 'removing');
  });

  it('a passed-through device is released that was unknown until then', () => {
    const host = new Host();
    host.begin();
    const read = host.now;
    host.emit('vfio.release:begin', { ...DEVICE, names: VFIO_PCI });
    host.emit('vfio.release:end', DEVICE);
    host.record(...PASSED_THROUGH, read);
    host.end();
    assert.deepEqual(host.leftovers(), {});
  });

  it('a file is closed, and its address is used again', () => {
    const host = new Host();
    meanwhile(host, EVERYTHING, () => {
      const names = OPEN[1].names;
      host.emit('vfio.device.close:begin', { ...FILE, ...KVM, openCount: 1, names });
      host.emit('vfio.device.close:end', { ...FILE, ...KVM, openCount: 0 });
      host.emit('vfio.device.kvm_drop:begin', { ...DEVICE, ...KVM });
    });
    assert.deepEqual([host.only().opens, host.only().state], [[], 'bound']);
    assert.equal(host.only().vm, undefined);

    const other = new Host();
    meanwhile(other, EVERYTHING, () => {
      const names = OPEN[1].names;
      other.emit('vfio.device.close:begin', { ...FILE, openCount: 1, names });
      other.emit('vfio.device.close:end', { ...FILE, openCount: 0 });
      other.emit('vfio.device.open:begin', { ...FILE, openCount: 0, names, pid: 9 });
      other.emit('vfio.device.open:end', { ...FILE, openCount: 1, pid: 9 });
    });
    const opens = other.only().opens.map(({ task, state }) => `${task.pid} ${state}`);
    assert.deepEqual([opens, other.only().openCount], [['9 open'], 1]);
    assert.equal(other.quality(other.only().opens[0]), 'observed');
  });

  it('a VM is closed, or destroyed', () => {
    const host = new Host();
    meanwhile(host, EVERYTHING, () => host.emit('kvm.vm.fd_close:begin', KVM));
    assert.equal(host.onlyVm().state, 'zombie');
    const other = new Host();
    other.begin();
    const read = other.now;
    other.emit('kvm.vm.destroy:begin', { ...KVM, usersCount: 0 });
    other.record(...VM, read);
    other.record(...LISTED, read);
    other.end();
    assert.equal(other.onlyVm().state, 'destroying');
    other.emit('kvm.vm.destroy:end', KVM);
    assert.equal(other.world.vms.size, 0);
  });

  it('a device is created, whether the snapshot finds it or not', () => {
    for (const isObserved of [true, false]) {
      const host = new Host();
      host.begin();
      const mdev = host.run((scenario) => {
        scenario.wait(3000);
        return scenario.create(scenario.parent());
      });
      const names = { ...MDEV, device: mdev.uuid };
      if (isObserved)
        host.record('snapshot.device', { deviceState: DEVICE_STATE.REMOVABLE, names });
      host.end();
      assert.deepEqual([host.only().state, host.quality(host.only())], ['bound', 'observed']);
    }
  });

  it('a device that is being created appears in sysfs before an event contains its key', () => {
    const host = new Host();
    host.begin();
    const creation = host.run((scenario) => {
      scenario.wait(3000);
      return scenario.createEnters(scenario.parent());
    });
    const names = { ...MDEV, type: '', device: creation.device.uuid };
    host.record('snapshot.device', { deviceState: 0, names });
    host.end();
    host.run((scenario) => scenario.createEnds(scenario.probeBegins(creation)));
    assert.deepEqual([host.only().state, host.quality(host.only())], ['bound', 'observed']);
  });

  it('an open is in flight', () => {
    for (const isObserved of [true, false]) {
      const host = new Host();
      host.snapshot([MTTY, BOUND]);
      host.emit('vfio.device.open:begin', { ...FILE, openCount: 0, names: MDEV });
      host.snapshot(isObserved ? [MTTY, BOUND, OPEN, VM, LISTED] : [MTTY, BOUND]);
      host.emit('vfio.device.open:end', { ...FILE, ...KVM, openCount: 1 });
      const device = host.only();
      assert.deepEqual(
        [device.state, device.openCount, device.opens.map(({ state }) => state)],
        ['open', 1, ['open']],
      );
      assert.equal(host.quality(device.opens[0]), 'observed');
    }
  });
});

describe('after a loss', () => {
  it('a host snapshot confirms objects, and updates their state', () => {
    const host = new Host();
    host.snapshot(EVERYTHING);
    const [device, vm, parent] = [host.only(), host.onlyVm(), host.onlyParent()];
    host.lose();
    for (const object of [device, vm, parent]) assert.equal(host.quality(object), 'unverified');
    assert.ok(host.world.isUnverified);
    host.snapshot([MTTY, LEAVING, OPEN, VM, LISTED]);
    assert.ok(!host.world.isUnverified);
    for (const object of [device, vm, parent]) assert.equal(host.quality(object), 'partial');
    assert.deepEqual([host.only(), device.state, device.openCount], [device, 'removing', 1]);
  });

  it('a host snapshot ends objects that it does not find', () => {
    const host = new Host();
    host.snapshot(EVERYTHING);
    const device = host.only();
    host.lose();
    host.snapshot([]);
    assert.deepEqual(host.leftovers(), {});
    assert.deepEqual([device.state, device.opens], ['released', []]);
    assert.deepEqual(
      host.world.vms.ended.list().map(({ state }) => state),
      ['destroyed'],
    );
  });

  it('a host snapshot shows closes, opens and a removal that was rolled back', () => {
    const host = new Host();
    host.snapshot(EVERYTHING);
    host.emit('mdev.unbind:begin', { dev: 70, parent: 60, names: MDEV });
    host.lose();
    host.snapshot([MTTY, BOUND, VM, LISTED]);
    const device = host.only();
    assert.deepEqual([device.state, device.openCount, device.vm], ['bound', 0, undefined]);
    host.lose();
    host.snapshot([MTTY, BOUND, ['snapshot.open', { ...OPEN[1], file: 99 }], VM, LISTED]);
    assert.deepEqual([device.state, device.openCount, device.vm], ['open', 1, host.onlyVm()]);
  });

  it('a host snapshot completes an open, a VM and a creation that had begun', () => {
    const host = new Host();
    host.snapshot([MTTY, BOUND]);
    host.emit('kvm.vm.init:begin', { ...KVM, ...QEMU, pid: 4200, tid: 4242 });
    host.emit('vfio.device.open:begin', { ...FILE, openCount: 0, names: MDEV });
    host.emit('mdev.create:begin', { parent: 60, names: { ...MDEV, uuid: UUID }, tid: 3 });
    host.lose();
    host.snapshot(EVERYTHING);
    assert.deepEqual(
      [host.only().state, host.only().opens[0].state, host.onlyVm().state],
      ['open', 'open', 'running'],
    );
  });

  it('a creation whose end was lost is not linked to the next device of its thread', () => {
    const host = new Host();
    host.emit('mdev.create:begin', { parent: 60, names: { ...MDEV, uuid: UUID }, tid: 3 });
    host.lose();
    host.snapshot([MTTY, BOUND]);
    const other = { dev: 90, parent: 60, names: { ...MDEV, device: 'other' }, tid: 3 };
    host.emit('mdev.release:begin', other);
    assert.equal(host.only().name, UUID);
  });

  it('an open whose begin was lost is adopted at its end', () => {
    const host = new Host();
    host.emit('vfio.register:begin', { ...DEVICE, names: VFIO_PCI });
    host.lose();
    host.emit('vfio.device.open:end', { ...FILE, openCount: 1 });
    assert.deepEqual([host.only().state, host.only().opens.length], ['open', 1]);
    assert.equal(host.quality(host.only().opens[0]), 'partial');
  });

  it('a device of the same name replaces one whose end was lost', () => {
    const host = new Host();
    const first = { dev: 70, parent: 60, names: MDEV };
    host.emit('mdev.probe:begin', first);
    host.emit('mdev.probe:end', first);
    host.lose();
    host.emit('mdev.remove:begin', { ...first, dev: 75 });
    assert.equal(host.only().keyHigh === 0, false);
    host.snapshot([MTTY, BOUND]);
    assert.equal(host.world.devices.size, 1);
  });

  it('a device that a host snapshot found may get another key, because it may be a successor', () => {
    const host = new Host();
    const first = { dev: 70, parent: 60, names: MDEV };
    host.emit('mdev.probe:begin', first);
    host.emit('mdev.probe:end', first);
    host.lose();
    host.snapshot([MTTY, BOUND]);
    const device = host.only();
    host.emit('mdev.remove:begin', { ...first, dev: 75, parent: 65 });
    assert.deepEqual([host.only(), host.world.devices.indexed], [device, 2]);
    assert.deepEqual([host.world.parents.size, host.world.parents.indexed], [1, 2]);
  });

  it('objects all of whose events arrived are not changed', () => {
    const host = new Host();
    host.lose();
    host.run((scenario) => {
      scenario.wait(3000);
      const device = scenario.create(scenario.parent());
      scenario.open(device, { vm: scenario.createVm() });
    });
    const device = host.only();
    const before = [device.state, device.openCount, device.vm, host.onlyVm().state];
    // The files are being passed between processes, and sysfs seems to be empty.
    for (let i = 0; i < 2; i++) host.snapshot([]);
    assert.deepEqual([device.state, device.openCount, device.vm, host.onlyVm().state], before);
    assert.equal(device.opens.length, 1);
    for (const object of [device, device.opens[0], host.onlyVm(), host.onlyParent()]) {
      assert.equal(host.quality(object), 'observed');
    }
  });

  it('the open_count of the kernel is kept while a file is being passed between processes', () => {
    const host = new Host();
    host.snapshot([MTTY, BOUND, ['snapshot.open', { ...OPEN[1], openCount: 2 }], VM, LISTED]);
    assert.deepEqual([host.only().opens.length, host.only().openCount], [1, 2]);
    host.lose();
    host.snapshot([MTTY, BOUND, ['snapshot.open', { ...OPEN[1], openCount: 2 }], VM, LISTED]);
    assert.deepEqual([host.only().opens.length, host.only().openCount], [1, 2]);
  });

  for (const [unread, parts, left] of [
    ['files', COVERED.SYSFS | COVERED.DEBUGFS, { opens: 1, vms: 1, devices: 0 }],
    ['sysfs', COVERED.FILES | COVERED.DEBUGFS, { opens: 0, vms: 0, devices: 1 }],
    ['debugfs', COVERED.FILES | COVERED.SYSFS, { opens: 0, vms: 1, devices: 0 }],
    ['anything', 0, { opens: 1, vms: 1, devices: 1 }],
  ] as const) {
    it(`a host snapshot that cannot read ${unread} does not end the objects that it would find there`, () => {
      const host = new Host();
      host.snapshot(EVERYTHING);
      const [device] = host.world.devices;
      host.lose();
      host.snapshot([], parts);
      assert.equal(host.world.vms.size, left.vms);
      assert.equal(host.world.devices.size, left.devices);
      if (left.devices) assert.equal(device.opens.length, left.opens);
      assert.equal(host.world.isUnverified, unread !== 'debugfs');
    });
  }

  it('another loss during the host snapshot leaves the objects that it finds unverified', () => {
    const host = new Host();
    host.snapshot(EVERYTHING);
    host.lose();
    host.begin();
    host.lose();
    for (const [point, fields] of EVERYTHING) host.record(point, fields);
    host.end();
    assert.equal(host.quality(host.only()), 'unverified');
    assert.ok(host.world.isUnverified);
    host.snapshot(EVERYTHING);
    assert.equal(host.quality(host.only()), 'partial');
    assert.ok(!host.world.isUnverified);
  });

  it('an object adopted by a host snapshot during which events were lost is unverified', () => {
    const host = new Host();
    host.begin();
    host.lose();
    for (const [point, fields] of EVERYTHING) host.record(point, fields);
    host.end();
    assert.equal(host.quality(host.only()), 'unverified');
    host.snapshot([]);
    assert.deepEqual(host.leftovers(), {});
  });

  it('a parent with devices that sysfs does not show is being unregistered', () => {
    const host = new Host();
    host.snapshot([MTTY, BOUND]);
    host.lose();
    host.snapshot([LEAVING]);
    assert.equal(host.onlyParent().state, 'unregistering');
    host.emit('mdev.release:begin', { dev: 70, parent: 60, names: MDEV });
    host.emit('mdev.release:end', { dev: 70 });
    assert.deepEqual(host.leftovers(), {});
  });

  it('no violation is raised about closes that may have been lost', () => {
    const host = new Host();
    const names = MDEV;
    host.emit('mdev.probe:begin', { dev: 70, parent: 60, names });
    host.emit('vfio.device.open:begin', { ...FILE, names });
    host.emit('vfio.device.open:end', FILE);
    host.lose();
    host.emit('mdev.unbind:begin', { dev: 70, parent: 60, names });
    host.emit('mdev.unbind:end', { dev: 70, parent: 60 });
    const rules = host.violations().map(({ rule }) => rule);
    assert.ok(!rules.includes('removed-while-open'), rules.join());
    assert.equal(host.engine.suppressed.size, 0);
  });
});

describe('kernels that show neither open_count nor the VM of a device (5.10)', () => {
  const old = { openCount: -1, kvm: 0, usersCount: -1, vmPid: 0 };
  const open = ['snapshot.open', { ...OPEN[1], ...old }] as const;

  it('have the number of known opens as open_count, and the VM of the group', () => {
    const host = new Host();
    const group = ['snapshot.group', { groupId: 7, ...KVM, names: {} }] as const;
    host.snapshot([
      MTTY,
      BOUND,
      open,
      ['snapshot.open', { ...open[1], file: 73 }],
      group,
      VM,
      LISTED,
    ]);
    assert.deepEqual([host.only().openCount, host.only().vm], [2, host.onlyVm()]);
  });

  it('keep the VM of a group when a host snapshot cannot read it', () => {
    const host = new Host();
    host.snapshot([MTTY, BOUND, VM, LISTED]);
    host.emit('vfio.group.set_kvm:begin', { groupId: 7, ...KVM });
    host.snapshot([MTTY, BOUND, ['snapshot.group', { groupId: 7, names: {} }], VM, LISTED]);
    assert.equal(host.world.groups.get(7)?.vm, host.onlyVm());
  });

  it('emit begin and end of an open together, when the request for it returns', () => {
    const host = new Host();
    const names = { ...MDEV, type: '' };
    host.snapshot([MTTY, BOUND, VM, LISTED]);
    host.emit('vfio.group.set_kvm:begin', { groupId: 7, ...KVM });
    const began = host.now;
    host.emit('vfio.device.get_fd:begin', { groupId: 7, names: { device: UUID } });
    const opened = { ...FILE, ...old, groupId: 7 };
    host.emit('vfio.device.open:begin', { ...opened, time: began, names });
    host.emit('vfio.device.open:end', opened);
    host.emit('vfio.device.get_fd:end', { groupId: 7, ret: 20 });
    const device = host.only();
    const [one] = device.opens;
    assert.deepEqual([one.state, one.fd, one.firstSeen, one.vm], ['open', 20, began, device.vm]);
    assert.deepEqual([device.openCount, device.vm], [1, host.onlyVm()]);
    host.emit('vfio.device.close:begin', { ...opened, names });
    host.emit('vfio.device.close:end', opened);
    assert.deepEqual([device.state, device.openCount, device.vm], ['bound', 0, undefined]);
  });
});

describe('kernels that create the file during the open (6.1)', () => {
  it('show file and VM only at the end of the open', () => {
    const host = new Host();
    const names = { ...MDEV, type: '' };
    host.snapshot([MTTY, BOUND, VM, LISTED]);
    host.emit('vfio.device.get_fd:begin', { groupId: 7, names: { device: UUID } });
    host.emit('vfio.device.open:begin', { ...DEVICE, openCount: 0, groupId: 7, names });
    host.emit('vfio.device.open:end', { ...FILE, ...KVM, openCount: 1, groupId: 7 });
    host.emit('vfio.device.get_fd:end', { groupId: 7, ret: 20 });
    const device = host.only();
    assert.deepEqual([device.state, device.openCount, device.vm], ['open', 1, host.onlyVm()]);
    host.snapshot(EVERYTHING);
    assert.equal(device.opens.length, 1);
    host.emit('vfio.device.close:begin', { ...FILE, ...KVM, openCount: 1, names });
    host.emit('vfio.device.close:end', { ...FILE, openCount: 0 });
    assert.deepEqual([device.opens, device.state, device.vm], [[], 'bound', undefined]);
  });
});

describe('the state of a world, encoded as a host snapshot', () => {
  it('gives another world the same state', () => {
    const full = new ScenarioRunner();
    full.run((scenario) => {
      const parent = scenario.parent();
      scenario.open(scenario.create(parent), { vm: scenario.createVm() });
      scenario.createBegins(parent, { as: { pid: 7, comm: 'sh' } });
      scenario.bindPci(PCI);
    });
    const late = new Host();
    applyAll(late.world, wholeSnapshot(full.world));
    const states = (world: typeof late.world) =>
      [...world.devices]
        .map(({ name, state, openCount }) => `${name} ${state} ${openCount}`)
        .sort();
    assert.deepEqual(states(late.world), states(full.world));
    assert.equal(late.onlyVm().state, 'running');
  });
});
