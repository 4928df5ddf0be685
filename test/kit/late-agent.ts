/** An agent that starts late on the random host: it gets the events from then on, and host snapshots. */
import { RULES } from '../../src/catalogue.ts';
import { RuleEngine } from '../../src/engine/engine.ts';
import type { Sink } from '../../src/engine/sink.ts';
import { EventCursor } from '../../src/events/cursor.ts';
import type { Host } from '../../src/events/host.ts';
import { DEVICE_STATE } from '../../src/events/wire.gen.ts';
import { Dispatcher } from '../../src/lifecycle/dispatcher.ts';
import { World } from '../../src/lifecycle/world.ts';
import { nodeOf } from '../../src/scenario/cdev.ts';
import { kvmFields } from '../../src/scenario/fields.ts';
import type { Step } from '../../src/scenario/types.ts';
import {
  applyAll,
  keyOf,
  kvmOf,
  type SnapshotFields,
  snapshotBegins,
  snapshotDebugfs,
  snapshotEnds,
  snapshotRecord,
  snapshotSysfs,
} from './snapshot-records.ts';
import type { CdevFile, DeviceFile, Process, TrueFile } from './true-files.ts';
import type { TrueHost, TrueVm } from './true-host.ts';

/** Below those of devices. */
const VM_FD = 11;

/** A descriptor of a process. */
export interface Place {
  readonly process: Process;
  readonly fd: number;
}

export class LateAgent {
  readonly world = new World({ endedObjects: 1000 });
  readonly engine: RuleEngine;
  /** Files of devices that were open when it started, and where it found them. */
  readonly found = new Map<TrueFile, Place>();
  /** All files that it found, and in which processes. */
  readonly foundIn = new Map<TrueFile, Set<Process>>();
  readonly #dispatcher = new Dispatcher(this.world);
  /** The files that were open before it started and that it has not found yet. */
  #unobserved: Set<TrueFile> | undefined;

  constructor(host: Host, sink: Sink) {
    this.engine = new RuleEngine(this.world, { rules: RULES, host, sinks: [sink] });
  }

  /** Takes a host snapshot. @param full a world that got every event */
  takeSnapshot(full: World, truth: TrueHost): void {
    const { now } = full;
    const isOpen = (file: TrueFile) => file.is === 'device' || (file.is === 'cdev' && file.binder);
    this.#unobserved ??= new Set([...truth.files].filter(isOpen));
    const records = [
      snapshotBegins(now),
      ...snapshotSysfs(full, now),
      ...this.#filesOf(full, truth),
      ...truth.vms.flatMap((one) => vmRecord(now, one)),
      ...snapshotDebugfs(full, now),
      snapshotEnds(now),
    ];
    for (const transition of applyAll(this.world, records)) this.engine.check(transition);
  }

  apply(step: Step): void {
    if (typeof step === 'number') this.engine.tick(step);
    else if (step instanceof Uint8Array)
      this.engine.check(this.#dispatcher.apply(new EventCursor(step.buffer as ArrayBuffer)));
  }

  /** The descriptors of all processes, in their order. */
  #filesOf(full: World, { living }: TrueHost): Uint8Array[] {
    return living
      .toSorted((one, other) => one.pid - other.pid)
      .flatMap((process) =>
        [...process.descriptors]
          .toSorted(([one], [other]) => one - other)
          .flatMap(([fd, file]) => {
            this.#note(file, { process, fd });
            return recordOf(full, file, { process, fd });
          }),
      );
  }

  #note(file: TrueFile, place: Place): void {
    if (this.#unobserved?.delete(file)) this.found.set(file, place);
    const processes = this.foundIn.get(file) ?? new Set();
    this.foundIn.set(file, processes.add(place.process));
  }
}

/** As bpf/files.bpf.c writes it. */
function recordOf(full: World, file: TrueFile, { process, fd }: Place): Uint8Array[] {
  const { pid, comm } = process;
  const task = { pid, tid: pid, comm, fd };
  if (file.is === 'group') {
    const { id, device } = file.group;
    const vm = kvmFields(device.groupVm);
    return [snapshotRecord('snapshot.group', full.now, { ...task, ...vm, groupId: id, names: {} })];
  }
  const device = deviceFields(full, file);
  return device ? [snapshotRecord(pointOf(file), full.now, { ...device, ...task })] : [];
}

function pointOf({ is }: DeviceFile | CdevFile): 'snapshot.open' | 'snapshot.cdev' {
  return is === 'cdev' ? 'snapshot.cdev' : 'snapshot.open';
}

function deviceFields(full: World, file: DeviceFile | CdevFile): SnapshotFields | undefined {
  const device = full.devices.named(file.device.uuid);
  if (!device) return undefined;
  const { vdevLow, vdevHigh, openCount, groupId, name, bus, driver, parentName } = device;
  const isCdev = file.is === 'cdev';
  const names = { device: name, bus, driver, parent: parentName };
  return {
    ...{
      dev: keyOf(device),
      vdev: keyOf({ keyLow: vdevLow, keyHigh: vdevHigh }),
      openCount,
      groupId,
    },
    ...(isCdev ? { deviceState: file.binder ? DEVICE_STATE.BOUND : 0 } : {}),
    ...{ file: isCdev ? file.cdev.key : file.opening.key, ...kvmOf(device.vm) },
    names: isCdev ? { ...names, type: nodeOf(file.device) } : names,
  };
}

/** A VM that somebody has open. */
function vmRecord(now: number, { vm, owners }: TrueVm): Uint8Array[] {
  const [owner] = [...owners].sort((one, other) => one.pid - other.pid);
  if (!owner) return [];
  const { pid, comm } = owner;
  const task = { pid, tid: pid, comm, fd: VM_FD };
  return [snapshotRecord('snapshot.vm', now, { ...kvmFields(vm), ...task, names: {} })];
}
