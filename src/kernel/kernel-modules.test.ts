import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { UserProblem } from '../problem.ts';
import {
  holdersOf,
  isInImage,
  isInTransit,
  type KernelModule,
  readKernelModules,
  whoHolds,
} from './kernel-modules.ts';

/** Linux 6.12 with drivers loaded and one mdev bound: references, and holders. */
const SEEN: Readonly<Record<string, readonly [number, ...string[]]>> = {
  kvm: [1, 'kvm_amd'],
  kvm_amd: [0],
  mdev: [2, 'mdpy', 'mtty'],
  mdpy: [0],
  mtty: [0],
  vfio: [6, 'mdpy', 'mtty', 'vfio_iommu_type1', 'vfio_pci', 'vfio_pci_core'],
  vfio_iommu_type1: [0],
  vfio_pci: [0],
  vfio_pci_core: [1, 'vfio_pci'],
};

describe('the kernel modules', () => {
  let root = '';
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'vfioscope-modules-'));
    mkdirSync(join(root, 'sys/class'), { recursive: true });
  });
  afterEach(() => rmSync(root, { recursive: true }));

  function load(modules: typeof SEEN): void {
    for (const [name, [references, ...holders]] of Object.entries(modules)) {
      const directory = join(root, 'sys/module', name);
      for (const holder of ['', ...holders])
        mkdirSync(join(directory, 'holders', holder), { recursive: true });
      writeFileSync(join(directory, 'refcnt'), `${references}\n`);
    }
  }

  it('are those of mdev, VFIO and KVM, and all that use them', () => {
    load({ ...SEEN, e1000e: [0] });
    const modules = readKernelModules(root);
    assert.deepEqual(
      modules.filter(({ loaded }) => loaded).map(({ name }) => name),
      Object.keys(SEEN),
    );
    assert.deepEqual(
      modules.find(({ name }) => name === 'mdev'),
      { name: 'mdev', loaded: true, builtin: false, references: 2, holders: ['mdpy', 'mtty'] },
    );
  });

  it('are in transit while they are loaded or unloaded, which no part of the kernel image is', () => {
    load({ kvm: [0], mdev: [0], vfio: [0] });
    for (const [name, state] of [
      ['kvm', 'coming'],
      ['mdev', 'live'],
      ['vfio', 'going'],
    ])
      writeFileSync(join(root, 'sys/module', name, 'initstate'), `${state}\n`);
    mkdirSync(join(root, 'sys/module/kvm_amd'));
    const names = ['kvm', 'mdev', 'vfio', 'kvm_amd', 'missing'];
    assert.deepEqual(
      names.filter((name) => isInTransit(name, root)),
      ['kvm', 'vfio'],
    );
  });

  it('are listed even when none is loaded', () => {
    const modules = readKernelModules(root);
    assert.deepEqual(
      modules.map(({ name, loaded }) => `${name} ${loaded}`),
      ['kvm false', 'kvm_amd false', 'kvm_intel false', 'mdev false', 'vfio false'],
    );
  });

  it('may be part of the kernel image, which shows in either of two ways', () => {
    // With parameters there is a directory, but no reference count.
    mkdirSync(join(root, 'sys/module/kvm/parameters'), { recursive: true });
    mkdirSync(join(root, 'lib/modules', release()), { recursive: true });
    writeFileSync(
      join(root, 'lib/modules', release(), 'modules.builtin'),
      'kernel/drivers/vfio/vfio.ko\nkernel/drivers/vfio/pci/vfio-pci.ko\nkernel/fs/ext4/ext4.ko\n',
    );
    const builtin = readKernelModules(root).filter((module) => module.builtin);
    assert.deepEqual(
      builtin.map(({ name, loaded }) => `${name} ${loaded}`),
      ['kvm true', 'vfio true', 'vfio_pci true'],
    );
    assert.ok(isInImage('kvm', root));
    assert.ok(!isInImage('mdev', root));
    load({ mdev: [0] });
    assert.ok(!isInImage('mdev', root));
  });

  it('are unknown without sysfs', () => {
    rmSync(join(root, 'sys'), { recursive: true });
    assert.throws(() => readKernelModules(root), UserProblem);
  });

  it('use another by way of others', () => {
    load(SEEN);
    load({ vfio_pci: [1, 'vendor_vfio'] });
    assert.deepEqual(holdersOf('vfio_pci_core', root), new Set(['vfio_pci', 'vendor_vfio']));
    assert.deepEqual(holdersOf('mtty', root), new Set());
  });
});

describe('who holds a module', () => {
  const loaded = { loaded: true, builtin: false, references: 0, holders: [] };
  const OTHERS = 'open files, devices, or tracing programs (fentry, fexit)';
  const cases: [Partial<KernelModule>, string][] = [
    [{ loaded: false }, 'vfio is not loaded'],
    [{ builtin: true }, 'vfio is part of the kernel image'],
    [{}, 'vfio is used by nobody'],
    [{ references: 1, holders: ['mtty'] }, 'vfio is used by mtty'],
    [{ references: 3, holders: ['a', 'b', 'c'] }, 'vfio is used by a, b and c'],
    [{ references: 1 }, `vfio has 1 reference: ${OTHERS}`],
    [
      { references: 3, holders: ['mtty'] },
      `vfio is used by mtty, and has 2 references beyond this: ${OTHERS}`,
    ],
    [
      { references: 3, holders: ['a', 'b'] },
      `vfio is used by a and b, and has 1 reference beyond these: ${OTHERS}`,
    ],
    [{ references: -1 }, 'vfio is being unloaded'],
  ];
  for (const [module, words] of cases) {
    it(words, () => assert.equal(whoHolds({ name: 'vfio', ...loaded, ...module }), words));
  }
});
