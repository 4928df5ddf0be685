/** What a look at the host tells; seen-histories.test.ts tries it on whole histories. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RULES } from '../rules/catalogue.ts';
import {
  applyAll,
  lookBegins,
  lookEnds,
  SEEN,
  type SeenFields,
  SHOWN,
  seenRecord,
  wholeLook,
} from '../rules/looking.ts';
import { Telling } from '../rules/telling.ts';
import type { Device, Life } from './objects.ts';
import type { PointName } from './points.ts';

const UUID = '00000000-0000-4000-8000-00000000002a';
const PCI = '0000:00:08.0';
const MDEV = { device: UUID, bus: 'mdev', type: 'mtty-1', parent: 'mtty', driver: 'mtty' };
const VFIO_PCI = { device: PCI, bus: 'pci', driver: 'vfio-pci' };
/** Keys of the device and its file, and of a VM. */
const DEVICE = { dev: 70, vdev: 71 };
const FILE = { ...DEVICE, file: 72 };
const KVM = { kvm: 80, usersCount: 2, vmPid: 4242 };
const QEMU = { pid: 4200, tid: 4242, comm: 'qemu' };

/** A world that is looked at, with time passing in between. */
class Host extends Telling {
  #time = 2000e9;

  constructor() {
    super({ rules: RULES });
  }

  get now(): number {
    this.#time += 1e6;
    return this.#time;
  }

  begin(): void {
    applyAll(this.world, [lookBegins(this.now)]);
  }

  /** @param time when it was read, if not now */
  see(point: PointName, fields: SeenFields = {}, time = this.now): void {
    applyAll(this.world, [seenRecord(point, time, fields)]);
  }

  end(parts: number = SEEN.all): void {
    applyAll(this.world, [lookEnds(this.now, parts)]);
  }

  /** A whole look that finds that. */
  look(found: readonly (readonly [PointName, SeenFields?])[], parts: number = SEEN.all): void {
    this.begin();
    for (const [point, fields] of found) this.see(point, fields);
    this.end(parts);
  }

  /** A call, at once. */
  happen(...[moment, fields = {}]: Parameters<Telling['raw']>): void {
    this.raw(moment, { time: this.now, ...fields });
  }

  only(): Device {
    const [device, ...others] = this.world.devices;
    assert.ok(device && others.length === 0, `${others.length} other devices`);
    return device;
  }

  quality(life: Life | undefined): string {
    return life ? this.world.qualityOf(life) : 'unknown';
  }
}

const MTTY = ['seen.parent', { names: { parent: 'mtty', driver: '' } }] as const;
const BOUND = ['seen.device', { ret: SHOWN.removable, groupId: 7, names: MDEV }] as const;
const LEAVING = [
  'seen.device',
  { ret: SHOWN.leaving, groupId: 7, names: { ...MDEV, type: '', driver: '' } },
] as const;
const PASSED_THROUGH = ['seen.device', { groupId: 5, names: VFIO_PCI }] as const;
const OPEN = [
  'seen.open',
  { ...FILE, ...KVM, ...QEMU, ret: 20, openCount: 1, groupId: 7, names: { ...MDEV, type: '' } },
] as const;
const VM = ['seen.vm', { ...KVM, ...QEMU, ret: 11, names: {} }] as const;
const LISTED = ['seen.vm_entry', { vmPid: 4242, ret: 11 }] as const;
const EVERYTHING = [MTTY, BOUND, OPEN, VM, LISTED] as const;

describe('a look at the start', () => {
  it('finds parents, devices, opens and VMs, all of them late', () => {
    const host = new Host();
    host.look(EVERYTHING);
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
    assert.ok(host.world.groups.get(7)?.devices.has(device));
    for (const life of [device, open, host.onlyVm(), host.onlyParent()]) {
      assert.equal(host.quality(life), 'late');
    }
    assert.deepEqual(host.violations(), []);
  });

  for (const [title, fields, state] of [
    ['bound', BOUND[1], 'bound'],
    ['without a driver', { ...BOUND[1], names: { ...MDEV, driver: '' } }, 'unbound'],
    ['being created', { ret: 0, names: { ...MDEV, type: '' } }, 'creating'],
    ['leaving', LEAVING[1], 'removing'],
    ['whose remove file is gone', { ...BOUND[1], ret: 0 }, 'bound'],
    ['passed through', PASSED_THROUGH[1], 'bound'],
    ['passed through and leaving', { ...PASSED_THROUGH[1], ret: SHOWN.leaving }, 'removing'],
  ] as const) {
    it(`finds a device ${title}`, () => {
      const host = new Host();
      host.look([['seen.device', fields]]);
      assert.equal(host.only().state, state);
    });
  }

  it('finds a VM with its own file, with only a vcpu, or only in debugfs', () => {
    for (const [found, state] of [
      [[VM, LISTED], 'running'],
      [[['seen.vm_file', VM[1]], LISTED], 'released'],
      [[LISTED], 'released'],
      [[BOUND, OPEN, LISTED], 'released'],
    ] as const) {
      const host = new Host();
      host.look(found);
      assert.deepEqual([host.onlyVm().state, host.onlyVm().makerTid], [state, 4242]);
    }
  });

  it('tells VMs of one thread apart by their number', () => {
    const host = new Host();
    host.look([VM, LISTED, LISTED, ['seen.vm_entry', { vmPid: 9 }]]);
    const states = [...host.world.vms].map(({ makerTid, state }) => `${makerTid} ${state}`);
    assert.deepEqual(states.sort(), ['4242 released', '4242 running', '9 released']);
  });

  it('finds a VM in its own file that it took for closed when only a vcpu was in sight', () => {
    const host = new Host();
    host.look([['seen.vm_file', VM[1]], LISTED]);
    host.look([VM, LISTED]);
    assert.deepEqual([host.onlyVm().state, host.onlyVm().fdClosedAt], ['running', 0]);
  });

  it('takes no dangling pointer of a device for a VM', () => {
    const host = new Host();
    host.look([BOUND, OPEN]);
    assert.equal(host.world.vms.size, 0);
    assert.deepEqual([host.only().vm, host.only().opens[0].vm], [undefined, undefined]);
    assert.deepEqual(host.world.vmKeys.size, 0);
  });

  it('finds a device that sysfs does not show by its file', () => {
    const host = new Host();
    host.look([['seen.open', { ...OPEN[1], names: VFIO_PCI }], VM, LISTED]);
    assert.deepEqual([host.only().name, host.only().state], [PCI, 'open']);
  });

  it('begins to wait with a removal that waits already', () => {
    const host = new Host();
    host.look([LEAVING, OPEN, VM, LISTED]);
    assert.ok(host.only().isWaiting);
    host.engine.tick(host.now + 11e9);
    assert.deepEqual(
      host.violations().map(({ rule, quality }) => `${rule} ${quality}`),
      ['remove-stall late'],
    );
    host.happen('mdev.release:begin', { dev: 70, parent: 60, names: MDEV });
    host.engine.tick(host.now + 12e9);
    assert.deepEqual(host.engine.open(), []);
  });

  it('finds nothing twice', () => {
    const host = new Host();
    host.look(EVERYTHING);
    const before = [host.only(), host.only().opens[0], host.onlyVm(), host.onlyParent()];
    host.look(EVERYTHING);
    assert.deepEqual([host.only(), host.only().opens[0], host.onlyVm(), host.onlyParent()], before);
  });
});

describe('what was found is joined', () => {
  it('by a removal, which knows the device by its key', () => {
    const host = new Host();
    host.look([MTTY, BOUND]);
    const device = host.only();
    host.happen('mdev.remove:begin', { dev: 70, parent: 60, names: MDEV });
    host.happen('mdev.unbind:begin', { dev: 70, parent: 60, names: MDEV });
    assert.deepEqual([host.only(), device.state], [device, 'removing']);
    host.happen('mdev.release:begin', { dev: 70, parent: 60, names: MDEV });
    host.happen('mdev.release:end', { dev: 70 });
    host.happen('mdev.remove:end', { dev: 70 });
    assert.equal(device.state, 'released');
    host.happen('mdev.parent.unregister:begin', { parent: 60, names: { parent: 'mtty' } });
    host.happen('mdev.parent.unregister:end', { parent: 60 });
    assert.deepEqual(host.leftovers(), {});
  });

  it('by the release of a device whose unbinding was under way', () => {
    const host = new Host();
    host.look([['seen.device', { ...PASSED_THROUGH[1], ret: SHOWN.leaving }]]);
    host.happen('vfio.release:begin', { ...DEVICE, names: VFIO_PCI });
    assert.deepEqual(host.leftovers(), {});
  });

  it('by opens and closes', () => {
    const host = new Host();
    host.look(EVERYTHING);
    const device = host.only();
    const names = OPEN[1].names;
    const second = { ...DEVICE, ...KVM, file: 73 };
    host.happen('vfio.device.open:begin', { ...second, openCount: 1, names });
    host.happen('vfio.device.open:end', { ...second, openCount: 2 });
    assert.deepEqual([host.only(), device.opens.length, device.openCount], [device, 2, 2]);
    for (const [file, openCount] of [
      [72, 1],
      [73, 0],
    ]) {
      host.happen('vfio.device.close:begin', { ...DEVICE, ...KVM, file, names });
      host.happen('vfio.device.close:end', { ...DEVICE, ...KVM, file, openCount });
    }
    host.happen('vfio.device.kvm_drop:begin', { ...DEVICE, ...KVM });
    assert.deepEqual([device.state, device.opens, device.vm], ['bound', [], undefined]);
  });

  it('by a put, which knows the VM by key and maker', () => {
    const host = new Host();
    host.look([LISTED]);
    const vm = host.onlyVm();
    host.happen('kvm.put:begin', KVM);
    assert.deepEqual([host.onlyVm(), vm.users], [vm, 1]);
    host.happen('kvm.vm.destroy:begin', { ...KVM, usersCount: 0 });
    assert.deepEqual([host.world.vms.size, host.world.vmKeys.size], [0, 0]);
  });

  it('by the end of a creation, and by its failure', () => {
    const creating = ['seen.device', { ret: 0, names: { ...MDEV, type: '' } }] as const;
    const host = new Host();
    host.look([MTTY, creating]);
    host.happen('vfio.register_emulated:begin', { ...DEVICE, names: { ...MDEV, type: '' } });
    host.happen('mdev.probe:end', { dev: 70 });
    assert.equal(host.only().state, 'bound');
    const other = new Host();
    other.look([MTTY, creating]);
    other.happen('mdev.release:begin', { dev: 70, parent: 60, names: MDEV });
    assert.equal(other.world.devices.size, 0);
  });

  it('by an open of what was being created', () => {
    const host = new Host();
    host.look([['seen.device', { ret: 0, names: { ...MDEV, type: '' } }]]);
    host.happen('vfio.device.open:begin', { ...FILE, openCount: 0, names: MDEV });
    host.happen('vfio.device.open:end', { ...FILE, openCount: 1 });
    assert.equal(host.only().state, 'open');
  });

  it('by the next look, when its creation ended unseen', () => {
    const host = new Host();
    host.look([['seen.device', { ret: 0, names: { ...MDEV, type: '' } }]]);
    host.look([BOUND]);
    assert.equal(host.only().state, 'bound');
  });

  it('and ends with its parent, whose withdrawal began before the start', () => {
    const host = new Host();
    host.look([LEAVING]);
    const removed = { dev: 70, parent: 60, names: MDEV };
    host.happen('mdev.remove_child:begin', removed);
    assert.equal(host.onlyParent().state, 'unregistering');
    host.happen('mdev.release:begin', removed);
    host.happen('mdev.remove_child:end', removed);
    assert.deepEqual([host.world.parents.size, host.world.parentKeys.size], [0, 0]);
  });
});

describe('during a look', () => {
  /** Things happen between the moment at which the look reads something and its end. */
  function meanwhile(host: Host, found: typeof EVERYTHING, events: () => void): void {
    host.begin();
    const read = host.now;
    events();
    for (const [point, fields] of found) host.see(point, fields, read);
    host.end();
  }
  const removal = { dev: 70, parent: 60, names: MDEV };

  it('a device is removed', () => {
    for (const isKnown of [true, false]) {
      const host = new Host();
      if (isKnown) host.look([MTTY, BOUND]);
      host.begin();
      const read = host.now;
      host.happen('mdev.remove:begin', removal);
      host.happen('mdev.release:begin', removal);
      host.happen('mdev.remove:end', removal);
      host.see(...MTTY, read);
      host.see(...BOUND, read);
      host.end();
      assert.equal(host.world.devices.size, 0);
      assert.equal(host.world.endedDevices.list().length, 1);
    }
  });

  it('a device begins to leave', () => {
    const host = new Host();
    host.begin();
    const read = host.now;
    host.happen('mdev.unbind:begin', removal);
    host.see(...BOUND, read);
    host.end();
    assert.equal(host.only().state, 'removing');
  });

  it('a passed-through device is given back, which is known by no name before', () => {
    const host = new Host();
    host.begin();
    const read = host.now;
    host.happen('vfio.release:begin', { ...DEVICE, names: VFIO_PCI });
    host.see(...PASSED_THROUGH, read);
    host.end();
    assert.deepEqual(host.leftovers(), {});
  });

  it('a file is closed, and its key used again', () => {
    const host = new Host();
    meanwhile(host, EVERYTHING, () => {
      const names = OPEN[1].names;
      host.happen('vfio.device.close:begin', { ...FILE, ...KVM, openCount: 1, names });
      host.happen('vfio.device.close:end', { ...FILE, ...KVM, openCount: 0 });
      host.happen('vfio.device.kvm_drop:begin', { ...DEVICE, ...KVM });
    });
    assert.deepEqual([host.only().opens, host.only().state], [[], 'bound']);
    assert.equal(host.only().vm, undefined);

    const other = new Host();
    meanwhile(other, EVERYTHING, () => {
      const names = OPEN[1].names;
      other.happen('vfio.device.close:begin', { ...FILE, openCount: 1, names });
      other.happen('vfio.device.close:end', { ...FILE, openCount: 0 });
      other.happen('vfio.device.open:begin', { ...FILE, openCount: 0, names, pid: 9 });
      other.happen('vfio.device.open:end', { ...FILE, openCount: 1, pid: 9 });
    });
    const opens = other.only().opens.map(({ task, state }) => `${task.pid} ${state}`);
    assert.deepEqual([opens, other.only().openCount], [['9 open'], 1]);
    assert.equal(other.quality(other.only().opens[0]), 'observed');
  });

  it('a VM is closed, and destroyed', () => {
    const host = new Host();
    meanwhile(host, EVERYTHING, () => host.happen('kvm.vm.fd_close:begin', KVM));
    assert.equal(host.onlyVm().state, 'released');
    const other = new Host();
    other.begin();
    const read = other.now;
    other.happen('kvm.vm.destroy:begin', { ...KVM, usersCount: 0 });
    other.see(...VM, read);
    other.see(...LISTED, read);
    other.end();
    assert.equal(other.world.vms.size, 0);
  });

  it('a device is created, seen or not', () => {
    for (const isSeen of [true, false]) {
      const host = new Host();
      host.begin();
      const told = host.tell((story) => {
        story.wait(3000);
        return story.create(story.parent());
      });
      const names = { ...MDEV, device: told.uuid };
      if (isSeen) host.see('seen.device', { ret: SHOWN.removable, names });
      host.end();
      assert.deepEqual([host.only().state, host.quality(host.only())], ['bound', 'observed']);
    }
  });

  it('a creation reaches sysfs before its key is known', () => {
    const host = new Host();
    host.begin();
    const creation = host.tell((story) => {
      story.wait(3000);
      return story.createEnters(story.parent());
    });
    const names = { ...MDEV, type: '', device: creation.device.uuid };
    host.see('seen.device', { ret: 0, names });
    host.end();
    host.tell((story) => story.createEnds(story.probeBegins(creation)));
    assert.deepEqual([host.only().state, host.quality(host.only())], ['bound', 'observed']);
  });

  it('an open is in flight', () => {
    for (const isSeen of [true, false]) {
      const host = new Host();
      host.look([MTTY, BOUND]);
      host.happen('vfio.device.open:begin', { ...FILE, openCount: 0, names: MDEV });
      host.look(isSeen ? [MTTY, BOUND, OPEN, VM, LISTED] : [MTTY, BOUND]);
      host.happen('vfio.device.open:end', { ...FILE, ...KVM, openCount: 1 });
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
  it('a look confirms what is there, in the state that it is in', () => {
    const host = new Host();
    host.look(EVERYTHING);
    const [device, vm, parent] = [host.only(), host.onlyVm(), host.onlyParent()];
    host.lose();
    for (const life of [device, vm, parent]) assert.equal(host.quality(life), 'tainted');
    assert.ok(host.world.isTainted);
    host.look([MTTY, LEAVING, OPEN, VM, LISTED]);
    assert.ok(!host.world.isTainted);
    for (const life of [device, vm, parent]) assert.equal(host.quality(life), 'late');
    assert.deepEqual([host.only(), device.state, device.openCount], [device, 'removing', 1]);
  });

  it('a look ends what is gone', () => {
    const host = new Host();
    host.look(EVERYTHING);
    const device = host.only();
    host.lose();
    host.look([]);
    assert.deepEqual(host.leftovers(), {});
    assert.deepEqual([device.state, device.opens], ['released', []]);
    assert.deepEqual(
      host.world.endedVms.list().map(({ state }) => state),
      ['destroyed'],
    );
  });

  it('a look sees closes, opens and a removal that never came to be', () => {
    const host = new Host();
    host.look(EVERYTHING);
    host.happen('mdev.unbind:begin', { dev: 70, parent: 60, names: MDEV });
    host.lose();
    host.look([MTTY, BOUND, VM, LISTED]);
    const device = host.only();
    assert.deepEqual([device.state, device.openCount, device.vm], ['bound', 0, undefined]);
    host.lose();
    host.look([MTTY, BOUND, ['seen.open', { ...OPEN[1], file: 99 }], VM, LISTED]);
    assert.deepEqual([device.state, device.openCount, device.vm], ['open', 1, host.onlyVm()]);
  });

  it('a look completes what had begun: an open, a VM, a creation', () => {
    const host = new Host();
    host.look([MTTY, BOUND]);
    host.happen('kvm.vm.init:begin', { ...KVM, ...QEMU, pid: 4200, tid: 4242 });
    host.happen('vfio.device.open:begin', { ...FILE, openCount: 0, names: MDEV });
    host.happen('mdev.create:begin', { parent: 60, names: { ...MDEV, uuid: UUID }, tid: 3 });
    host.lose();
    host.look(EVERYTHING);
    assert.deepEqual(
      [host.only().state, host.only().opens[0].state, host.onlyVm().state],
      ['open', 'open', 'running'],
    );
  });

  it('a creation whose end was lost does not claim what its thread does next', () => {
    const host = new Host();
    host.happen('mdev.create:begin', { parent: 60, names: { ...MDEV, uuid: UUID }, tid: 3 });
    host.lose();
    host.look([MTTY, BOUND]);
    const other = { dev: 90, parent: 60, names: { ...MDEV, device: 'other' }, tid: 3 };
    host.happen('mdev.release:begin', other);
    assert.equal(host.only().name, UUID);
  });

  it('an open whose begin was lost is known by its end', () => {
    const host = new Host();
    host.happen('vfio.register:begin', { ...DEVICE, names: VFIO_PCI });
    host.lose();
    host.happen('vfio.device.open:end', { ...FILE, openCount: 1 });
    assert.deepEqual([host.only().state, host.only().opens.length], ['open', 1]);
    assert.equal(host.quality(host.only().opens[0]), 'late');
  });

  it('a device of the same name takes the place of one whose end was lost', () => {
    const host = new Host();
    const first = { dev: 70, parent: 60, names: MDEV };
    host.happen('mdev.probe:begin', first);
    host.happen('mdev.probe:end', first);
    host.lose();
    host.happen('mdev.remove:begin', { ...first, dev: 75 });
    assert.equal(host.only().keyHigh === 0, false);
    host.look([MTTY, BOUND]);
    assert.equal(host.world.devices.size, 1);
  });

  it('a look that finds a successor lets it have a key of its own', () => {
    const host = new Host();
    const first = { dev: 70, parent: 60, names: MDEV };
    host.happen('mdev.probe:begin', first);
    host.happen('mdev.probe:end', first);
    host.lose();
    host.look([MTTY, BOUND]);
    const device = host.only();
    host.happen('mdev.remove:begin', { ...first, dev: 75, parent: 65 });
    assert.deepEqual([host.only(), host.world.deviceKeys.size], [device, 1]);
    assert.deepEqual([host.world.parents.size, host.world.parentKeys.size], [1, 1]);
  });

  it('lives whose every event arrived are left alone', () => {
    const host = new Host();
    host.lose();
    host.tell((story) => {
      story.wait(3000);
      const device = story.create(story.parent());
      story.open(device, { vm: story.createVm() });
    });
    const device = host.only();
    const before = [device.state, device.openCount, device.vm, host.onlyVm().state];
    // The files are on their way from one process to another, and sysfs seems to be empty.
    for (let i = 0; i < 2; i++) host.look([]);
    assert.deepEqual([device.state, device.openCount, device.vm, host.onlyVm().state], before);
    assert.equal(device.opens.length, 1);
    for (const life of [device, device.opens[0], host.onlyVm(), host.onlyParent()]) {
      assert.equal(host.quality(life), 'observed');
    }
  });

  it('the count of the kernel holds where a file is on its way between processes', () => {
    const host = new Host();
    host.look([MTTY, BOUND, ['seen.open', { ...OPEN[1], openCount: 2 }], VM, LISTED]);
    assert.deepEqual([host.only().opens.length, host.only().openCount], [1, 2]);
    host.lose();
    host.look([MTTY, BOUND, ['seen.open', { ...OPEN[1], openCount: 2 }], VM, LISTED]);
    assert.deepEqual([host.only().opens.length, host.only().openCount], [1, 2]);
  });

  for (const [blind, parts, left] of [
    ['files', SEEN.sysfs | SEEN.debugfs, { opens: 1, vms: 1, devices: 0 }],
    ['sysfs', SEEN.files | SEEN.debugfs, { opens: 0, vms: 0, devices: 1 }],
    ['debugfs', SEEN.files | SEEN.sysfs, { opens: 0, vms: 1, devices: 0 }],
    ['anything', 0, { opens: 1, vms: 1, devices: 1 }],
  ] as const) {
    it(`a look that cannot see ${blind} ends nothing that it cannot see`, () => {
      const host = new Host();
      host.look(EVERYTHING);
      const [device] = host.world.devices;
      host.lose();
      host.look([], parts);
      assert.equal(host.world.vms.size, left.vms);
      assert.equal(host.world.devices.size, left.devices);
      if (left.devices) assert.equal(device.opens.length, left.opens);
      assert.equal(host.world.isTainted, blind !== 'debugfs');
    });
  }

  it('another loss during the look keeps tainted what it found', () => {
    const host = new Host();
    host.look(EVERYTHING);
    host.lose();
    host.begin();
    host.lose();
    for (const [point, fields] of EVERYTHING) host.see(point, fields);
    host.end();
    assert.equal(host.quality(host.only()), 'tainted');
    assert.ok(host.world.isTainted);
    host.look(EVERYTHING);
    assert.equal(host.quality(host.only()), 'late');
    assert.ok(!host.world.isTainted);
  });

  it('what was first found by a look with a loss in it is tainted, and may be gone', () => {
    const host = new Host();
    host.begin();
    host.lose();
    for (const [point, fields] of EVERYTHING) host.see(point, fields);
    host.end();
    assert.equal(host.quality(host.only()), 'tainted');
    host.look([]);
    assert.deepEqual(host.leftovers(), {});
  });

  it('a parent that does not show is being withdrawn while it has devices', () => {
    const host = new Host();
    host.look([MTTY, BOUND]);
    host.lose();
    host.look([LEAVING]);
    assert.equal(host.onlyParent().state, 'unregistering');
    host.happen('mdev.release:begin', { dev: 70, parent: 60, names: MDEV });
    host.happen('mdev.release:end', { dev: 70 });
    assert.deepEqual(host.leftovers(), {});
  });

  it('raises no alarm about closes that were lost, until a look knows', () => {
    const host = new Host();
    const names = MDEV;
    host.happen('mdev.probe:begin', { dev: 70, parent: 60, names });
    host.happen('vfio.device.open:begin', { ...FILE, names });
    host.happen('vfio.device.open:end', FILE);
    host.lose();
    host.happen('mdev.unbind:begin', { dev: 70, parent: 60, names });
    host.happen('mdev.unbind:end', { dev: 70, parent: 60 });
    const rules = host.violations().map(({ rule }) => rule);
    assert.ok(!rules.includes('removed-while-open'), rules.join());
    assert.equal(host.engine.heldBack.size, 0);
  });
});

describe('kernels that tell neither open_count nor the VM of a device (5.10)', () => {
  const old = { openCount: -1, kvm: 0, usersCount: -1, vmPid: 0 };
  const open = ['seen.open', { ...OPEN[1], ...old }] as const;

  it('have as many opens as were seen, and the VM of the group', () => {
    const host = new Host();
    const group = ['seen.group', { groupId: 7, ...KVM, names: {} }] as const;
    host.look([MTTY, BOUND, open, ['seen.open', { ...open[1], file: 73 }], group, VM, LISTED]);
    assert.deepEqual([host.only().openCount, host.only().vm], [2, host.onlyVm()]);
  });

  it('do not lose the VM of a group when a look cannot see it', () => {
    const host = new Host();
    host.look([MTTY, BOUND, VM, LISTED]);
    host.happen('vfio.group.set_kvm:begin', { groupId: 7, ...KVM });
    host.look([MTTY, BOUND, ['seen.group', { groupId: 7, names: {} }], VM, LISTED]);
    assert.equal(host.world.groups.get(7)?.vm, host.onlyVm());
  });

  it('tell begin and end of an open together, when the request for it returns', () => {
    const host = new Host();
    const names = { ...MDEV, type: '' };
    host.look([MTTY, BOUND, VM, LISTED]);
    host.happen('vfio.group.set_kvm:begin', { groupId: 7, ...KVM });
    const began = host.now;
    host.happen('vfio.device.get_fd:begin', { groupId: 7, names: { device: UUID } });
    const opened = { ...FILE, ...old, groupId: 7 };
    host.happen('vfio.device.open:begin', { ...opened, time: began, names });
    host.happen('vfio.device.open:end', opened);
    host.happen('vfio.device.get_fd:end', { groupId: 7, ret: 20 });
    const device = host.only();
    const [one] = device.opens;
    assert.deepEqual([one.state, one.fd, one.firstSeen, one.vm], ['open', 20, began, device.vm]);
    assert.deepEqual([device.openCount, device.vm], [1, host.onlyVm()]);
    host.happen('vfio.device.close:begin', { ...opened, names });
    host.happen('vfio.device.close:end', opened);
    assert.deepEqual([device.state, device.openCount, device.vm], ['bound', 0, undefined]);
  });
});

describe('kernels whose files come to be during the open (6.1)', () => {
  it('tell file and VM at its end, and are understood', () => {
    const host = new Host();
    const names = { ...MDEV, type: '' };
    host.look([MTTY, BOUND, VM, LISTED]);
    host.happen('vfio.device.get_fd:begin', { groupId: 7, names: { device: UUID } });
    host.happen('vfio.device.open:begin', { ...DEVICE, openCount: 0, groupId: 7, names });
    host.happen('vfio.device.open:end', { ...FILE, ...KVM, openCount: 1, groupId: 7 });
    host.happen('vfio.device.get_fd:end', { groupId: 7, ret: 20 });
    const device = host.only();
    assert.deepEqual([device.state, device.openCount, device.vm], ['open', 1, host.onlyVm()]);
    host.look(EVERYTHING);
    assert.equal(device.opens.length, 1);
    host.happen('vfio.device.close:begin', { ...FILE, ...KVM, openCount: 1, names });
    host.happen('vfio.device.close:end', { ...FILE, openCount: 0 });
    assert.deepEqual([device.opens, device.state, device.vm], [[], 'bound', undefined]);
  });
});

describe('what a world knows, told as a look', () => {
  it('makes another world know the same', () => {
    const full = new Telling();
    full.tell((story) => {
      const parent = story.parent();
      story.open(story.create(parent), { vm: story.createVm() });
      story.createBegins(parent, { as: { pid: 7, comm: 'sh' } });
      story.bindPci(PCI);
    });
    const late = new Host();
    applyAll(late.world, wholeLook(full.world));
    const states = (world: typeof late.world) =>
      [...world.devices]
        .map(({ name, state, openCount }) => `${name} ${state} ${openCount}`)
        .sort();
    assert.deepEqual(states(late.world), states(full.world));
    assert.equal(late.onlyVm().state, 'running');
  });
});
