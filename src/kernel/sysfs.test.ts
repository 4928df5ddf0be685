import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { UserProblem } from '../problem.ts';
import { readDevices } from './sysfs.ts';

const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';
const PCI = '0000:00:08.0';
const MDEV_BUS = 'sys/bus/mdev/devices';
const MTTY = 'sys/devices/virtual/mtty/mtty';
const PCI_DEVICES = 'sys/devices/pci0000:00';

/** What Linux 6.12 shows of an mdev in service. */
const MDEV = {
  name: UUID,
  bus: 'mdev',
  parent: 'mtty',
  type: 'mtty-1',
  driver: 'mtty',
  groupId: 7,
  removable: true,
  leaving: false,
};
/** And of a device passed through. */
const PASSED_THROUGH = {
  name: PCI,
  bus: 'pci',
  parent: '',
  type: '',
  driver: 'vfio-pci',
  groupId: 5,
  removable: false,
  leaving: false,
};

// Listings seen in the lab are built again here, with the kernel's own relative links.
describe('the devices of a host', () => {
  let root = '';
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'vfioscope-sysfs-'));
    directory('sys/class');
  });
  afterEach(() => rmSync(root, { recursive: true }));

  const directory = (path: string) => mkdirSync(join(root, path), { recursive: true });
  const link = (path: string, to: string) => {
    directory(dirname(path));
    symlinkSync(relative(dirname(path), to), join(root, path));
  };
  const file = (path: string) => {
    directory(dirname(path));
    writeFileSync(join(root, path), '');
  };
  const remove = (path: string) => rmSync(join(root, path), { recursive: true });

  /** A group that VFIO has, with one of its devices. */
  function group(id: number, device: string, name = `${id}`): void {
    directory(`sys/class/vfio/${name}`);
    link(`${device}/iommu_group`, `sys/kernel/iommu_groups/${id}`);
    link(`sys/kernel/iommu_groups/${id}/devices/${device.split('/').at(-1)}`, device);
  }

  function mdev(uuid = UUID, id = 7, driver = 'mtty'): string {
    const device = `${MTTY}/${uuid}`;
    directory(`${MTTY}/mdev_supported_types/mtty-1`);
    link(`${MDEV_BUS}/${uuid}`, device);
    link(`${device}/subsystem`, 'sys/bus/mdev');
    link(`${device}/mdev_type`, `${MTTY}/mdev_supported_types/mtty-1`);
    link(`${device}/driver`, `sys/bus/mdev/drivers/${driver}`);
    file(`${device}/remove`);
    group(id, device);
    return device;
  }

  function pci(name = PCI, driver = 'vfio-pci', module = 'vfio_pci', id = 5): string {
    const device = `${PCI_DEVICES}/${name}`;
    link(`${device}/subsystem`, 'sys/bus/pci');
    link(`${device}/driver`, `sys/bus/pci/drivers/${driver}`);
    rmSync(join(root, `sys/bus/pci/drivers/${driver}`), { recursive: true, force: true });
    link(`sys/bus/pci/drivers/${driver}/module`, `sys/module/${module}`);
    file(`${device}/remove`); // that of the PCI bus, which has nothing to do with mdev's
    group(id, device);
    return device;
  }

  /** Linux 6.1 and later: what is registered with VFIO has a device of its own. */
  function registered(device: string, name: string): void {
    directory(`${device}/vfio-dev/${name}`);
    link(`sys/class/vfio-dev/${name}`, `${device}/vfio-dev/${name}`);
  }

  /** What a removal takes away before it waits, on every kernel. */
  function removalWaits(device: string): void {
    remove(`${MDEV_BUS}/${device.split('/').at(-1)}`);
    for (const name of ['remove', 'mdev_type', 'subsystem', 'driver']) remove(`${device}/${name}`);
  }
  const LEAVING = { ...MDEV, type: '', driver: '', removable: false, leaving: true };

  it('are none where no module is loaded', async () => {
    assert.deepEqual(await readDevices(root), []);
  });

  it('are mdevs and devices passed through (6.1 and later)', async () => {
    registered(mdev(), 'vfio0');
    registered(pci(), 'vfio1');
    assert.deepEqual(await readDevices(root), [MDEV, PASSED_THROUGH]);
  });

  it('are the same before 6.1, where only the driver knows', async () => {
    mdev(UUID, 7, 'vfio_mdev');
    pci();
    assert.deepEqual(await readDevices(root), [{ ...MDEV, driver: 'vfio_mdev' }, PASSED_THROUGH]);
  });

  it('before 6.1 are those of a driver whose module uses vfio, but no others of the group', async () => {
    directory('sys/module/vfio/holders/vfio_pci_core');
    directory('sys/module/vfio_pci_core/holders/vendor_vfio');
    pci(PCI, 'vendor', 'vendor_vfio');
    pci('0000:00:08.1', 'e1000e', 'e1000e');
    pci('0000:00:08.2', 'pcieport', '');
    remove(`${pci('0000:00:08.3', 'none')}/driver`);
    assert.deepEqual(await readDevices(root), [{ ...PASSED_THROUGH, driver: 'vendor' }]);
  });

  it('from 6.1 on are those registered, whatever their driver is called', async () => {
    registered(pci(PCI, 'vendor', 'vendor'), 'vfio0');
    pci('0000:00:08.1', 'vfio-like', 'vfio_like');
    assert.deepEqual(await readDevices(root), [{ ...PASSED_THROUGH, driver: 'vendor' }]);
  });

  it('may be in a group without an IOMMU', async () => {
    const device = pci();
    remove('sys/class/vfio/5');
    directory('sys/class/vfio/noiommu-5');
    assert.deepEqual(await readDevices(root), [PASSED_THROUGH]);
    registered(device, 'vfio0');
    assert.deepEqual(await readDevices(root), [PASSED_THROUGH]);
  });

  it('may be without a driver', async () => {
    const device = mdev();
    remove(`${device}/driver`);
    remove(`${device}/iommu_group`);
    remove('sys/class/vfio/7');
    assert.deepEqual(await readDevices(root), [{ ...MDEV, driver: '', groupId: -1 }]);
  });

  it('may have lost their remove file', async () => {
    remove(`${mdev()}/remove`);
    assert.deepEqual(await readDevices(root), [{ ...MDEV, removable: false }]);
  });

  it('have neither type nor remove file while their driver sets them up', async () => {
    const device = mdev();
    remove(`${device}/remove`);
    remove(`${device}/mdev_type`);
    assert.deepEqual(await readDevices(root), [{ ...MDEV, type: '', removable: false }]);
  });

  it('are still there while their removal waits (5.10, 6.12)', async () => {
    removalWaits(mdev());
    assert.deepEqual(await readDevices(root), [LEAVING]);
  });

  it('are still there while their removal waits (6.1)', async () => {
    const device = mdev();
    registered(device, 'vfio0');
    removalWaits(device);
    assert.deepEqual(await readDevices(root), [LEAVING]);
  });

  it('that are not mdevs show while their unbinding waits on 6.1', async () => {
    const device = pci();
    registered(device, 'vfio0');
    remove(`${device}/driver`);
    assert.deepEqual(await readDevices(root), [{ ...PASSED_THROUGH, driver: '', leaving: true }]);
  });

  it('may vanish at any step', async () => {
    const gone = (path: string) => link(path, `${dirname(path)}/gone`);
    registered(mdev(), 'vfio0');
    link(`sys/class/vfio-dev/vfio1`, `${PCI_DEVICES}/0000:00:09.0/vfio-dev/vfio1`);
    directory('sys/class/vfio/9');
    gone('sys/kernel/iommu_groups/10/devices/0000:00:0a.0');
    directory('sys/class/vfio/10');
    assert.deepEqual(await readDevices(root), [MDEV]);
  });

  it('are unknown without sysfs', async () => {
    remove('sys');
    await assert.rejects(readDevices(root), (error) => {
      assert.ok(error instanceof UserProblem);
      assert.match(error.message, /is not a sysfs/);
      return true;
    });
  });

  for (const path of [MDEV_BUS, 'sys/class/vfio-dev', 'sys/class/vfio']) {
    it(`are unknown when ${path} cannot be read`, async () => {
      // A file where a directory is expected fails in another way than with "gone", as a denial does.
      file(path);
      await assert.rejects(readDevices(root), (error) => {
        assert.ok(error instanceof UserProblem);
        assert.equal(error.message, `cannot read ${root}/${path} (ENOTDIR)`);
        assert.match(error.next, /root/);
        return true;
      });
    });
  }

  it('are read in turns, between which others run', async () => {
    for (let id = 0; id < 1000; id++) mdev(`${UUID.slice(0, 32)}${`${id}`.padStart(4, '0')}`, id);
    let turns = 0;
    const count = () => {
      turns++;
      timer = setImmediate(count);
    };
    let timer = setImmediate(count);
    assert.equal((await readDevices(root)).length, 1000);
    clearImmediate(timer);
    assert.ok(turns > 1, `${turns} turns`);
  });
});
