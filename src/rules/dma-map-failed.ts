import { EBUSY, EEXIST, EFAULT, EINVAL, ENOMEM, ENOSPC, errnoName } from '../engine/errno.ts';
import type { Rule } from '../engine/rule.ts';
import { byteWords, deviceWords, vmWords, who } from '../engine/words.ts';
import type { Host } from '../events/host.ts';
import { taskOf } from '../events/task.ts';
import type { Mapper } from '../lifecycle/objects.ts';
import { mapFails, openGroup } from '../scenario/vfio.ts';

/** A process that is being killed, and a request that the container does not know: nothing is wrong with these. */
const EINTR = 4;
const ENOTTY = 25;
/** How many devices a message names. */
const NAMED = 3;

export const dmaMapFailed: Rule = {
  id: 'dma-map-failed',
  title: 'Memory could not be mapped for DMA',
  severity: 'warning',
  severityVaries:
    'Info for EFAULT: a VMM that maps the memory of one device for another gets that, and continues ' +
    'without DMA between the two.',
  description:
    'A VMM maps the memory of its guest for DMA before it starts the guest, and again when memory is ' +
    'plugged. The kernel refused that. Most VMMs then give up, so that all that shows is a VM that ' +
    'ends soon and normally. The request is made to a container of VFIO groups or to ' +
    'iommufd, so the device and the VM are those of the process that made it.',
  remediation:
    'For ENOMEM compare the limit of locked memory (`grep locked /proc/PID/limits`; LimitMEMLOCK= of ' +
    'the unit, or the memory limit that the management service sets) with the memory of the guest. For ' +
    'ENOSPC raise the parameter dma_entry_limit of vfio_iommu_type1. All others are faults of the VMM, ' +
    'or ranges that its IOMMU cannot map: look into the log of the VMM for the address.',
  references:
    'vfio_dma_do_map() in drivers/vfio/vfio_iommu_type1.c, iommufd_ioas_map() in ' +
    'drivers/iommu/iommufd/ioas.c',
  evidence: 'The size, the errno, and the events of the devices and the VM of that process.',
  occurrences: 'the first device of the process, or its program where it has none, and the errno',
  blindSpot:
    'Memory that a driver pins for itself, addresses, and what another process than the opener of the ' +
    'devices maps for them: it is named, but not its devices. Requests of 32-bit processes.',
  provocation: { by: 'user', how: 'A range is mapped that overlaps another one.' },
  basis: 'event',
  on: {
    'vfio.dma.map:end'({ event, device, vm }, { world, host, report }) {
      const errno = -event.ret;
      if (errno === EINTR || errno === ENOTTY || event.isExiting) return;
      const task = taskOf(event);
      const known = world.mapper;
      const mapper = known && isSameProcess(known, event.time, host) ? known : undefined;
      const bytes = event.mappedBytes;
      const size = bytes > 0 ? byteWords(bytes) : 'memory';
      const limit = errno === ENOMEM ? host.lockedMemoryLimit?.(task.pid) : undefined;
      report({
        ...(mapper ? { device, vm, others: mapper.devices.slice(1) } : {}),
        task,
        sameAs: `${mapper?.devices[0]?.name ?? `${task.comm} of ${task.uid}`} ${errno}`,
        ...(errno === EFAULT ? { severity: 'info' } : {}),
        message:
          `${who(task)}${mapper ? whose(mapper) : ''} could not map ${size} for DMA: ` +
          `${errnoName(errno)}, ${reason(errno, bytes, limit)}.`,
      });
    },
  },
  examples: {
    fires: [
      {
        title: 'the limit of locked memory is too low',
        run(scenario) {
          scenario.open(scenario.create(scenario.parent()), { vm: scenario.createVm() });
          mapFails(scenario, ENOMEM);
        },
      },
      {
        title: 'a range overlaps another, before the first device is opened',
        run(scenario) {
          openGroup(scenario, scenario.bindPci('0000:02:00.1'));
          mapFails(scenario, EEXIST, { bytes: 4096 });
        },
      },
      {
        title: 'there are too many mappings, of a process that has a VM and no device',
        run(scenario) {
          scenario.createVm();
          mapFails(scenario, ENOSPC);
        },
      },
      {
        title: 'the memory of another device cannot be mapped',
        run(scenario) {
          scenario.open(scenario.bindPci('0000:02:00.1'), { vm: scenario.createVm() });
          mapFails(scenario, EFAULT, { bytes: 2 ** 20 });
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the VMM is killed while it maps',
        run(scenario) {
          scenario.open(scenario.create(scenario.parent()), { vm: scenario.createVm() });
          mapFails(scenario, EINTR);
        },
      },
      {
        title: 'a mapping that works, which no event shows',
        run(scenario) {
          scenario.open(scenario.create(scenario.parent()), { vm: scenario.createVm() });
        },
      },
    ],
  },
};

/**
 * Another process may have got the id of one that opened devices, which have been passed on. A process that
 * has exited since its request is not another one: a VMM mostly gives up at once.
 * @param at when the request returned, ns on the boot-time clock
 */
function isSameProcess({ pid, hadSince }: Mapper, at: number, host: Host): boolean {
  return host.isAlive?.(pid, hadSince) !== false || host.isAlive(pid, at) === false;
}

const OPENED: Readonly<Record<Mapper['observed'], string>> = {
  all: 'opened',
  some: 'opened, or had open when the agent first looked,',
  none: 'had open when the agent first looked',
};

/** ", which opened 0000:02:00.1 for the VM of qemu (pid 600),": whether it has that file still is not known. */
function whose({ devices, hasDevices, observed, vm }: Mapper): string {
  const [first, ...more] = devices.slice(0, NAMED).map(deviceWords);
  const rest = devices.length - NAMED;
  const names = [first, ...more, ...(rest > 0 ? [`${rest} more`] : [])].join(', ');
  const has = first && `${OPENED[observed]} ${hasDevices ? '' : 'the group of '}${names}`;
  if (!has && !vm) return '';
  if (!vm) return `, which ${has},`;
  return has ? `, which ${has} for ${vmWords(vm)},` : `, with ${vmWords(vm)},`;
}

function reason(errno: number, bytes: number, limit: number | undefined): string {
  switch (errno) {
    case ENOMEM:
      return reasonOfMemory(bytes, limit);
    case EEXIST:
      return 'because the range overlaps one that is mapped already';
    case EINVAL:
      return (
        'because the address or the size is not a multiple of the page of the IOMMU, the IOMMU cannot ' +
        'address the range or keeps it reserved, or the container has no IOMMU set'
      );
    case ENOSPC:
      return (
        'because the container has as many mappings as the parameter dma_entry_limit of ' +
        'vfio_iommu_type1 allows, or no free address'
      );
    case EFAULT:
      return (
        'because the memory is not there, not writable, or cannot be pinned, as the memory of ' +
        'another device'
      );
    case EBUSY:
      return 'because the range is still in use';
    default:
      return 'for a reason that only the errno names';
  }
}

/** The kernel returns the same errno for a limit and for a lack of memory, and exempts CAP_IPC_LOCK from the limit. */
function reasonOfMemory(bytes: number, limit: number | undefined): string {
  if (limit === undefined) {
    return (
      'because its limit of locked memory (RLIMIT_MEMLOCK) is reached, or the kernel or its control ' +
      'group has no memory left'
    );
  }
  if (limit === Number.POSITIVE_INFINITY) {
    return (
      'probably because the kernel or its control group has no memory left: its locked memory has ' +
      'no limit'
    );
  }
  const given = `its limit of locked memory (RLIMIT_MEMLOCK) is ${byteWords(limit)}`;
  return bytes > limit
    ? `probably because ${given}, which is less than this mapping alone`
    : `because it is out of locked memory, or the kernel or its control group has no memory left: ${given}`;
}
