import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { BTF_KIND, BtfWriter } from '../../test/kit/btf-writer.ts';
import { deriveTrait, type TraitName } from '../events/traits.ts';
import { RunningKernel } from './traits.ts';

const CORE = 'ffffffff81000000 T _stext\nffffffff81000010 T vfio_df_open\n';

describe('the traits of a running kernel', () => {
  let root = '';
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'vfioscope-traits-'));
  });
  afterEach(() => rmSync(root, { recursive: true }));

  const write = (path: string, content: string | Uint8Array) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  };
  const symbols = (...ofVfio: string[]) =>
    write(
      'proc/kallsyms',
      CORE + ofVfio.map((name) => `ffffffffc0300010 t ${name}\t[vfio]\n`).join(''),
    );
  const loaded = (...modules: string[]) => {
    for (const module of modules) write(`sys/module/${module}/refcnt`, '0\n');
  };
  const derive = (name: TraitName, moduleBtf = true) => {
    const { value, evidence } = deriveTrait(name, new RunningKernel(moduleBtf, root));
    return [value, evidence];
  };
  const btf = () => {
    const vmlinux = new BtfWriter();
    const long = vmlinux.int('long', 8);
    vmlinux.struct('bpf_perf_link', 8, [['link', long, 0]]);
    const vfio = new BtfWriter(vmlinux);
    vfio.struct('vfio_device', 16, [
      ['kvm', long, 0],
      ['open_count', long, 8],
    ]);
    vfio.type(BTF_KIND.function, 'vfio_df_close', 0);
    write('sys/kernel/btf/vmlinux', vmlinux.bytes());
    write('sys/kernel/btf/vfio', vfio.bytes());
  };

  it('rest on the symbols of the module alone', () => {
    loaded('vfio');
    symbols('_vfio_alloc_device');
    assert.deepEqual(derive('vfioDeviceIsCounted'), [
      true,
      'vfio has the symbol _vfio_alloc_device',
    ]);
    // The one of the kernel itself is another function.
    assert.equal(derive('opensAreOneFunction')[0], undefined);
    symbols('vfio_df_open');
    assert.equal(derive('opensAreOneFunction')[0], true);
    assert.deepEqual(derive('vfioDeviceIsCounted'), [
      false,
      'vfio has no symbol _vfio_alloc_device',
    ]);
  });

  it('rest on the symbols of the kernel where the module is part of it', () => {
    write('sys/module/vfio/parameters/x', '');
    symbols();
    assert.equal(derive('opensAreOneFunction')[0], true);
  });

  it('are not known before the module is loaded, nor while it is being loaded', () => {
    symbols('_vfio_alloc_device');
    const unknown = [undefined, 'the module vfio is not loaded'];
    assert.deepEqual(derive('vfioDeviceIsCounted'), unknown);
    loaded('vfio');
    write('sys/module/vfio/initstate', 'coming\n');
    assert.deepEqual(derive('vfioDeviceIsCounted'), unknown);
    write('sys/module/vfio/initstate', 'live\n');
    assert.equal(derive('vfioDeviceIsCounted')[0], true);
  });

  it('are not known where symbols cannot be read', () => {
    loaded('vfio');
    const [value, evidence] = derive('vfioDeviceIsCounted');
    assert.equal(value, undefined);
    assert.match(String(evidence), /^cannot read \/proc\/kallsyms: /);
  });

  it('rest on BTF of the module, unless that must not be used', () => {
    loaded('vfio');
    symbols();
    btf();
    assert.deepEqual(derive('opensAreCounted'), [
      true,
      'struct vfio_device has the field open_count',
    ]);
    assert.deepEqual(derive('opensAreCounted', false), [false, 'vfio has no BTF that is used']);
    assert.deepEqual(derive('coreHoldsVm'), [false, 'struct vfio_device has no field put_kvm']);
  });

  it('read no symbols where BTF of the module decides', () => {
    loaded('vfio');
    btf();
    const isOne = [true, 'vfio has the symbol vfio_df_close'];
    assert.deepEqual(derive('opensAreOneFunction'), isOne);
    assert.match(String(derive('vfioDeviceIsCounted')[1]), /^cannot read \/proc\/kallsyms: /);
    // What the compiler has changed is not in BTF.
    symbols('_vfio_alloc_device');
    assert.equal(derive('vfioDeviceIsCounted')[0], true);
  });

  it('of the kernel itself need no module', () => {
    symbols();
    btf();
    assert.deepEqual(derive('linksCanBePinned', false), [
      true,
      'vmlinux has the struct bpf_perf_link',
    ]);
    assert.deepEqual(derive('namesAreIndexed')[0], false);
    rmSync(join(root, 'sys'), { recursive: true });
    assert.equal(derive('linksCanBePinned')[0], undefined);
  });
});
