import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMissing } from './attach.ts';
import { KernelSymbols } from './kernel-symbols.ts';
import type { Hook } from './probe-point.ts';
import { byName, type Naming, byAddress as ofSymbols } from './symbols.ts';

const SYMBOLS = `ffffffff81000000 T _stext
ffffffff8114bf90 T __x64_sys_delete_module
ffffffff8114c000 T release
ffffffffc0300010 t mdev_remove\t[mdev]
ffffffffc0300020 t mdev_remove_cb\t[mdev]
ffffffffc0300030 t probe.cold\t[mdev]
ffffffffc0310010 t release\t[vfio]
ffffffffc0320010 t release\t[kvm]
`;

function byAddress(text: string): Naming {
  return ofSymbols(new KernelSymbols(text));
}

function hook(symbol: string, only: Partial<Hook> = {}): Hook {
  return { symbol, program: symbol, atReturn: false, blocks: false, ...only };
}

function missing(naming: Naming, module: string, wanted: Hook): void {
  assert.throws(() => naming(module, wanted), isMissing);
}

test('a function is asked for by the address that it has in its own module', () => {
  const naming = byAddress(SYMBOLS);
  assert.equal(naming('mdev', hook('mdev_remove')), '0xffffffffc0300010');
  assert.equal(naming('vfio', hook('release')), '0xffffffffc0310010');
  assert.equal(naming('kvm', hook('release')), '0xffffffffc0320010');
});

test('one of the kernel itself is not mistaken for one of a module', () => {
  const naming = byAddress(SYMBOLS);
  assert.equal(naming('kvm', hook('release', { core: true })), '0xffffffff8114c000');
  assert.equal(
    naming('vfio', hook('__x64_sys_delete_module', { core: true })),
    '0xffffffff8114bf90',
  );
  missing(naming, 'vfio', hook('__x64_sys_delete_module'));
  missing(naming, 'mdev', hook('mdev_remove', { core: true }));
});

test('one of a module that the module of its point depends on is asked for there', () => {
  const naming = byAddress(SYMBOLS);
  assert.equal(naming('vfio', hook('release', { of: 'kvm' })), '0xffffffffc0320010');
  assert.equal(byName('vfio', hook('release', { of: 'kvm' })), 'kvm:release');
});

test('what is not there is missing, as if the kernel had said so', () => {
  missing(byAddress(SYMBOLS), 'mdev', hook('mdev_rem'));
  missing(byAddress(SYMBOLS), 'mdev', hook('release'));
  missing(byAddress('ffffffff81000000 T _stext\n'), 'mdev', hook('mdev_remove'));
});

test('a function whose name has an addition is left to the kernel to find', () => {
  assert.equal(byAddress(SYMBOLS)('mdev', hook('probe')), 'mdev:probe');
});

test('where addresses are hidden, functions are asked for by name', () => {
  const naming = byAddress(SYMBOLS.replaceAll(/^[0-9a-f]+/gm, '0'.repeat(16)));
  assert.equal(naming('vfio', hook('release')), 'vfio:release');
  assert.equal(naming('kvm', hook('release', { core: true })), 'release');
  assert.equal(byName('vfio', hook('release')), 'vfio:release');
});
