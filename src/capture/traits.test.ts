import assert from 'node:assert/strict';
import { it } from 'node:test';
import { recordedTraits } from './traits.ts';

const POINTS = [{ symbol: 'vfio_device_fops_release, vfio_device_put_registration' }, {}];

it('traits of a recording are those of its header', () => {
  const points = [{ symbol: 'vfio_device_get_kvm_safe' }];
  assert.equal(recordedTraits({ traits: { coreHoldsVm: false } }, points).coreHoldsVm, false);
});

it('traits that the header lacks are derived from what points were watched by', () => {
  const points = [...POINTS, { symbol: 'vfio_device_get_kvm_safe' }];
  assert.equal(recordedTraits({}, points).coreHoldsVm, true);
  assert.equal(recordedTraits({ traits: { opensAreCounted: true } }, points).coreHoldsVm, true);
  const assigned = [...POINTS, { symbol: 'vfio_device_assign_container' }];
  assert.equal(recordedTraits({}, assigned).coreHoldsVm, false);
});

it('traits are not derived from what points were not watched by', () => {
  const { coreHoldsVm, mdevsStayUnbound, linksCanBePinned } = recordedTraits({}, POINTS);
  assert.deepEqual(
    [coreHoldsVm, mdevsStayUnbound, linksCanBePinned],
    [undefined, undefined, undefined],
  );
});
