import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isWatched } from '../../src/events/source.ts';
import { valuesOf } from '../../src/events/traits.ts';
import { LINUX_5_10, WITH_IOMMUFD } from '../../src/scenario/kernels.ts';
import { otherArguments, programParameters } from './arguments.ts';
import { judge, readSourceKernels, type SourceKernel } from './source-kernel.ts';

const KERNELS = new Map(readSourceKernels().map((kernel) => [kernel.short, kernel]));

function kernel(short: string): SourceKernel {
  const found = KERNELS.get(short);
  assert.ok(found, short);
  return found;
}

function notWatched(short: string): string[] {
  const { points } = judge(kernel(short), 'none');
  return points.filter((point) => !isWatched(point)).map(({ point }) => point);
}

describe('a kernel that was read', () => {
  it('is judged as one that was run, where its VFIO is the same', () => {
    for (const short of ['EL 9.6', 'EL 10.0', 'Ubuntu 24.04']) {
      assert.deepEqual(valuesOf(judge(kernel(short), 'none').traits), WITH_IOMMUFD, short);
      assert.deepEqual(notWatched(short), [], short);
    }
    assert.deepEqual(valuesOf(judge(kernel('openEuler 22.03'), 'none').traits), LINUX_5_10);
    assert.deepEqual(notWatched('openEuler 22.03'), []);
  });

  it('has the VFIO that it has, whatever its number is', () => {
    const el94 = kernel('EL 9.4');
    assert.match(el94.release, /^5\.14\./);
    // Its BPF and its kallsyms are older.
    const lacks = { linksCountMisses: false, namesAreIndexed: false };
    assert.deepEqual(valuesOf(judge(el94, 'none').traits), { ...WITH_IOMMUFD, ...lacks });
  });

  it('misses what a kernel between two tested ones does its own way', () => {
    assert.ok(notWatched('Ubuntu 22.04').includes('vfio.device.open'));
    const { rules } = judge(kernel('Ubuntu 22.04'), 'none');
    const stall = rules.find(({ id }) => id === 'open-stall');
    assert.deepEqual([stall?.active, stall?.missing], [false, ['vfio.device.open']]);
  });

  it('may have fewer functions than its sources', () => {
    const watched = (inlining: 'none' | 'all') =>
      judge(kernel('EL 9.6'), inlining)
        .points.filter(isWatched)
        .map(({ point }) => point);
    assert.ok(watched('none').includes('kvm.vm.destroy'));
    assert.equal(watched('all').includes('kvm.vm.destroy'), false);
  });

  it('is not known to lack what was not searched for', () => {
    const none = { ...kernel('EL 9.6'), symbols: {}, types: {} };
    const { points, traits } = judge(none, 'none');
    assert.match(points[0].reason ?? '', /^nobody has searched for mdev_register_parent/);
    const known = traits.filter(({ value }) => value !== undefined);
    assert.deepEqual(known, []);
  });
});

describe('arguments', () => {
  const others = (short: string) =>
    otherArguments(kernel(short), judge(kernel(short), 'none').points).map(
      ({ program }) => program,
    );

  it('are those that the program reads, where that was tested', () => {
    for (const short of ['EL 10.0', 'openEuler 22.03']) assert.deepEqual(others(short), [], short);
  });

  it('are those of the kernel where several kernels have functions of one name', () => {
    for (const short of ['EL 9.0', 'Ubuntu 20.04', 'Ubuntu 22.04']) {
      assert.deepEqual(others(short), [], short);
    }
  });

  it('are found where nothing on a host shows that they are others', () => {
    assert.deepEqual(others('EL 8.10'), ['kobject_create_begin']);
  });

  it('are declared by every program at the entry of a function', () => {
    const declared = programParameters();
    for (const { hooks } of judge(kernel('EL 10.0'), 'none').points) {
      for (const { program, atReturn } of hooks) {
        if (!atReturn) assert.ok(declared.get(program), program);
      }
    }
    assert.deepEqual(declared.get('create_begin'), ['struct mdev_type *', 'void *']);
  });
});
