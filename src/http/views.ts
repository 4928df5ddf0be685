/** What the API shows of the agent's objects: plain JSON, times in both clocks. */
import { FLAG } from '../events/wire.gen.ts';
import type { Device, Open, Parent, Task, Vm } from '../lifecycle/objects.ts';
import { pointName } from '../lifecycle/points.ts';
import type { Timeline, TimelineEntry } from '../lifecycle/timeline.ts';
import type { World } from '../lifecycle/world.ts';
import { Culprits } from '../rules/culprits.ts';
import { errnoName } from '../rules/errno.ts';
import { entryText } from '../rules/evidence.ts';
import type { Host } from '../rules/rule.ts';
import { shownBlocked, shownHolder, shownParty, shownTask } from '../rules/shown.ts';
import type { Holder, Violation } from '../rules/violation.ts';
import { vmId } from '../rules/words.ts';
import type { LifeIds } from '../telemetry/life-ids.ts';
import { stateOf } from './violation-filter.ts';

export class Views {
  readonly #world: World;
  readonly #wallOffset: () => number;
  readonly #host: Host;
  readonly #culprits: Culprits;
  readonly #ids: LifeIds;

  /**
   * Makes views of one world.
   * @param wallOffset ns from the boot-time clock to 1970
   * @param host tells of processes where they belong
   * @param ids of the traces that tell the same lives
   */
  constructor(world: World, wallOffset: () => number, host: Host, ids: LifeIds) {
    this.#world = world;
    this.#wallOffset = wallOffset;
    this.#host = host;
    this.#culprits = new Culprits(world, host);
    this.#ids = ids;
  }

  device(device: Device) {
    return {
      id: device.name,
      life: device.serial,
      trace: this.#ids.traceIdOf(device),
      bus: device.bus,
      type: device.type || undefined,
      parent: device.parentName || undefined,
      driver: device.driver || undefined,
      iommuGroup: device.groupId >= 0 ? device.groupId : undefined,
      state: device.state,
      waitingForUsers: device.isWaiting,
      quality: this.#world.qualityOf(device),
      openCount: device.openCount,
      opensTotal: device.opensTotal,
      openedBy: device.opens.map((open) => this.#open(open)),
      vm: device.vm && vmId(device.vm),
      created: this.time(device.createdAt || device.registeredAt),
      createdBy: this.#task(device.creator),
      createError: device.createError ? errnoName(device.createError) : undefined,
      removeBegan: this.time(device.removeBegan),
      removedBy: device.removeBegan ? this.#task(device.remover) : undefined,
      removeError: device.removeError ? errnoName(device.removeError) : undefined,
      released: this.time(device.releasedAt),
    };
  }

  /** With everything that happened to it. */
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

  vm(vm: Vm) {
    return {
      id: vmId(vm),
      trace: this.#ids.traceIdOf(vm),
      state: vm.state,
      quality: this.#world.qualityOf(vm),
      madeBy: this.#task(vm.task),
      makerThread: vm.makerTid || undefined,
      usersCount: vm.users >= 0 ? vm.users : undefined,
      devices: [...vm.devices].map((device) => device.name),
      holders: vm.isOver
        ? []
        : this.#culprits.holders({ vm, lasting: true }).map((one) => this.#holder(one)),
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
      state: stateOf(violation),
      quality: violation.quality,
      trace: violation.trace,
      device: violation.device,
      parent: violation.parent || undefined,
      type: violation.type || undefined,
      vm: violation.vm,
      process: shownParty(violation.process),
      holders: violation.holders.map((holder) => this.#holder(holder)),
      blocked: shownBlocked(violation.blocked),
      creator: shownParty(violation.creator),
      remover: shownParty(violation.remover),
      explanation: violation.explanation,
      count: violation.count,
      firstSeen: this.time(violation.firstSeen),
      lastSeen: this.time(violation.lastSeen),
      resolved: this.time(violation.resolvedAt),
      evidence: violation.evidence.map((entry) => this.#entry(entry)),
    };
  }

  /** @param at ns on the boot-time clock, 0 for never */
  time(at: number) {
    if (at === 0) return undefined;
    return { ns: at, at: new Date((at + this.#wallOffset()) / 1e6).toISOString() };
  }

  #task(task: Task | undefined) {
    return task && shownTask(task, this.#host.controlGroup?.(task));
  }

  #holder(holder: Holder) {
    return { ...shownHolder(holder), since: this.time(holder.since) };
  }

  #open(open: Open) {
    return {
      process: this.#task(open.task),
      fd: open.fd >= 0 ? open.fd : undefined,
      state: open.state,
      vm: open.vm && vmId(open.vm),
      opened: this.time(open.openedAt),
    };
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
