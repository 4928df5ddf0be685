// SPDX-License-Identifier: Apache-2.0
/**
 * Simulated hosts in a process of their own, which ends with the one that started it.
 * Its arguments: how many, devices of each, the seed of the first, how many seconds
 * they live in each real one.
 */
import { SimulatedHost } from './host.ts';

const [count, devices, seed, compression] = process.argv.slice(2).map(Number);
const hosts = Array.from(
  { length: count },
  (_, i) => new SimulatedHost(devices, seed + i, compression),
);
const addresses = await Promise.all(
  hosts.map(({ served }) => served.server.listen({ host: '127.0.0.1', port: 0 })),
);
process.send?.(addresses.map((address) => address.slice('http://'.length)));
for (const [i, host] of hosts.entries()) {
  const interval = 1000 / compression;
  // Spread over the second, as hosts are.
  setTimeout(() => setInterval(() => host.beat(), interval), (i * interval) / count);
}
process.on('disconnect', () => process.exit());
