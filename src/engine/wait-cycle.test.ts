import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { hasDeviceLock, isLockWait, sleeperOf, waitOf } from './wait-cycle.ts';

/** As /proc/PID/stack of Linux 6.12 shows it, and 5.10 and 7.2 alike: without the functions of the lock. */
const UNBINDS = ['device_release_driver_internal+0x41/0x200', 'unbind_store+0xa1/0xb0'];
const REMOVES = ['device_del+0x3d/0x3e0', 'mdev_device_remove+0x97/0xe0 [mdev]'];
const AWAITS_USERS = [
  'vfio_unregister_group_dev+0x9a/0xf0 [vfio]',
  'mtty_remove+0x16/0x20 [mtty]',
  'device_release_driver_internal+0x161/0x200',
  'unbind_store+0xa1/0xb0',
];

const inD = (stack: string[]) => ({ state: 'D (disk sleep)', stack });

describe('a task in state D', () => {
  it('waits for the lock of a device in the functions that take it', () => {
    for (const stack of [UNBINDS, REMOVES, ['device_driver_detach+0x31/0xa0']]) {
      assert.equal(waitOf(inD(stack)), 'device lock', stack[0]);
    }
    const shown = ['__mutex_lock.constprop.0+0x3b2/0x690', 'pci_dev_lock+0x1c/0x30'];
    assert.equal(waitOf(inD(shown)), 'device lock', 'where the lock shows');
    assert.equal(sleeperOf(inD(shown)), 'pci_dev_lock');
  });

  it('has that lock when it sleeps elsewhere below such a function', () => {
    assert.deepEqual([isLockWait(inD(AWAITS_USERS)), waitOf(inD(AWAITS_USERS))], [false, 'users']);
    assert.equal(hasDeviceLock(inD(AWAITS_USERS)), true);
    assert.equal(hasDeviceLock({ ...inD(AWAITS_USERS), state: 'S (sleeping)' }), true);
    for (const stack of [UNBINDS, REMOVES, ['vfio_df_close+0x1/0x2 [vfio]', 'ksys_write+0x1/0x2']])
      assert.equal(hasDeviceLock(inD(stack)), false, stack[0]);
  });

  it('may wait inside VFIO, mdev, the IOMMU or KVM', () => {
    for (const name of [
      'vfio_df_open',
      'mdev_device_create',
      'iommu_attach_group',
      'kvm_vfio_set_attr',
    ])
      assert.equal(waitOf(inD([`${name}+0x1/0x2`])), 'VFIO', name);
  });

  it('waits for nobody when its driver sleeps, or it is not in D, or nothing can be read', () => {
    assert.equal(waitOf(inD(['msleep+0x2d/0x50', 'pcie_flr+0x31/0xf0', ...UNBINDS])), undefined);
    assert.equal(waitOf(inD(['nfs_wait_bit_killable+0x1/0x2'])), undefined);
    assert.equal(waitOf({ state: 'S (sleeping)', stack: UNBINDS }), undefined);
    assert.equal(waitOf({ state: 'D (disk sleep)' }), undefined);
  });

  it('is judged by the function that it sleeps in where no stack may be read', () => {
    assert.equal(waitOf({ state: 'D (disk sleep)', wchan: 'device_del' }), 'device lock');
    assert.equal(hasDeviceLock({ state: 'D (disk sleep)', wchan: 'msleep' }), false);
  });
});
