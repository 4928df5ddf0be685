// SPDX-License-Identifier: Apache-2.0
/**
 * Prometheus 3 of a later Debian, unpacked into the cache and not installed: rules, dashboards and metrics have
 * to work on it as on the version of this machine's release.
 */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { Apt, unpackPackage } from '../lab/apt.ts';
import { cacheDirectory, cached } from '../lab/cache.ts';

const SUITE = 'forky';
const PACKAGES = ['prometheus', 'promtool'];

export interface Prometheus3 {
  readonly prometheus: string;
  readonly promtool: string;
}

/** @returns the programs; half a minute the first time */
export async function prometheus3(): Promise<Prometheus3> {
  const { target } = await cached(path.join(cacheDirectory(), `prometheus-${SUITE}`), unpack);
  const programs = path.join(target, 'usr/bin');
  return {
    prometheus: path.join(programs, 'prometheus'),
    promtool: path.join(programs, 'promtool'),
  };
}

async function unpack(scratch: string): Promise<string> {
  const root = path.join(scratch, 'root');
  await mkdir(root);
  const apt = await Apt.open([SUITE]);
  await apt.download(PACKAGES, scratch);
  for (const name of PACKAGES) await unpackPackage(name, scratch, root);
  return root;
}
