/** Lifecycles and violations as log lines: JSON fields for machines, one sentence for people. */
import type { Logger } from 'pino';
import { attributionOf } from '../engine/attribution-lines.ts';
import { errnoName } from '../engine/errno.ts';
import { evidenceLines } from '../engine/evidence.ts';
import {
  shownBlocked,
  shownHolder,
  shownParty,
  shownProcesses,
  shownTime,
  shownWaiter,
  shownWaiterCounts,
} from '../engine/json.ts';
import type { Change, Sink } from '../engine/sink.ts';
import type { Violation, Waiters } from '../engine/violation.ts';
import { waiterLines } from '../engine/waiter-words.ts';
import {
  deviceWords,
  occurrenceWords,
  openWords,
  seconds,
  vmId,
  vmLabel,
  vmWords,
  who,
} from '../engine/words.ts';
import { type EventKind, kindIndexOf } from '../events/points.ts';
import { type Task, taskOf } from '../events/task.ts';
import type { Device, Parent, Vm } from '../lifecycle/objects.ts';
import type { Transition } from '../lifecycle/transition.ts';
import { SECOND } from '../units.ts';
import type { PhaseName } from './phases.ts';
import { RateLimit } from './rate-limit.ts';
import { levelOf } from './severity.ts';
import type { SpanReference, TraceIds } from './trace-ids.ts';

/** Writes one line to a logger; `ids` gives the fields that identify an object and its trace. */
type Write = (log: Logger, transition: Transition, ids: Ids) => void;

const ON: Readonly<Partial<Record<EventKind, Write>>> = {
  'mdev.parent.register:end': (log, { parent, event }, ids) => {
    if (!parent || event.ret < 0) return;
    log.info(
      { event: 'parent.registered', ...ids.parent(parent, event.time), driver: parent.driver },
      `parent ${parent.name} registered by ${parent.driver}`,
    );
  },
  'mdev.parent.unregister:end': (log, { parent, event, duration }, ids) => {
    if (!parent) return;
    log.info(
      {
        event: 'parent.unregistered',
        ...ids.parent(parent, event.time),
        ...durationFields(duration),
      },
      `parent ${parent.name} unregistered${took(duration)}`,
    );
  },
  'mdev.create:end': (log, { device, event, duration }, ids) => {
    if (!device) return;
    const by = who(device.creator);
    if (event.ret < 0) {
      log.info(
        {
          event: 'device.create_failed',
          ...ids.device(device, event.time, 'vfio.device.create', device.createBegan),
          errno: errnoName(-event.ret),
        },
        `failed to create ${deviceWords(device)} on ${device.parentName}: ${errnoName(-event.ret)}, requested by ${by}`,
      );
    } else {
      log.info(
        {
          event: 'device.created',
          ...ids.device(device, event.time, 'vfio.device.create', device.createBegan),
          ...durationFields(duration),
        },
        `created ${deviceWords(device)} on ${device.parentName} by ${by}${took(duration)}`,
      );
    }
  },
  'vfio.device.open:end': (log, { device, open, event }, ids) => {
    if (!device || !open || event.ret < 0) return;
    const vm = open.vm ? `, for ${vmWords(open.vm)}` : ', without a VM';
    log.info(
      {
        event: 'device.opened',
        ...ids.device(device, event.time, 'vfio.device.open', open.firstSeen),
        process: taskFields(open.task),
      },
      `opened ${deviceWords(device)} by ${who(open.task)}${vm}`,
    );
  },
  'vfio.device.close:end': (log, { device, open, event }, ids) => {
    if (!device || !open) return;
    const after = open.openedAt ? ` after ${seconds(event.time - open.openedAt)}` : '';
    log.info(
      {
        event: 'device.closed',
        ...ids.device(device, event.time, 'vfio.device.open', open.firstSeen),
        process: taskFields(open.task),
      },
      `closed ${deviceWords(device)} by ${who(open.task)}${after}`,
    );
  },
  'vfio.cdev.open:end': (log, { device, cdev, event }, ids) => {
    if (!device || !cdev || event.ret < 0) return;
    log.info(
      {
        event: 'cdev.opened',
        ...ids.device(device, event.time),
        process: taskFields(cdev.opener),
      },
      `opened the cdev of ${deviceWords(device)} by ${who(cdev.opener)}: the device is held, but not open by it`,
    );
  },
  'vfio.cdev.bind:end': (log, { device, event }, ids) => {
    if (!device || event.ret >= 0) return;
    const process = taskOf(event);
    const errno = errnoName(-event.ret);
    log.info(
      {
        event: 'cdev.bind_failed',
        ...ids.device(device, event.time),
        ...{ errno, process: taskFields(process) },
      },
      `failed to bind the cdev of ${deviceWords(device)} to iommufd: ${errno}, requested by ${who(process)}`,
    );
  },
  'vfio.cdev.attach:end': (log, { device, event }, ids) => {
    if (!device) return;
    const process = taskOf(event);
    const fields = { ...ids.device(device, event.time), process: taskFields(process) };
    if (event.ret < 0) {
      const errno = errnoName(-event.ret);
      log.info(
        { event: 'cdev.attach_failed', ...fields, errno },
        `failed to attach ${deviceWords(device)} to an address space: ${errno}, requested by ${who(process)}`,
      );
      return;
    }
    log.info(
      { event: 'cdev.attached', ...fields },
      `attached ${deviceWords(device)} to an address space by ${who(process)}`,
    );
  },
  'vfio.cdev.close:end': (log, { device, cdev, event }, ids) => {
    if (!device || !cdev) return;
    const process = taskOf(event);
    const after = cdev.openedAt ? ` after ${seconds(event.time - cdev.openedAt)}` : '';
    const isBound = cdev.boundAt > 0 || cdev.adopted ? '' : ', which was never bound,';
    log.info(
      {
        event: 'cdev.closed',
        ...ids.device(device, event.time),
        process: taskFields(process),
      },
      `closed the cdev of ${deviceWords(device)}${isBound} by ${who(process)}${after}`,
    );
  },
  'vfio.unregister:begin': (log, { device, event }, ids) => {
    if (!device || device.openCount === 0) return;
    log.info(
      {
        event: 'device.removal_waiting',
        ...ids.device(device, event.time, 'vfio.device.wait_for_users', device.unregisterBegan),
      },
      `waiting to remove ${deviceWords(device)}, requested by ${who(device.remover)}: it is ${openWords(device)}`,
    );
  },
  'mdev.remove:end': logRemoved,
  'mdev.remove_child:end': logRemoved,
  'vfio.register:end': (log, { device, event }, ids) => {
    if (!device || device.isMdev || event.ret < 0) return;
    log.info(
      { event: 'device.bound', ...ids.device(device, event.time) },
      `bound ${device.name} to ${device.driver}`,
    );
  },
  'vfio.release:begin': (log, { device, event }, ids) => {
    if (!device || device.isMdev) return;
    log.info(
      { event: 'device.released', ...ids.device(device, event.time) },
      `released ${device.name} by ${device.driver}`,
    );
  },
  'kvm.vm.create:end': (log, { vm, event }, ids) => {
    if (!vm || event.ret < 0) return;
    log.info({ event: 'vm.created', ...ids.vm(vm, event.time) }, `created ${vmWords(vm)}`);
  },
  'kvm.vm.destroy:end': (log, { vm, event }, ids) => {
    if (!vm) return;
    const lived = vm.createdAt ? ` after ${seconds(event.time - vm.createdAt)}` : '';
    log.info(
      { event: 'vm.destroyed', ...ids.vm(vm, event.time) },
      `destroyed ${vmWords(vm)}${lived}`,
    );
  },
};

/** ns: repetitions of a one-shot violation within this time are counted in its next line. */
const QUIET = 10 * SECOND;

/** Writes transitions and violations to a logger. */
export class LifecycleLog implements Sink {
  readonly #log: Logger;
  readonly #write: (Write | undefined)[] = [];
  /** When a line about a violation was last written, in ns on the boot-time clock, and of how many devices. */
  readonly #logged = new WeakMap<Violation, { readonly at: number; readonly devices: number }>();
  readonly #ids: Ids;
  readonly #limit = new RateLimit();

  /** @param wallOffset ns from the boot-time clock to 1970, at a time on the boot-time clock */
  constructor(log: Logger, ids: TraceIds, wallOffset: (at: number) => number) {
    this.#log = log;
    this.#ids = new Ids(ids, wallOffset);
    for (const [name, write] of Object.entries(ON)) {
      this.#write[kindIndexOf(name as EventKind)] = write;
    }
  }

  event(transition: Transition): void {
    this.#write[transition.index]?.(this.#log, transition, this.#ids);
  }

  /** Logs who a VM is for its operator, where the host knows that. */
  identified(vm: Vm): void {
    const { name, uuid, group } = vm.identity ?? {};
    if (name === undefined && uuid === undefined) return;
    const known = [uuid && name && `uuid ${uuid}`, group?.unit, group?.pod && `pod ${group.pod}`];
    const facts = known.filter((fact) => fact).map((fact) => `, ${fact}`);
    this.#log.info(
      { event: 'vm.identified', ...this.#ids.vm(vm, vm.firstSeen), ...guestFields(vm) },
      `identified ${vmWords(vm)}${facts.join('')}`,
    );
  }

  /** Lines about violations that were suppressed, by rule. */
  get suppressed(): ReadonlyMap<string, number> {
    return this.#limit.suppressed;
  }

  /** Logs how many lines were suppressed in each minute that is over. @param now ns on the boot-time clock */
  tick(now: number): void {
    for (const { rule, lines } of this.#limit.end(now)) {
      this.#log.warn(
        { event: 'violation.lines_suppressed', rule, lines },
        `suppressed ${lines} log lines about ${rule} within a minute; /api/v1/violations?rule=${rule} lists all violations`,
      );
    }
  }

  /** Logs how many lines were suppressed in the minutes that are not over. */
  end(): void {
    this.tick(Number.POSITIVE_INFINITY);
  }

  /** A one-shot violation that is repeated gets a short line: for each further device, else not each time. */
  violation(violation: Violation, change: Change): void {
    const { rule, severity, id, lastSeen, message, devices } = violation;
    const logged = this.#logged.get(violation);
    const isKnown = logged !== undefined && devices.length === logged.devices;
    if (change === 'repeated' && isKnown && lastSeen - logged.at < QUIET) return;
    this.#logged.set(violation, { at: lastSeen, devices: devices.length });
    this.tick(lastSeen);
    if (!this.#limit.admits(rule, lastSeen)) return;
    if (change === 'resolved') {
      const { firstSeen, resolvedAt } = violation;
      const { conclusion } = violation;
      const fields = {
        ...idFields(violation, change, this.#ids),
        ...durationFields(resolvedAt - firstSeen),
        ...(conclusion ? { message: conclusion } : {}),
      };
      this.#log.info(fields, resolvedWords(violation));
      return;
    }
    const fields = {
      ...idFields(violation, change, this.#ids),
      ...attributionFields(violation, this.#ids),
    };
    if (change === 'repeated') {
      const { processes } = violation;
      const { otherOccurrences } = processes;
      this.#log[levelOf(severity)](
        { ...fields, processes: shownProcesses(processes), otherOccurrences },
        `repeated ${id} ${rule} (${severity}), ${occurrenceWords(violation)}: ${message}`,
      );
    } else if (change === 'waiters_found') {
      this.#log[levelOf(severity)](fields, waitersText(violation));
    } else {
      const evidence = evidenceLines(violation.evidence);
      this.#log[levelOf(severity)]({ ...fields, evidence }, violationText(violation, change));
    }
  }
}

/** Identifies a violation, so that it can be found in the API. */
function idFields(violation: Violation, change: Change, ids: Ids) {
  const { id, rule, severity, device, quality, count, type, parent, incarnation } = violation;
  return {
    event: `violation.${change}`,
    violation: id,
    ...{ rule, severity, device, quality, count },
    ...{ mdevType: type || undefined, parent: parent || undefined, incarnation },
    vm: violation.vm?.id,
    vmName: violation.vm?.name,
    vmUuid: violation.vm?.uuid,
    ...ids.violation(violation, change === 'resolved' ? violation.resolvedAt : violation.lastSeen),
  };
}

function attributionFields(violation: Violation, ids: Ids) {
  const { message, holders, blocked, waiters, creator, remover, kernelLog } = violation;
  return {
    message,
    process: shownParty(violation.process),
    holders: holders.map((one) => ({ ...shownHolder(one), since: ids.time(one.since) })),
    blocked: shownBlocked(blocked),
    waiters: waiters && loggedWaiters(waiters, ids),
    createdBy: shownParty(creator),
    removedBy: shownParty(remover),
    kernelLog,
  };
}

/** Without their stacks, which are in the API: a line has a limit. */
function loggedWaiters(waiters: Waiters, ids: Ids) {
  const tasks = waiters.listed.map((one) => ({
    ...{ ...shownWaiter(one), stack: undefined },
    callBegan: ids.time(one.callBegan),
  }));
  return { ...shownWaiterCounts(waiters), tasks };
}

/** The title of the rule, the message of this violation, and its attribution. */
function violationText(violation: Violation, change: Change): string {
  const { id, rule, severity, title, message } = violation;
  const word = change === 'escalated' ? 'ESCALATED' : 'VIOLATION';
  return [
    `${word} ${id} ${rule} (${severity}): ${title}`,
    message,
    ...attributionOf(violation).map((labelled) => labelled.join(' ')),
  ].join('\n  ');
}

/** The message, which counts those who wait behind a call, and a line for each. */
function waitersText({ id, rule, severity, message, waiters, lastSeen }: Violation): string {
  return [
    `waiters of ${id} ${rule} (${severity}): ${message}`,
    ...waiterLines(waiters, lastSeen),
  ].join('\n  ');
}

function resolvedWords(violation: Violation): string {
  const { id, rule, device, vm, parent, firstSeen, resolvedAt, conclusion } = violation;
  const about = device ?? (vm ? vmLabel(vm) : parent);
  const lasted = seconds(resolvedAt - firstSeen);
  const result = conclusion ? `: ${conclusion}` : '';
  return `resolved ${id} ${rule}${about ? ` of ${about}` : ''}, ${lasted} after it was raised${result}`;
}

function logRemoved(log: Logger, { device, event, duration }: Transition, ids: Ids): void {
  if (!device) return;
  const by = who(device.remover);
  if (event.ret < 0) {
    log.info(
      {
        event: 'device.remove_failed',
        ...ids.device(device, event.time, 'vfio.device.remove', device.removeBegan),
        errno: errnoName(-event.ret),
      },
      `failed to remove ${deviceWords(device)}: ${errnoName(-event.ret)}, requested by ${by}`,
    );
    return;
  }
  const lived = device.createdAt
    ? `, ${seconds(event.time - device.createdAt)} after its creation`
    : '';
  log.info(
    {
      event: 'device.removed',
      ...ids.device(device, event.time, 'vfio.device.remove', device.removeBegan),
      ...durationFields(duration),
    },
    `removed ${deviceWords(device)} by ${by}${took(duration)}${lived}`,
  );
}

/** The fields that identify an object, its trace and its spans, and when it happened. */
class Ids {
  readonly #ids: TraceIds;
  readonly #wallOffset: (at: number) => number;

  constructor(ids: TraceIds, wallOffset: (at: number) => number) {
    this.#ids = ids;
    this.#wallOffset = wallOffset;
  }

  /** As the API shows times. @param at ns on the boot-time clock, 0 for never */
  time(at: number) {
    return shownTime(at, this.#wallOffset);
  }

  /** When that happened which a line is about: the line itself may be written long after it. */
  #eventTime(at: number) {
    return { eventTime: this.time(at)?.at };
  }

  /** @param at ns on the boot-time clock */
  parent(parent: Parent, at: number) {
    return { ...this.#eventTime(at), parent: parent.name };
  }

  /**
   * @param at ns on the boot-time clock
   * @param phase that the line is about, and when it began; else the line is about the lifecycle
   */
  device(device: Device, at: number, phase?: PhaseName, began = 0) {
    const { name, type, parentName, serial } = device;
    const span = phase
      ? this.#ids.phaseSpan(device, phase, began, at)
      : this.#ids.lifecycleSpan(device, at);
    return {
      ...this.#eventTime(at),
      ...{ device: name, mdevType: type, parent: parentName, incarnation: serial },
      ...spanFields(span),
    };
  }

  /** @param at ns on the boot-time clock */
  vm(vm: Vm, at: number) {
    const span = this.#ids.lifecycleSpan(vm, at);
    const { name: vmName, uuid: vmUuid } = vm.identity ?? {};
    return {
      ...this.#eventTime(at),
      ...{ vm: vmId(vm), vmName, vmUuid },
      process: taskFields(vm.task),
      ...spanFields(span),
    };
  }

  /** When it was found, repeated or resolved, and the root span of what it is about. @param at ns on the boot-time clock */
  violation({ trace, traceBegan }: Violation, at: number) {
    const span = trace === undefined ? undefined : this.#ids.rootSpan(trace, traceBegan, at);
    return { ...this.#eventTime(at), ...spanFields(span) };
  }
}

/** Where its VMM runs; name and UUID are among the fields that identify a VM. */
function guestFields({ identity }: Vm) {
  const { unit: systemdUnit, container, pod } = identity?.group ?? {};
  return { systemdUnit, container, pod };
}

/** Named as OpenTelemetry specifies for logs in other formats. */
function spanFields(span: SpanReference | undefined) {
  return span ? { trace_id: span.traceId, span_id: span.spanId } : {};
}

function taskFields(task: Task | undefined) {
  return task && { pid: task.pid, comm: task.comm };
}

/** @param ns -1 if unknown */
function durationFields(ns: number) {
  return ns < 0 ? {} : { durationNs: ns };
}

/** @param ns -1 if unknown */
function took(ns: number): string {
  return ns < 0 ? '' : ` in ${ns < SECOND ? `${(ns / 1e6).toFixed(1)} ms` : seconds(ns)}`;
}
