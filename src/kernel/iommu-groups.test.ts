import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { describe, it } from 'node:test';
import { IommuGroups } from './iommu-groups.ts';

/** A sysfs with two functions of one slot in group 7, one of which has a driver, and a device without a group. */
function sysfs(): string {
  const root = mkdtempSync(`${tmpdir()}/vfioscope-groups-`);
  const devices = `${root}/sys/bus/pci/devices`;
  const group = `${root}/sys/kernel/iommu_groups/7/devices`;
  for (const directory of [devices, group, `${root}/sys/bus/pci/drivers/snd_hda_intel`]) {
    mkdirSync(directory, { recursive: true });
  }
  for (const name of ['0000:01:00.0', '0000:01:00.1', '0000:02:00.0'])
    mkdirSync(`${devices}/${name}`);
  for (const name of ['0000:01:00.1', '0000:01:00.0']) {
    symlinkSync(`${devices}/${name}`, `${group}/${name}`);
    symlinkSync(`${root}/sys/kernel/iommu_groups/7`, `${devices}/${name}/iommu_group`);
  }
  symlinkSync('../../drivers/snd_hda_intel', `${devices}/0000:01:00.1/driver`);
  return root;
}

describe('IOMMU groups', () => {
  it('have devices, with their drivers', (test) => {
    const root = sysfs();
    test.after(() => rmSync(root, { recursive: true }));
    assert.deepEqual(new IommuGroups(root).membersOf(7), [
      { name: '0000:01:00.0', driver: undefined },
      { name: '0000:01:00.1', driver: 'snd_hda_intel' },
    ]);
    assert.equal(new IommuGroups(root).membersOf(8), undefined);
  });

  it('are missing for some devices', (test) => {
    const root = sysfs();
    test.after(() => rmSync(root, { recursive: true }));
    const groups = new IommuGroups(root);
    assert.equal(groups.hasGroup('pci', '0000:01:00.0'), true);
    assert.equal(groups.hasGroup('pci', '0000:02:00.0'), false);
    assert.equal(groups.hasGroup('pci', '0000:03:00.0'), undefined);
  });
});
