import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { after, before, describe, it } from 'node:test';
import { busIdOf, pciFunction } from './pci-function.ts';

describe('a PCI function', () => {
  let root = '';
  const add = (name: string, files: Readonly<Record<string, string>>) => {
    const directory = `${root}/sys/bus/pci/devices/${name}`;
    mkdirSync(directory, { recursive: true });
    for (const [file, value] of Object.entries(files)) {
      writeFileSync(`${directory}/${file}`, `${value}\n`);
    }
    return directory;
  };
  before(() => {
    root = mkdtempSync(`${tmpdir()}/vfioscope-pci-`);
    const gpu = { vendor: '0x10de', device: '0x2236', numa_node: '1' };
    add('0000:3b:00.0', gpu);
    symlinkSync('../0000:3b:00.0', `${add('0000:3b:00.4', gpu)}/physfn`);
    add('0000:00:02.0', { vendor: '0x8086', device: '0x3e92', numa_node: '-1' });
  });
  after(() => rmSync(root, { recursive: true }));

  it('has vendor, device and NUMA node, and the bus id of GPU exporters', () => {
    assert.deepEqual(pciFunction('0000:3b:00.0', root), {
      ...{ vendor: '0x10de', device: '0x2236', physicalFunction: '', numaNode: 1 },
      busId: '00000000:3B:00.0',
    });
    assert.equal(pciFunction('0000:00:02.0', root)?.numaNode, -1);
  });

  it('has the bus id of its physical function if it is a virtual one', () => {
    const { physicalFunction, busId } = pciFunction('0000:3b:00.4', root) ?? {};
    assert.deepEqual([physicalFunction, busId], ['0000:3b:00.0', '00000000:3B:00.0']);
  });

  it('is not known of what is gone, or is no PCI device', () => {
    assert.equal(pciFunction('0000:3b:00.7', root), undefined);
    assert.equal(pciFunction('../../0000:3b:00.0', root), undefined);
    assert.equal(pciFunction('mtty', root), undefined);
  });

  it('of another PCI domain keeps it', () => {
    assert.equal(busIdOf('10000:e1:00.0'), '00010000:E1:00.0');
    assert.equal(busIdOf('mtty'), '');
  });
});
