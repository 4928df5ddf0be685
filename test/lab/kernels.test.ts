// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { basename } from 'node:path';
import test from 'node:test';

import { sourceLines } from './apt.ts';
import { relocatedMakefile } from './headers.ts';
import {
  chooseKernel,
  kernelIds,
  readMatrix,
  recipeHash,
  resolvePackages,
  wholeKernels,
} from './kernels.ts';

const matrix = readMatrix();
const entry = chooseKernel(matrix, '6.12').entry;

test('the newest image is taken, and neither rt, cloud nor debug ones', () => {
  const packages = resolvePackages('6.12', entry, [
    'linux-image-6.12.9+deb12-amd64',
    'linux-image-6.12.117+deb12-amd64',
    'linux-image-6.12.200+deb12-rt-amd64',
    'linux-image-6.12.200+deb12-cloud-amd64',
    'linux-image-6.12.200+deb12-amd64-dbg',
    'linux-image-6.12-amd64',
    'linux-image-6.1.0-56-amd64',
  ]);
  assert.deepEqual(packages, {
    abi: '6.12.117+deb12',
    image: ['linux-image-6.12.117+deb12-amd64'],
    headers: [
      'linux-headers-6.12.117+deb12-amd64',
      'linux-headers-6.12.117+deb12-common',
      'linux-kbuild-6.12.117+deb12',
    ],
    tools: [],
    source: 'linux-source-6.12',
  });
});

test('sid has the newest series, whatever it is', () => {
  const packages = resolvePackages('7.2', chooseKernel(matrix, '7.2').entry, [
    'linux-image-7.2.13+deb14-amd64',
    'linux-image-7.10.2+deb14-amd64',
    'linux-image-7.10.2+deb14-rt-amd64',
    'linux-image-7.11-rc3-amd64',
    'linux-image-amd64',
  ]);
  assert.equal(packages.abi, '7.10.2+deb14');
  assert.equal(packages.source, 'linux-source-7.10');
  assert.ok(packages.image.includes('linux-binary-7.10.2+deb14-amd64'));
});

test('the default is a row of the matrix', () => {
  assert.ok(matrix.default in matrix.kernels);
});

test('an error for no match has the pattern and the next step', () => {
  assert.throws(() => resolvePackages('6.12', entry, []), /bookworm.*6\.12.*apt-get update/s);
});

test('an error for an unknown kernel lists the known ones', () => {
  assert.throws(() => chooseKernel(matrix, '2.4'), /there are: 5\.10, 6\.1, .*6\.12,/);
});

test('a kernel with iommufd is made from the row of the same kernel without', () => {
  const { row, entry: made, hasIommufd } = chooseKernel(matrix, '6.12-iommufd');
  assert.deepEqual([row, hasIommufd], ['6.12', true]);
  assert.equal(made, entry);
  assert.equal(chooseKernel(matrix, '6.12').hasIommufd, false);
});

test('only kernels whose sources have iommufd can be booted with it', () => {
  const withIommufd = kernelIds(matrix).filter((id) => !(id in matrix.kernels));
  assert.deepEqual(withIommufd, ['6.12-iommufd', '7.2-iommufd']);
  assert.throws(() => chooseKernel(matrix, '6.1-iommufd'), /no kernel "6\.1-iommufd"/);
});

test('another recipe has another place in the cache', () => {
  const changed = { ...matrix, modules: [...matrix.modules, 'loop'] };
  assert.notEqual(recipeHash(matrix, entry), recipeHash(changed, entry));
});

test('other suites come from the archives that this machine uses', () => {
  const archives = [
    { suite: 'bookworm', uri: 'http://a/debian' },
    { suite: 'bookworm-security', uri: 'http://b/security' },
  ];
  assert.equal(
    sourceLines(['bullseye', 'bullseye-security'], 'bookworm', archives),
    'deb http://a/debian bullseye main\ndeb http://b/security bullseye-security main\n',
  );
  assert.equal(
    sourceLines(['trixie-backports'], 'bookworm', archives),
    `deb ${archives[0].uri} trixie-backports main\n`,
  );
  assert.throws(() => sourceLines(['sid-proposed'], 'bookworm', archives), /bookworm-proposed/);
});

test('the headers no longer depend on where Debian installs them', () => {
  assert.equal(
    relocatedMakefile('include /usr/src/linux-headers-6.12-common/Makefile\n'),
    'include $(dir $(lastword $(MAKEFILE_LIST)))../linux-headers-6.12-common/Makefile\n',
  );
});

test('each row on which everything can be run has a recording, and one with cdevs has', () => {
  const names = readdirSync('test/recordings')
    .filter((name) => name.endsWith('.vfr'))
    .map((name) => basename(name, '.vfr'));
  const rows = wholeKernels(matrix).filter((id) => id in matrix.kernels);
  assert.deepEqual(names.sort(), [...rows, '6.12-iommufd'].sort());
});
