/** The JSON of the API: devices, parents, VMs and violations, with times on both clocks. */

import { Attributor } from '../engine/attribution.ts';
import { errnoName } from '../engine/errno.ts';
import { entryText } from '../engine/evidence.ts';
import {
  shownBlocked,
  shownHolder,
  shownParty,
  shownProcesses,
  shownTask,
  shownTime,
  shownWaiter,
  shownWaiterCounts,
} from '../engine/json.ts';
import type { Holder, Violation, Waiters } from '../engine/violation.ts';
import { vmId } from '../engine/words.ts';
import type { Host, PciFunction } from '../events/host.ts';
import { pointName } from '../events/points.ts';
import type { Task } from '../events/task.ts';
import { FLAG } from '../events/wire.gen.ts';
import type { IommufdContext } from '../lifecycle/iommufd-context.ts';
import {
  type Cdev,
  creatorOf,
  type Device,
  type Open,
  type Parent,
  type Vm,
} from '../lifecycle/objects.ts';
import { deviceOfCall, inProgress, OPERATIONS, shownStates } from '../lifecycle/operations.ts';
import type { Timeline, TimelineEntry } from '../lifecycle/timeline.ts';
import type { World } from '../lifecycle/world.ts';
import type { TraceIds } from '../telemetry/trace-ids.ts';
import { kindOf, stateOf } from './violation-filter.ts';

/** For how many calls in flight one request asks the host where they are blocked. */
const ASKED = 100;

export class Views {
  readonly #world: World;
  readonly #wallOffset: (at: number) => number;
  readonly #host: Host;
  readonly #attributor: Attributor;
  readonly #ids: TraceIds;
  readonly #now: () => number;

  /**
   * Makes views of one world.
   * @param wallOffset ns from the boot-time clock to 1970, at a time on the boot-time clock
   * @param host answers which control group a process belongs to
   * @param ids gives the trace ids of devices and VMs
   * @param now ns on the boot-time clock; in a replay, the time of the latest event
   */
  constructor(
    world: World,
    wallOffset: (at: number) => number,
    host: Host,
    ids: TraceIds,
    now = () => world.now,
  ) {
    this.#world = world;
    this.#wallOffset = wallOffset;
    this.#host = host;
    this.#attributor = new Attributor(world, host);
    this.#ids = ids;
    this.#now = now;
  }

  device(device: Device, stateOf = shownStates(this.#world)) {
    const { creator, requester } = creatorOf(device);
    return {
      id: device.name,
      incarnation: device.serial,
      traceId: this.#ids.traceIdOf(device),
      bus: device.bus,
      mdevType: device.type || undefined,
      parent: device.parentName || undefined,
      driver: device.driver || undefined,
      pci: shownPci(device.pci),
      iommuGroup: device.groupId >= 0 ? device.groupId : undefined,
      state: stateOf(device),
      waitingForUsers: device.isWaiting,
      quality: this.#world.qualityOf(device),
      openCount: device.openCount,
      opensTotal: device.opensTotal,
      openedBy: device.opens.map((open) => this.#open(open)),
      cdevs: device.cdevs.map((cdev) => this.#cdev(cdev)),
      vm: device.vm && vmId(device.vm),
      vmName: device.vm?.identity?.name,
      vmUuid: device.vm?.identity?.uuid,
      created: this.time(device.createdAt || device.registeredAt),
      createdBy: this.#task(creator),
      requestedBy: this.#task(requester),
      createError: device.createError ? errnoName(device.createError) : undefined,
      removeBegan: this.time(device.removeBegan),
      removedBy: device.removeBegan ? this.#task(device.remover) : undefined,
      removeError: device.removeError ? errnoName(device.removeError) : undefined,
      released: this.time(device.releasedAt),
    };
  }

  /** All of them: what is in progress is found out once. */
  devices(devices: Iterable<Device>) {
    const stateOf = shownStates(this.#world);
    return Array.from(devices, (device) => this.device(device, stateOf));
  }

  /** The device with its events. */
  deviceWithTimeline(device: Device) {
    return { ...this.device(device), timeline: this.#timeline(device.timeline) };
  }

  parent(parent: Parent) {
    return {
      name: parent.name,
      driver: parent.driver,
      state: parent.state,
      quality: this.#world.qualityOf(parent),
      devices: parent.devices.size,
      registered: this.time(parent.registeredAt),
    };
  }

  /** The calls in flight, by operation and the oldest of each first, and where each is blocked in the kernel. */
  operations() {
    const now = this.#now();
    let asks = ASKED;
    return OPERATIONS.flatMap(({ name }) =>
      inProgress(this.#world, name).map((call) => {
        const { task, began, vm, parent, request, module } = call;
        const device = deviceOfCall(call);
        const blocked = asks-- > 0 ? this.#host.blockedTask?.(task) : undefined;
        return {
          operation: name,
          point: pointName(call.point),
          device: device?.name ?? request?.name,
          parent: device?.parentName || parent?.name || undefined,
          vm: vm && vmId(vm),
          vmName: vm?.identity?.name,
          module,
          since: this.time(began),
          durationNs: Math.max(0, now - began),
          process: this.#task(task),
          blocked,
        };
      }),
    );
  }

  vm(vm: Vm) {
    return {
      id: vmId(vm),
      name: vm.identity?.name,
      uuid: vm.identity?.uuid,
      systemdUnit: vm.identity?.group?.unit,
      container: vm.identity?.group?.container,
      pod: vm.identity?.group?.pod,
      commandLine: vm.identity?.commandLine,
      traceId: this.#ids.traceIdOf(vm),
      state: vm.state,
      quality: this.#world.qualityOf(vm),
      createdBy: this.#task(vm.task),
      creatorThread: vm.creatorTid || undefined,
      usersCount: vm.users >= 0 ? vm.users : undefined,
      devices: vm.devices.map((device) => device.name),
      holders: vm.isGone
        ? []
        : this.#attributor.holders({ vm, ongoing: true }).map((one) => this.#holder(one)),
      created: this.time(vm.createdAt),
      fdClosed: this.time(vm.fdClosedAt),
      destroyed: this.time(vm.destroyedAt),
      timeline: this.#timeline(vm.timeline),
    };
  }

  violation(violation: Violation) {
    return {
      id: violation.id,
      rule: violation.rule,
      title: violation.title,
      severity: violation.severity,
      kind: kindOf(violation),
      state: stateOf(violation),
      quality: violation.quality,
      message: violation.message,
      traceId: violation.trace,
      incarnation: violation.incarnation,
      device: violation.device,
      parent: violation.parent || undefined,
      mdevType: violation.type || undefined,
      vm: violation.vm,
      process: shownParty(violation.process),
      processes: shownProcesses(violation.processes),
      otherOccurrences: violation.processes.otherOccurrences,
      devices: violation.devices,
      holders: violation.holders.map((holder) => this.#holder(holder)),
      blocked: shownBlocked(violation.blocked),
      waiters: this.#waiters(violation.waiters),
      createdBy: shownParty(violation.creator),
      requestedBy: shownParty(violation.requester),
      removedBy: shownParty(violation.remover),
      firstSeen: this.time(violation.firstSeen),
      lastSeen: this.time(violation.lastSeen),
      count: violation.count,
      resolved: this.time(violation.resolvedAt),
      kernelLog: violation.kernelLog,
      evidence: violation.evidence.map((entry) => this.#entry(entry)),
    };
  }

  /** @param at ns on the boot-time clock, 0 for never */
  time(at: number) {
    return shownTime(at, this.#wallOffset);
  }

  #task(task: Task | undefined) {
    return task && shownTask(task, this.#host.controlGroup?.(task));
  }

  #holder(holder: Holder) {
    return { ...shownHolder(holder), since: this.time(holder.since) };
  }

  #waiters(waiters: Waiters | undefined) {
    return (
      waiters && {
        ...shownWaiterCounts(waiters),
        tasks: waiters.listed.map((one) => ({
          ...shownWaiter(one),
          callBegan: this.time(one.callBegan),
        })),
      }
    );
  }

  #open(open: Open) {
    return {
      process: this.#task(open.task),
      fd: open.fd >= 0 ? open.fd : undefined,
      state: open.state,
      vm: open.vm && vmId(open.vm),
      vmName: open.vm?.identity?.name,
      opened: this.time(open.openedAt),
    };
  }

  #cdev(cdev: Cdev) {
    const { node, state, opener, binder, vm, bindError, attachError } = cdev;
    return {
      name: node || undefined,
      state,
      quality: this.#world.qualityOf(cdev),
      openedBy: this.#task(opener),
      opened: this.time(cdev.openedAt),
      boundBy: this.#task(binder),
      iommufd: cdev.iommufd && this.#iommufd(cdev.iommufd),
      bound: this.time(cdev.boundAt),
      attached: this.time(cdev.attachedAt),
      bindError: bindError ? errnoName(bindError) : undefined,
      attachError: attachError ? errnoName(attachError) : undefined,
      vm: vm && vmId(vm),
    };
  }

  #iommufd({ serial, opener, openedAt }: IommufdContext) {
    return { id: `iommufd-${serial}`, openedBy: this.#task(opener), opened: this.time(openedAt) };
  }

  #timeline(timeline: Timeline) {
    return {
      omitted: timeline.omitted,
      events: timeline.entries().map((entry) => this.#entry(entry)),
    };
  }

  #entry(entry: TimelineEntry) {
    const isEnd = (entry.flags & FLAG.EVENT_END) !== 0;
    return {
      ...this.time(entry.time),
      point: pointName(entry.point),
      phase: isEnd ? 'end' : 'begin',
      process: { pid: entry.pid, tid: entry.tid, comm: entry.comm },
      result: isEnd ? entry.ret : undefined,
      openCount: entry.openCount >= 0 ? entry.openCount : undefined,
      usersCount: entry.usersCount >= 0 ? entry.usersCount : undefined,
      vm: entry.vm ? `vm${entry.vm}` : undefined,
      text: entryText(entry),
    };
  }
}

function shownPci(pci: PciFunction | undefined) {
  if (!pci) return undefined;
  const { vendor, device, physicalFunction, numaNode, busId } = pci;
  return {
    ...{ vendorId: vendor, deviceId: device },
    physicalFunction: physicalFunction || undefined,
    numaNode: numaNode < 0 ? undefined : numaNode,
    busId,
  };
}
