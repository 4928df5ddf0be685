/** The kernel modules that mdev, VFIO and KVM consist of, and who keeps them loaded. */
import { release } from 'node:os';
import { said } from './proc.ts';
import { exists, list, requireSysfs, text } from './sysfs-files.ts';

export interface KernelModule {
  readonly name: string;
  readonly loaded: boolean;
  /** Part of the kernel image, which is never unloaded. */
  readonly builtin: boolean;
  /** How many keep it from being unloaded, those of its holders included; -1 while it is unloaded. */
  readonly references: number;
  /** The modules that use it. Each has one reference. */
  readonly holders: readonly string[];
}

/** Listed even when they are not loaded; others of their family only when they are. */
const ROOTS = ['kvm', 'kvm_amd', 'kvm_intel', 'mdev', 'vfio'];
const FAMILY = /^vfio_/;

/**
 * These modules and, recursively, all that use them.
 * @throws UserProblem when sysfs cannot be read
 */
export function readKernelModules(root = ''): KernelModule[] {
  requireSysfs(root);
  const image = imageModules(root);
  const names = new Set(ROOTS);
  for (const name of list(`${root}/sys/module`) ?? []) if (FAMILY.test(name)) names.add(name);
  for (const name of image) if (FAMILY.test(name)) names.add(name);
  // What is added to a set while it is walked is walked as well.
  for (const name of names) for (const holder of holders(name, root)) names.add(holder);
  return [...names].sort().map((name) => readModule(name, image, root));
}

/**
 * Whether a module is being loaded or unloaded: meanwhile some of its functions are not there. False where
 * that cannot be read, as for want of a descriptor.
 */
export function isInTransit(name: string, root = ''): boolean {
  const state = said(`${root}/sys/module/${name}/initstate`);
  return state !== '' && state !== 'live';
}

/** All modules that use this one, directly or by way of another. */
export function holdersOf(module: string, root = ''): ReadonlySet<string> {
  const names = new Set([module]);
  for (const name of names) for (const holder of holders(name, root)) names.add(holder);
  names.delete(module);
  return names;
}

/** Whether what could be a module is part of the kernel image; those that are watched show there. */
export function isInImage(name: string, root = ''): boolean {
  const directory = `${root}/sys/module/${name}`;
  // A module of the image has a directory only if it has parameters or a version, and no refcnt.
  return exists(directory) && !exists(`${directory}/refcnt`);
}

/** Whether it is a module that is loaded, and not a part of the kernel image or missing. */
export function isLoadedModule(name: string, root = ''): boolean {
  return exists(`${root}/sys/module/${name}/refcnt`);
}

/** Who keeps a module from being unloaded, in words. */
export function whoHolds(module: KernelModule): string {
  const { name, builtin, loaded, references } = module;
  if (builtin) return `${name} is part of the kernel image`;
  if (!loaded) return `${name} is not loaded`;
  if (references < 0) return `${name} is being unloaded`;
  const others = references - module.holders.length;
  const reasons = [
    ...(module.holders.length > 0 ? [`is used by ${enumerated(module.holders)}`] : []),
    ...(others > 0 ? [otherReferences(others, module.holders.length)] : []),
  ];
  return `${name} ${reasons.join(', and ') || 'is used by nobody'}`;
}

function otherReferences(count: number, holders: number): string {
  const references = count === 1 ? '1 reference' : `${count} references`;
  const beyond = holders === 0 ? '' : ` beyond ${holders === 1 ? 'this' : 'these'}`;
  return `has ${references}${beyond}: open files, devices, or tracing programs (fentry, fexit)`;
}

function enumerated(names: readonly string[]): string {
  if (names.length < 2) return names.join();
  return `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
}

function readModule(name: string, image: ReadonlySet<string>, root: string): KernelModule {
  const references = text(`${root}/sys/module/${name}/refcnt`);
  const builtin = references === undefined && (image.has(name) || isInImage(name, root));
  return {
    name,
    loaded: builtin || references !== undefined,
    builtin,
    references: Number(references ?? 0),
    holders: holders(name, root),
  };
}

function holders(name: string, root: string): readonly string[] {
  return [...(list(`${root}/sys/module/${name}/holders`) ?? [])].sort();
}

/** The modules in the kernel image; empty where the kernel's files do not show, as in a container. */
function imageModules(root: string): ReadonlySet<string> {
  const lines = text(`${root}/lib/modules/${release()}/modules.builtin`)?.split('\n') ?? [];
  return new Set(
    lines.map((line) => /([^/]+)\.ko$/.exec(line)?.[1].replaceAll('-', '_') ?? '').filter(Boolean),
  );
}
