// SPDX-License-Identifier: Apache-2.0
/** The loads of the soak, with the counts of a whole run (VFIOSCOPE_SOAK=1). docs/false-alarms.md shows them. */
export const LOADS = {
  '8 parents x 16 devices, created and removed all at once':
    '50 rounds of 128 processes, each of which creates a device and, when all are there, removes it',
  '8 parents unregistered with all their devices':
    'a module with 8 parents and 128 devices is unloaded',
  'VMMs killed at random':
    '200 VMMs, four at a time, killed while they set up, run or close; every fourth device is removed at that time',
  'QEMU with mdevs':
    'two mdevs, one from the start, one plugged and unplugged five times over QMP; QEMU quits, and is killed',
  'a card assigned to VMMs':
    'a PCI card behind an IOMMU goes from its driver to vfio-pci and back five times; a VMM uses it four times in between and is killed',
  'a card used without a VM': 'as DPDK does',
  'QEMU with a card':
    'plugged and unplugged five times over QMP; at last it is unbound while in use, and QEMU releases it on request',
  mdevctl:
    'devices defined, started one by one and all of a parent, listed, used, stopped, five times',
  'descriptors shared, passed on and outlived':
    'a device opened twice; descriptors duplicated, inherited by a child, sent through sockets to another process; vcpus, children and readers of statistics that outlive the descriptor of the VM by 7 s',
  'start late':
    'the agent starts when devices are open, a device is waiting to be removed, and processes create and use others',
  'are restarted': 'the agent is stopped and started again twice during all of that',
  'are killed':
    'the agent is killed and started again twice, its probes pinned where the kernel supports that (not 5.10)',
  'lose events': 'the ring is one page, and the agent is stopped for a second',
} as const;

/** A kernel with cdevs has nothing of its own there, so they are not run on one. */
export const OPEN_NOTHING: ReadonlySet<string> = new Set([
  '8 parents x 16 devices, created and removed all at once',
  '8 parents unregistered with all their devices',
] satisfies LoadName[]);

export type LoadName = keyof typeof LOADS;
