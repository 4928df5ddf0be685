/** iommufd contexts, from events and from host snapshots. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DEVICE_STATE } from '../../src/events/wire.gen.ts';
import {
  bindCdev,
  closeCdev,
  closeIommufd,
  openCdev,
  openIommufd,
} from '../../src/scenario/cdev.ts';
import { namedVfio, plainVfio } from '../../src/scenario/fields.ts';
import { ScenarioRunner } from '../kit/scenario-runner.ts';
import {
  applyAll,
  type SnapshotFields,
  snapshotBegins,
  snapshotEnds,
  snapshotRecord,
} from '../kit/snapshot-records.ts';

const UUID = '00000000-0000-4000-8000-00000000002a';
const NAMES = { device: UUID, bus: 'mdev', type: '', parent: 'mtty', driver: 'mtty' };
const QEMU = { pid: 4200, tid: 4242, comm: 'qemu' };
const OTHER = { pid: 4300, tid: 4300, comm: 'other' };
const CONTEXT = 90;
const NOW = 2000e9;

class Host extends ScenarioRunner {
  get contexts() {
    return [...this.world.iommufds];
  }

  /** A whole host snapshot that finds these files. */
  snapshot(at: number, ...files: readonly ['iommufd' | 'cdev', SnapshotFields][]): void {
    applyAll(this.world, [
      snapshotBegins(at),
      ...files.map(([kind, fields], i) =>
        snapshotRecord(`snapshot.${kind}`, at + i + 1, { groupId: -1, ...QEMU, ...fields }),
      ),
      snapshotEnds(at + files.length + 1),
    ]);
  }
}

const BOUND_CDEV: SnapshotFields = {
  ...{ dev: 70, vdev: 71, file: 72, fd: 9, names: NAMES, openCount: 1, groupId: 4 },
  ...{ parent: CONTEXT, deviceState: DEVICE_STATE.BOUND },
};

describe('an iommufd context', () => {
  it('exists from the open of /dev/iommu to the release of its file', () => {
    const host = new Host();
    const iommufd = host.run((scenario) => openIommufd(scenario));
    const [context] = host.contexts;
    assert.deepEqual(
      [context.opener?.comm, context.adopted, context.isOver],
      ['qemu', false, false],
    );
    assert.ok(context.openedAt > 0);
    host.run((scenario) => closeIommufd(scenario, iommufd));
    assert.deepEqual([host.contexts, context.isOver], [[], true]);
    assert.ok(context.closedAt > context.openedAt);
  });

  it('is that of the devices that are bound to it', () => {
    const host = new Host();
    host.run((scenario) => {
      const iommufd = openIommufd(scenario);
      const parent = scenario.parent();
      for (const cdev of [1, 2].map(() => openCdev(scenario, scenario.create(parent))))
        bindCdev(scenario, cdev, { iommufd });
      bindCdev(scenario, openCdev(scenario, scenario.create(parent)), {
        iommufd: openIommufd(scenario),
      });
    });
    const [first, second] = host.contexts;
    const used = [...host.world.cdevs].map(({ iommufd }) => iommufd);
    assert.deepEqual(used, [first, first, second]);
  });

  it('is adopted with the bind of a device, where its open was not observed', () => {
    const host = new Host();
    host.run((scenario) =>
      bindCdev(scenario, openCdev(scenario, scenario.create(scenario.parent())), {
        iommufd: CONTEXT,
      }),
    );
    const [context] = host.contexts;
    assert.deepEqual([context.adopted, context.opener, context.openedAt], [true, undefined, 0]);
    assert.equal([...host.world.cdevs][0].iommufd, context);
  });

  it('at an address where one was is another', () => {
    const host = new Host();
    const iommufd = host.run((scenario) => openIommufd(scenario));
    const [earlier] = host.contexts;
    host.run((scenario) => {
      scenario.event('iommufd.open:end', OTHER, { groupId: -1, parent: iommufd });
    });
    const [later, ...others] = host.contexts;
    assert.deepEqual([others, earlier.isOver, later.opener?.comm], [[], true, 'other']);
  });

  it('is not made by an open that fails', () => {
    const host = new Host();
    host.run((scenario) => scenario.event('iommufd.open:end', OTHER, { groupId: -1, ret: -12 }));
    assert.deepEqual(host.contexts, []);
  });
});

describe('a host snapshot', () => {
  it('finds a context by the process that has it open, and by the devices that are bound to it', () => {
    const host = new Host();
    host.snapshot(NOW, ['iommufd', { parent: CONTEXT }], ['cdev', BOUND_CDEV]);
    const [context, ...others] = host.contexts;
    assert.deepEqual([others, context.opener?.pid, context.openedAt], [[], QEMU.pid, 0]);
    assert.equal(host.world.qualityOf(context), 'partial');
    assert.equal([...host.world.cdevs][0].iommufd, context);
  });

  it('finds one that only a bound device has', () => {
    const host = new Host();
    host.snapshot(NOW, ['cdev', BOUND_CDEV]);
    const [context, ...others] = host.contexts;
    assert.deepEqual([others, context.opener], [[], undefined]);
  });

  it('ends a context that it does not find after a loss, and keeps one without', () => {
    const host = new Host();
    host.snapshot(NOW, ['iommufd', { parent: CONTEXT }]);
    host.snapshot(NOW + 1e9);
    assert.equal(host.contexts.length, 1);
    host.lose();
    host.snapshot(NOW + 2e9, ['iommufd', { parent: CONTEXT + 1 }]);
    const [context, ...others] = host.contexts;
    assert.deepEqual([others, context.firstSeen > NOW + 2e9], [[], true]);
  });

  it('does not bring back a context that was released after it was read', () => {
    const host = new Host();
    const parent = host.run((scenario) => openIommufd(scenario));
    const read = host.world.now + 1e6;
    applyAll(host.world, [snapshotBegins(read - 1)]);
    host.run((scenario) => {
      scenario.wait(1);
      closeIommufd(scenario, parent);
    });
    applyAll(host.world, [
      snapshotRecord('snapshot.iommufd', read, { groupId: -1, ...QEMU, parent }),
      snapshotEnds(host.world.now + 1e6),
    ]);
    assert.deepEqual(host.contexts, []);
  });

  it('that no longer finds a context shows no release of it', () => {
    const host = new Host();
    const cdev = host.run((scenario) => {
      const made = openCdev(scenario, scenario.create(scenario.parent()));
      bindCdev(scenario, made, { iommufd: openIommufd(scenario) });
      return made;
    });
    const [context] = host.contexts;
    host.lose();
    const at = host.world.now + 1e9;
    applyAll(host.world, [snapshotBegins(at), snapshotEnds(at + 1)]);
    assert.deepEqual([host.contexts, context.isOver, context.closedAt], [[], true, 0]);
    host.run((scenario) => closeCdev(scenario, cdev));
  });

  it('keeps the context of a bind that was observed after the record was read', () => {
    const host = new Host();
    const made = host.run((scenario) => openCdev(scenario, scenario.create(scenario.parent())));
    const read = host.world.now + 1e6;
    applyAll(host.world, [snapshotBegins(read - 1)]);
    host.run((scenario) => {
      scenario.wait(1);
      bindCdev(scenario, made, { iommufd: openIommufd(scenario) });
    });
    const [cdev] = host.world.cdevs;
    const { iommufd } = cdev;
    const names = { ...NAMES, device: made.device.uuid };
    const unbound = { ...BOUND_CDEV, names, file: made.key, parent: 0, deviceState: 0 };
    applyAll(host.world, [
      snapshotRecord('snapshot.cdev', read, { ...QEMU, ...unbound }),
      snapshotEnds(host.world.now + 1e6),
    ]);
    assert.ok(iommufd);
    assert.deepEqual([cdev.state, cdev.iommufd], ['bound', iommufd]);
  });

  it('does not give a file the context of another one that had its address before', () => {
    const host = new Host();
    const first = host.run((scenario) => {
      const made = openCdev(scenario, scenario.create(scenario.parent()));
      bindCdev(scenario, made, { iommufd: CONTEXT });
      return made;
    });
    const read = host.world.now + 1e6;
    applyAll(host.world, [snapshotBegins(read - 1)]);
    const later = host.run((scenario) => {
      scenario.wait(1);
      closeCdev(scenario, first);
      return openIommufd(scenario, { as: OTHER });
    });
    host.run((scenario) => {
      scenario.event('vfio.cdev.open:begin', OTHER, { ...namedVfio(first.device) });
      scenario.event('vfio.cdev.open:end', OTHER, { ...plainVfio(first.device), file: first.key });
      bindCdev(scenario, first, { as: OTHER, iommufd: later });
    });
    const [cdev] = host.world.cdevs;
    const { iommufd } = cdev;
    const names = { ...NAMES, device: first.device.uuid };
    applyAll(host.world, [
      snapshotRecord('snapshot.cdev', read, { ...QEMU, ...BOUND_CDEV, names, file: first.key }),
      snapshotEnds(host.world.now + 1e6),
    ]);
    assert.equal(iommufd?.opener?.comm, 'other');
    assert.equal(cdev.iommufd, iommufd);
  });

  it('finds a context at the address of one that was superseded since the snapshot began', () => {
    const host = new Host();
    const key = host.run((scenario) => openIommufd(scenario));
    host.lose();
    const began = host.world.now + 1e6;
    applyAll(host.world, [snapshotBegins(began)]);
    host.run((scenario) => {
      scenario.wait(1);
      scenario.event('iommufd.open:end', OTHER, { groupId: -1, parent: key });
    });
    const [context] = host.contexts;
    const at = host.world.now + 1e6;
    applyAll(host.world, [
      snapshotRecord('snapshot.iommufd', at, { groupId: -1, ...OTHER, parent: key }),
      snapshotEnds(at + 1),
    ]);
    assert.deepEqual([host.contexts, context.isOver], [[context], false]);
  });

  it('does not name the opener of a context that may have been another at the same address', () => {
    const host = new Host();
    const key = host.run((scenario) => openIommufd(scenario));
    host.lose();
    host.snapshot(host.world.now + 1e9, ['iommufd', { ...OTHER, parent: key }]);
    const [{ opener, openedAt }] = host.contexts;
    assert.deepEqual([opener?.comm, openedAt], ['other', 0]);
  });
});

describe('the release of a context that a device is bound to', () => {
  it('is in the timeline of the device, which names who did it', () => {
    const host = new Host();
    host.run((scenario) => {
      const made = openCdev(scenario, scenario.create(scenario.parent()));
      const iommufd = openIommufd(scenario);
      bindCdev(scenario, made, { iommufd });
      closeIommufd(scenario, iommufd, { as: OTHER });
    });
    const [{ device, iommufd }] = host.world.cdevs;
    assert.equal(iommufd?.closer?.comm, 'other');
    assert.equal(device.timeline.entries().at(-1)?.tid, OTHER.tid);
  });
});
