// SPDX-License-Identifier: Apache-2.0
/**
 * Kernels that claim to be another one, as those of vendors and distributions do in a way: what the agent
 * reports must not depend on the number.
 */
import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { buildDrivers, type Vm } from '../lab/lab.ts';

/** Older than any kernel that has anything that the agent needs. */
const CLAIMED = '3.10.0-claimed';
const DRIVERS = fileURLToPath(new URL('../kmod', import.meta.url));

/** uname26: to single programs, by their personality. release: to all, as the kernel's own release. */
export type Claim = 'uname26' | 'release';

export const CLAIM = claimOf(process.env.VFIOSCOPE_CLAIM);

function claimOf(text: string | undefined): Claim | undefined {
  assert.ok(text === undefined || text === 'uname26' || text === 'release', `no claim ${text}`);
  return text;
}

/** Makes a kernel claim another number. @returns what programs have to be started by */
export async function claimAnother(vm: Vm, claim: Claim | undefined): Promise<readonly string[]> {
  if (claim === undefined) return [];
  const start = claim === 'uname26' ? ['setarch', '--uname-2.6'] : [];
  if (claim === 'release') {
    const modules = await buildDrivers(vm.kernel, DRIVERS, ['release']);
    // modprobe searches below the name that the kernel claims.
    const link = `ln -s ${vm.kernel.release} /lib/modules/${CLAIMED}`;
    const { exitCode, stderr } = await vm.run([
      ...['sh', '-c', `${link} && insmod ${modules}/release.ko release=${CLAIMED}`],
    ]);
    assert.equal(exitCode, 0, stderr);
  }
  const { stdout } = await vm.run([...start, 'uname', '-r']);
  assert.match(stdout, /^[23]\./, 'the kernel claims an old number');
  return start;
}
