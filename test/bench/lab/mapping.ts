// SPDX-License-Identifier: Apache-2.0
/**
 * What the probe of failed DMA mappings costs the mappings that work: a loop of maps and unmaps, with and
 * without probes. They are pinned and the agent has ended, so that it does not run beside the loop.
 *
 *   node test/bench/lab/mapping.ts [--kernel KERNEL] [--rounds N]
 */
import { parseArgs } from 'node:util';
import { bootLab, type Vm } from '../../lab/lab.ts';
import { Vmm } from '../../lab/vmm.ts';
import { spread, table } from '../rounds.ts';
import { Running } from './tracer.ts';

const CARD = '0000:00:08.0';
const UUID = '8f3a5c1e-77aa-4b10-9d2c-0123456789ab';
const AGENT = 'dist/agent/main.js';
const PINNED = {
  name: 'vfioscope --pin',
  command: [AGENT, 'run', '--pin', '--no-budget', '--log-format', 'json'],
  ready: /"module":"kvm"/,
  signal: 'SIGTERM',
} as const;

/** Loops, as [title, device, bytes, times]. */
const LOOPS = [
  ['4 KiB, an mdev: nothing is pinned', UUID, 4096, 10_000],
  ['4 KiB, a card behind an IOMMU', CARD, 4096, 5000],
  ['2 MiB, a card behind an IOMMU', CARD, 2 ** 21, 300],
] as const;

const { values } = parseArgs({
  options: {
    kernel: { type: 'string', default: '6.12' },
    rounds: { type: 'string', default: '7' },
  },
});
const vm = await bootLab({
  kernel: values.kernel,
  timeoutMs: 900_000,
  memoryMiB: 2048,
  devices: ['intel-iommu,intremap=on', 'e1000e,addr=8'],
  append: ['intel_iommu=on'],
});
try {
  await compare(vm, Number(values.rounds));
} finally {
  await vm.close();
}

async function compare(vm: Vm, rounds: number): Promise<void> {
  for (const module of ['mdev', 'vfio_iommu_type1', 'kvm_amd', 'vfio-pci', 'mtty']) {
    await vm.sh(`modprobe ${module}`);
  }
  await vm.sh(`echo vfio-pci > /sys/bus/pci/devices/${CARD}/driver_override`);
  await vm.sh(`echo ${CARD} > /sys/bus/pci/drivers_probe`);
  await vm.sh(`echo ${UUID} > /sys/class/mdev_bus/mtty/mdev_supported_types/mtty-1/create`);
  const vmm = new Vmm(vm, 'mapper');
  for (const device of [UUID, CARD]) {
    for (const command of [
      `container open ${device}.c`,
      `group open ${device}.g ${device}`,
      `group attach ${device}.g ${device}.c`,
      `container iommu ${device}.c`,
    ]) {
      await vmm.command(command);
    }
  }
  const times = LOOPS.map(() => ({ without: [] as number[], with: [] as number[] }));
  const run = async (side: 'without' | 'with') => {
    for (const [i, [, device, bytes, count]] of LOOPS.entries()) {
      const microseconds = await vmm.command(`container loop ${device}.c ${bytes} ${count}`);
      times[i][side].push(microseconds / count);
    }
  };
  await run('without');
  for (const { without } of times) without.length = 0;
  for (let round = 0; round < rounds; round++) {
    await run('without');
    await (await Running.start(vm, PINNED)).stop();
    await run('with');
    await vm.sh(`${AGENT} unpin`);
    console.error(`bench  round ${round + 1} of ${rounds}`);
  }
  console.log(`\n${values.kernel} (${vm.kernel.release}), µs for a map and an unmap\n`);
  table([
    ['', 'without', 'with', 'ratio'],
    ...LOOPS.map(([title], i) => {
      const { without, with: probed } = times[i];
      const ratios = probed.map((value, round) => value / without[round]);
      return [title, spread(without, 1), spread(probed, 1), spread(ratios, 3)];
    }),
  ]);
}
