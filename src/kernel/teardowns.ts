/**
 * Threads that are inside the removal of a device or the unregistration of a parent, from /proc: an agent that
 * starts late has not observed their begin. The stack shows what a thread does, and the file that its process
 * writes to shows to which object; where that is missing, the object is inferred from what else it can be.
 */
import { readlinkSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { framesOf } from './blocked-task.ts';
import { fieldsOf, hasHostPids, identityOf, namesIn, pidsIn, said } from './proc.ts';
import { sleepers, untilAsleep } from './sleepers.ts';
import type { HostDevice, HostParent } from './sysfs.ts';
import { pacer, targetName } from './sysfs-files.ts';

/** Where VFIO waits for the users of a device, on 5.10 and later. */
const WAITS: ReadonlySet<string> = new Set(['vfio_unregister_group_dev', 'vfio_del_group_dev']);
/** The driver core calls the remove callback of the driver, mostly by way of its bus. */
const RELEASES_DRIVER = 'device_release_driver_internal';
/** Modules that are no driver. */
const CORES: ReadonlySet<string> = new Set(['', 'mdev', 'vfio']);
const REMOVES: ReadonlySet<string> = new Set([
  ...WAITS,
  ...['mdev_remove', 'mdev_device_remove', 'mdev_device_remove_cb', 'mdev_device_remove_common'],
]);
/** 6.1 and later, and 5.10. */
const UNREGISTERS: ReadonlySet<string> = new Set([
  'mdev_unregister_parent',
  'mdev_unregister_device',
]);
/** Where a thread that a signal may wake sleeps while it waits for users; the last one on 5.10. */
const INTERRUPTIBLE_WAITS: ReadonlySet<string> = new Set([...WAITS, 'wait_woken']);

const FRAME = /^(\w+)[^+]*\+0x[0-9a-f]+\/0x[0-9a-f]+(?: \[(\w+)\])?/;
/** The file through which a process removes a device; removed itself, it may be shown as deleted. */
const REMOVE_FILE = /^(\/sys\/devices\/.+)\/remove(?: \(deleted\))?$/;

/** A thread, as records name it. */
export interface Remover {
  readonly pid: number;
  readonly tid: number;
  /** The name of its process. */
  readonly comm: string;
  readonly uid: number;
}

export interface Teardown {
  readonly task: Remover;
  /** Whether it is in the removal of a device. */
  readonly removes: boolean;
  /** Whether it waits for users of the device. */
  readonly waits: boolean;
  /** Whether it is in the remove callback of the driver. */
  readonly inDriver: boolean;
  readonly ofMdev: boolean;
  /** The module whose parent it unregisters; empty where the stack does not show it. */
  readonly unregisters: string | undefined;
  /** Directories in sysfs of the devices whose file `remove` the process has open. */
  readonly directories: readonly string[];
}

/** A removal or an unregistration, with the name of its object. */
export interface NamedTeardown {
  readonly task: Remover;
  readonly name: string;
  /** Whether the name is all that was left, and no file of the process shows it. */
  readonly isInferred: boolean;
}

export interface FoundRemoval extends NamedTeardown, Pick<Teardown, 'waits' | 'inDriver'> {
  readonly bus: string;
  /** Of an mdev. */
  readonly parent: string;
}

export interface FoundTeardowns {
  readonly removals: readonly FoundRemoval[];
  readonly unregistrations: readonly NamedTeardown[];
}

/** @returns none where pids here are not those of events, or stacks must not be read */
export async function readTeardowns(root = ''): Promise<Teardown[]> {
  const proc = `${root}/proc`;
  const blocked: Thread[] = [];
  const pace = pacer();
  for (const pid of readable(() => (hasHostPids(proc) ? pidsIn(proc) : []))) {
    for (const tid of readable(() => namesIn(`${proc}/${pid}/task`))) {
      const process = `${proc}/${pid}`;
      const thread = { process, tid: Number(tid), directory: `${process}/task/${tid}` };
      if (mayBeBlocked(thread)) blocked.push(thread);
      await pace();
    }
  }
  await untilAsleep(blocked);
  const found: Teardown[] = [];
  for (const thread of blocked) {
    const one = teardownOf(thread);
    if (one) found.push(one);
    await pace();
  }
  return found;
}

interface Thread {
  /** Its process's directory in /proc. */
  readonly process: string;
  readonly tid: number;
  /** Its own. */
  readonly directory: string;
}

/** What can be read of a directory: the rest is hidden, as by the option hidepid of /proc. */
function* readable<Name>(names: () => Iterable<Name>): Generator<Name> {
  try {
    yield* names();
  } catch {
    // What is hidden is not found, as stacks are not that must not be read.
  }
}

function teardownOf({ process, tid, directory }: Thread): Teardown | undefined {
  if (!sleepers.hasSlept(tid, said(`${directory}/status`))) return undefined;
  const frames = framesOf(said(`${directory}/stack`)).flatMap((line) => {
    const [, name, module = ''] = FRAME.exec(line) ?? [];
    return name === undefined ? [] : { name, module };
  });
  const has = (names: ReadonlySet<string>) => frames.some(({ name }) => names.has(name));
  const unregister = frames.findIndex(({ name }) => UNREGISTERS.has(name));
  if (unregister < 0 && !has(REMOVES)) return undefined;
  return {
    task: {
      pid: Number(basename(process)),
      tid,
      ...identityOf(said(`${process}/status`)),
    },
    removes: has(REMOVES),
    waits: has(WAITS),
    inDriver: isInDriver(frames),
    ofMdev: frames.some(({ name }) => name.startsWith('mdev_')),
    unregisters: unregister < 0 ? undefined : (frames[unregister + 1]?.module ?? ''),
    directories: removeFilesOf(process),
  };
}

/** Whether code of a driver runs below the release of a driver: the frame of the bus may be missing. */
function isInDriver(
  frames: readonly { readonly name: string; readonly module: string }[],
): boolean {
  const release = frames.findIndex(({ name }) => name === RELEASES_DRIVER);
  return frames.slice(0, Math.max(release, 0)).some(({ module }) => !CORES.has(module));
}

/** By far the most threads sleep elsewhere: their stacks are not read. */
function mayBeBlocked({ directory }: Thread): boolean {
  const [state] = fieldsOf(said(`${directory}/stat`));
  return state === 'D' || (state === 'S' && INTERRUPTIBLE_WAITS.has(said(`${directory}/wchan`)));
}

function removeFilesOf(directory: string): string[] {
  const directories = new Set<string>();
  for (const fd of readable(() => namesIn(`${directory}/fd`))) {
    const [, device] = REMOVE_FILE.exec(targetOf(`${directory}/fd/${fd}`)) ?? [];
    if (device !== undefined) directories.add(device);
  }
  return [...directories];
}

function targetOf(link: string): string {
  try {
    return readlinkSync(link);
  } catch {
    return '';
  }
}

/**
 * Names the objects of these threads. What can not be named is left out.
 * @param devices and parents: what sysfs shows
 */
export function nameTeardowns(
  teardowns: readonly Teardown[],
  devices: readonly HostDevice[],
  parents: readonly HostParent[],
  root = '',
): FoundTeardowns {
  const removals = teardowns.filter(({ removes }) => removes);
  const named = removals.flatMap((one) => byFile(one, root));
  const leaving = devices.filter(
    ({ leaving, name }) => leaving && !named.some((removal) => removal.name === name),
  );
  const unnamed = removals.filter(({ task }) => !named.some((one) => one.task === task));
  const inferred = unnamed.flatMap((one) => onlyDevice(one, leaving, unnamed));
  const unregistrations = teardowns.flatMap((one) =>
    parentOf(one, [...named, ...inferred], likelyParents(one, devices, parents, root)),
  );
  return { removals: [...named, ...inferred], unregistrations };
}

/** A process that unregisters a parent may have the file of the parent open, which is not what it removes now. */
function byFile(
  { task, waits, inDriver, ofMdev, unregisters, directories }: Teardown,
  root: string,
) {
  if (unregisters !== undefined || directories.length !== 1) return [];
  const [directory] = directories;
  const bus = ofMdev ? 'mdev' : targetName(`${root}${directory}/subsystem`) || 'pci';
  const parent = ofMdev ? basename(dirname(directory)) : '';
  return [{ task, waits, inDriver, name: basename(directory), bus, parent, isInferred: false }];
}

/** The one device that is being removed by somebody who is not known, if there is one such thread. */
function onlyDevice(
  { task, waits, inDriver, ofMdev }: Teardown,
  leaving: readonly HostDevice[],
  unnamed: readonly Teardown[],
): FoundRemoval[] {
  const candidates = leaving.filter(({ bus }) => (bus === 'mdev') === ofMdev);
  const isAlone = unnamed.filter((other) => other.ofMdev === ofMdev).length === 1;
  if (!isAlone || candidates.length !== 1) return [];
  const [{ name, bus, parent }] = candidates;
  return [{ task, waits, inDriver, name, bus, parent, isInferred: true }];
}

/**
 * The parent that a thread unregisters: the one whose file `remove` its process has open, or the one whose mdev
 * it removes, or else the only one that it can be.
 */
function parentOf(
  { task, unregisters, directories }: Teardown,
  removals: readonly FoundRemoval[],
  likely: readonly string[],
): NamedTeardown[] {
  if (unregisters === undefined) return [];
  if (directories.length === 1) {
    return [{ task, name: basename(directories[0]), isInferred: false }];
  }
  const removal = removals.find((one) => one.task === task);
  if (removal) return [{ task, name: removal.parent, isInferred: removal.isInferred }];
  return likely.length === 1 ? [{ task, name: likely[0], isInferred: true }] : [];
}

/**
 * The registered parents of the driver that unregisters one. A thread that has not come to its mdevs waits for
 * their creations and removals: then it is a parent with an mdev that is being set up or taken down.
 */
function likelyParents(
  { unregisters }: Teardown,
  devices: readonly HostDevice[],
  parents: readonly HostParent[],
  root: string,
): string[] {
  const ofDriver = parents
    .map(({ name }) => name)
    .filter((name) => {
      const module = targetName(`${root}/sys/class/mdev_bus/${name}/driver/module`);
      return module === '' || unregisters === '' || module === unregisters;
    });
  const busy = new Set(devices.filter(({ type }) => type === '').map(({ parent }) => parent));
  const waitedFor = ofDriver.filter((name) => busy.has(name));
  return waitedFor.length > 0 ? waitedFor : ofDriver;
}
