/** Lives and violations as log lines: JSON for machines, one readable sentence for people. */
import type { Logger } from 'pino';
import type { Moment } from '../lifecycle/moment.ts';
import type { Device, Task, Vm } from '../lifecycle/objects.ts';
import { type MomentName, momentIndexOf } from '../lifecycle/points.ts';
import type { Change } from '../rules/engine.ts';
import { errnoName } from '../rules/errno.ts';
import { evidenceLines } from '../rules/evidence.ts';
import { SECOND, type Severity } from '../rules/rule.ts';
import { shownBlocked, shownHolder, shownParty } from '../rules/shown.ts';
import type { Violation } from '../rules/violation.ts';
import { behindLines, deviceWords, seconds, vmId, vmWords, who } from '../rules/words.ts';
import { type LifeIds, lifeSpanId, phaseSpanId } from './life-ids.ts';
import type { PhaseName } from './phases.ts';
import { RateLimit } from './rate-limit.ts';

/** Writes through a logger; `ids` gives the fields that name a life and its trace. */
type Write = (log: Logger, moment: Moment, ids: Ids) => void;

const LEVEL: Readonly<Record<Severity, 'info' | 'warn' | 'error'>> = {
  info: 'info',
  warning: 'warn',
  error: 'error',
  critical: 'error',
};

const ON: Readonly<Partial<Record<MomentName, Write>>> = {
  'mdev.parent.register:end': (log, { parent, event }) => {
    if (!parent || event.ret < 0) return;
    log.info(
      { event: 'parent.registered', parent: parent.name, driver: parent.driver },
      `parent   ${parent.name} registered by ${parent.driver}`,
    );
  },
  'mdev.parent.unregister:end': (log, { parent, duration }) => {
    if (!parent) return;
    log.info(
      { event: 'parent.unregistered', parent: parent.name, duration },
      `parent   ${parent.name} unregistered${took(duration)}`,
    );
  },
  'mdev.create:end': (log, { device, event, duration }, ids) => {
    if (!device) return;
    const by = who(device.creator);
    if (event.ret < 0) {
      log.info(
        {
          event: 'device.create_failed',
          ...ids.device(device, 'vfio.device.create', device.createBegan),
          errno: errnoName(-event.ret),
        },
        `refused  ${deviceWords(device)} on ${device.parentName}: ${errnoName(-event.ret)}, asked by ${by}`,
      );
    } else {
      log.info(
        {
          event: 'device.created',
          ...ids.device(device, 'vfio.device.create', device.createBegan),
          duration,
        },
        `created  ${deviceWords(device)} on ${device.parentName} by ${by}${took(duration)}`,
      );
    }
  },
  'vfio.device.open:end': (log, { device, open, event }, ids) => {
    if (!device || !open || event.ret < 0) return;
    const vm = open.vm ? `, for ${vmWords(open.vm)}` : ', without a VM';
    log.info(
      {
        event: 'device.opened',
        ...ids.device(device, 'vfio.device.open', open.firstSeen),
        process: taskFields(open.task),
      },
      `opened   ${deviceWords(device)} by ${who(open.task)}${vm}`,
    );
  },
  'vfio.device.close:end': (log, { device, open, event }, ids) => {
    if (!device || !open) return;
    const after = open.openedAt ? ` after ${seconds(event.time - open.openedAt)}` : '';
    log.info(
      {
        event: 'device.closed',
        ...ids.device(device, 'vfio.device.open', open.firstSeen),
        process: taskFields(open.task),
      },
      `closed   ${deviceWords(device)} by ${who(open.task)}${after}`,
    );
  },
  'vfio.unregister:begin': (log, { device }, ids) => {
    if (!device || device.openCount === 0) return;
    log.info(
      {
        event: 'device.remove_waits',
        ...ids.device(device, 'vfio.device.wait_for_users', device.unregisterBegan),
      },
      `waiting  to remove ${deviceWords(device)} for ${who(device.remover)}: it is open`,
    );
  },
  'mdev.remove:end': logRemoved,
  'mdev.remove_child:end': logRemoved,
  'vfio.register:end': (log, { device, event }, ids) => {
    if (!device || device.isMdev || event.ret < 0) return;
    log.info(
      { event: 'device.bound', ...ids.device(device) },
      `bound    ${device.name} to ${device.driver}`,
    );
  },
  'vfio.release:begin': (log, { device }, ids) => {
    if (!device || device.isMdev) return;
    log.info(
      { event: 'device.released', ...ids.device(device) },
      `released ${device.name} by ${device.driver}`,
    );
  },
  'kvm.vm.create:end': (log, { vm, event }, ids) => {
    if (!vm || event.ret < 0) return;
    log.info({ event: 'vm.created', ...ids.vm(vm) }, `created  ${vmWords(vm)}`);
  },
  'kvm.vm.destroy:end': (log, { vm, event }, ids) => {
    if (!vm) return;
    const lived = vm.createdAt ? ` after ${seconds(event.time - vm.createdAt)}` : '';
    log.info({ event: 'vm.destroyed', ...ids.vm(vm) }, `ended    ${vmWords(vm)}${lived}`);
  },
};

/** Repetitions of one act that come sooner than this, in ns, are counted in its next line. */
const QUIET = 10 * SECOND;

/** Takes moments and violations and writes them to a logger. */
export class LifeLog {
  readonly #log: Logger;
  readonly #write: (Write | undefined)[] = [];
  /** When a line about a violation was last written. */
  readonly #toldAt = new WeakMap<Violation, number>();
  readonly #ids: Ids;
  readonly #limit = new RateLimit();

  constructor(log: Logger, ids: LifeIds) {
    this.#log = log;
    this.#ids = new Ids(ids);
    for (const [name, write] of Object.entries(ON)) {
      this.#write[momentIndexOf(name as MomentName)] = write;
    }
  }

  readonly take = (moment: Moment): void => {
    this.#write[moment.index]?.(this.#log, moment, this.#ids);
  };

  /** Lines about violations that were held back, by rule. */
  get heldBack(): ReadonlyMap<string, number> {
    return this.#limit.heldBack;
  }

  /** Says what was held back. @param now ns on the boot-time clock; Infinity at the end */
  tick(now: number): void {
    for (const { rule, lines } of this.#limit.end(now)) {
      this.#log.warn(
        { event: 'violation.held_back', rule, lines },
        `held back ${lines} more lines about ${rule} within a minute; the API tells all violations`,
      );
    }
  }

  /** An act that is repeated gets a short line, and not each time. */
  violation(violation: Violation, change: Change): void {
    const { rule, severity, id, lastSeen, count, explanation } = violation;
    const toldAt = this.#toldAt.get(violation) ?? Number.NEGATIVE_INFINITY;
    if (change === 'repeated' && lastSeen - toldAt < QUIET) return;
    this.#toldAt.set(violation, lastSeen);
    this.tick(lastSeen);
    if (!this.#limit.admits(rule, lastSeen)) return;
    if (change === 'resolved') {
      const { firstSeen, resolvedAt } = violation;
      const fields = { ...idFields(violation, change), duration: resolvedAt - firstSeen };
      this.#log.info(fields, resolvedWords(violation));
      return;
    }
    const fields = { ...idFields(violation, change), ...behindFields(violation) };
    if (change === 'repeated') {
      this.#log[LEVEL[severity]](
        fields,
        `again    ${id} ${rule} (${severity}), ${count} times: ${explanation}`,
      );
    } else {
      const evidence = evidenceLines(violation.evidence);
      this.#log[LEVEL[severity]]({ ...fields, evidence }, violationText(violation, change));
    }
  }
}

/** What it is: enough to find it in the API. */
function idFields(violation: Violation, change: Change) {
  const { id, rule, severity, device, quality, count } = violation;
  return {
    event: `violation.${change}`,
    violation: id,
    ...{ rule, severity, device, quality, count },
    vm: violation.vm?.id,
    ...traceFields(violation.trace),
  };
}

function behindFields(violation: Violation) {
  const { explanation, holders, blocked, creator, remover } = violation;
  return {
    explanation,
    process: shownParty(violation.process),
    holders: holders.map((one) => ({ ...shownHolder(one), since: one.since || undefined })),
    blocked: shownBlocked(blocked),
    creator: shownParty(creator),
    remover: shownParty(remover),
  };
}

/** What is wrong, what happened this time, and who is behind it. */
function violationText(violation: Violation, change: Change): string {
  const { id, rule, severity, title, explanation } = violation;
  const word = change === 'escalated' ? 'ESCALATED' : 'VIOLATION';
  return [
    `${word} ${id} ${rule} (${severity}): ${title}`,
    explanation,
    ...behindLines(violation),
  ].join('\n  ');
}

function resolvedWords({ id, rule, device, vm, parent, firstSeen, resolvedAt }: Violation): string {
  const about = device ?? vm?.id ?? parent;
  const lasted = seconds(resolvedAt - firstSeen);
  return `resolved ${id} ${rule}${about ? ` of ${about}` : ''}, ${lasted} after it was raised`;
}

function logRemoved(log: Logger, { device, event, duration }: Moment, ids: Ids): void {
  if (!device) return;
  const by = who(device.remover);
  if (event.ret < 0) {
    log.info(
      {
        event: 'device.remove_failed',
        ...ids.device(device, 'vfio.device.remove', device.removeBegan),
        errno: errnoName(-event.ret),
      },
      `refused  to remove ${deviceWords(device)}: ${errnoName(-event.ret)}, asked by ${by}`,
    );
    return;
  }
  const lived = device.createdAt ? `, it lived ${seconds(event.time - device.createdAt)}` : '';
  log.info(
    {
      event: 'device.removed',
      ...ids.device(device, 'vfio.device.remove', device.removeBegan),
      duration,
    },
    `removed  ${deviceWords(device)} by ${by}${took(duration)}${lived}`,
  );
}

/** Names lives and their spans. */
class Ids {
  readonly #ids: LifeIds;

  constructor(ids: LifeIds) {
    this.#ids = ids;
  }

  /** @param phase that the line is about, and when it began; else it is about the life */
  device(device: Device, phase?: PhaseName, began = 0) {
    const { name, type, parentName, serial } = device;
    const trace = this.#ids.traceIdOf(device);
    const spans = traceFields(trace, trace && phase && phaseSpanId(trace, phase, began));
    return { device: name, type, parent: parentName, life: serial, ...spans };
  }

  vm(vm: Vm) {
    const spans = traceFields(this.#ids.traceIdOf(vm));
    return { vm: vmId(vm), process: taskFields(vm.task), ...spans };
  }
}

/** Named as OpenTelemetry wants them in logs that are not its own. */
function traceFields(trace: string | undefined, span = trace && lifeSpanId(trace)) {
  return trace ? { trace_id: trace, span_id: span } : {};
}

function taskFields(task: Task | undefined) {
  return task && { pid: task.pid, comm: task.comm };
}

/** @param ns -1 when not known */
function took(ns: number): string {
  return ns < 0 ? '' : ` in ${ns < 1e9 ? `${(ns / 1e6).toFixed(1)} ms` : seconds(ns)}`;
}
