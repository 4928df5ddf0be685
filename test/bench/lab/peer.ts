// SPDX-License-Identifier: Apache-2.0
/**
 * A bpftrace program that prints what the agent's probes record, from the same functions.
 *
 * bpftrace 0.17 does not know the types of modules. So all is read at fixed offsets, where some kernel
 * may have something else: the cost of a read does not depend on it.
 */
import type { PointStatus } from '../../../src/events/source.ts';
import type { Hook } from '../../../src/kernel/probe-point.ts';
import { PROBE_TABLE } from '../../../src/kernel/probe-table.ts';

/** Conditions under which the agent's own programs record nothing more. */
const FILTERS: Readonly<Record<string, string>> = {
  kvm_dev_ioctl: 'arg1 == 0xae01',
  vfio_group_fops_unl_ioctl: 'arg1 == 0x3b6a',
};

/** The hooks behind the points that `doctor --json` says are attached. */
export function hooksOf(points: readonly PointStatus[]): Hook[] {
  return points.flatMap(({ point, state, symbol }) => {
    if (state !== 'attached') return [];
    const entry = PROBE_TABLE.find((one) => one.point === point);
    const candidate = entry?.candidates.find(
      ({ hooks }) => [...new Set(hooks.map((hook) => hook.symbol))].join(', ') === symbol,
    );
    return candidate?.hooks ?? [];
  });
}

const READY = 'BEGIN { printf("ready\\n"); }';
const COMMON = 'nsecs, cpu, pid, tid, comm, cgroup';

/** Prints only the task: the smallest program that attaches to these probe sites. */
export function plainProgram(hooks: readonly Hook[]): string {
  const probes = [...probeSites(hooks).values()].map(
    ({ symbol, atReturn }) =>
      `${atReturn ? 'kretprobe' : 'kprobe'}:${symbol} { printf("%llu %d %d %d %s %llu ${symbol} %llx\\n", ${COMMON}, ${atReturn ? 'retval' : 'arg0'}); }`,
  );
  return [READY, ...probes].join('\n');
}

/** Prints what the agent's probes record. */
export function fullProgram(hooks: readonly Hook[]): string {
  const sites = probeSites(hooks);
  const probes = [...sites.values()].map((hook) =>
    hook.atReturn && !sites.has(siteOf({ ...hook, atReturn: false }))
      ? failureProbe(hook)
      : probe(hook),
  );
  return [READY, ...probes].join('\n');
}

/** Of a function that is probed at its return only, the agent records failures. */
function failureProbe({ symbol }: Hook): string {
  return `kretprobe:${symbol} /(int64)retval < 0/ { printf("%llu %d %d %d %s %llu ${symbol} %d\\n", ${COMMON}, retval); }`;
}

/** Two points may share a probe site, at which bpftrace is attached only once. */
export function probeSites(hooks: readonly Hook[]): Map<string, Hook> {
  return new Map(hooks.map((hook) => [siteOf(hook), hook]));
}

function siteOf({ symbol, atReturn }: Hook): string {
  return `${symbol} ${atReturn}`;
}

function probe(hook: Hook): string {
  const { symbol, atReturn } = hook;
  const map = `@${symbol}`;
  const filter = atReturn ? `${map}[tid]` : FILTERS[symbol];
  const object = atReturn ? `${map}[tid]` : 'arg0';
  const [format, values, forget] = print(symbol, object, atReturn);
  const keep = atReturn ? forget && `delete(${map}[tid]);` : `${map}[tid] = arg0;`;
  const place = `${atReturn ? 'kretprobe' : 'kprobe'}:${symbol}`;
  const kept = hook.program.endsWith('_begin') || atReturn ? keep : '';
  return `${place} ${filter ? `/${filter}/ ` : ''}{ ${kept} printf("%llu %d %d %d %s %llu ${symbol} ${format}\\n", ${COMMON}, ${values}); }`;
}

/** Format, values, and whether the kept pointer is to be deleted. */
function print(symbol: string, object: string, atReturn: boolean): [string, string, boolean] {
  const result = atReturn ? 'retval' : '0';
  const number = (at: number) => `*(int32 *)(${object} + ${at})`;
  const pointer = (at: number) => `*(uint64 *)(${object} + ${at})`;
  if (symbol.startsWith('kvm_')) {
    // The VM, its references, and its creator.
    return ['%d %llx %d %d', `${result}, ${object}, ${number(64)}, ${number(72)}`, true];
  }
  if (atReturn) {
    // Pointers that the begin kept, and the current counts.
    const pointers = `${object}, ${pointer(0)}, ${pointer(8)}`;
    return [
      '%d %llx %llx %llx %d %d',
      `${result}, ${pointers}, ${number(64)}, ${number(72)}`,
      true,
    ];
  }
  // Names as well: of the device, its bus, its parent and its driver.
  const names = [
    `str(${pointer(0)})`,
    ...[96, 64, 104].map((at) => `str(*(uint64 *)(${pointer(at)}))`),
  ];
  return [
    '%llx %llx %d %d %s %s %s %s',
    `${object}, ${pointer(8)}, ${number(64)}, ${number(72)}, ${names.join(', ')}`,
    false,
  ];
}
