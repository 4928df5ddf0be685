/** Fields of log lines that identify what a line is about, its trace, and when it happened. */
import { shownTime } from '../engine/json.ts';
import type { Violation } from '../engine/violation.ts';
import { vmId } from '../engine/words.ts';
import type { Task } from '../events/task.ts';
import type { Device, Parent, Vm } from '../lifecycle/objects.ts';
import type { PhaseName } from './phases.ts';
import type { SpanReference, TraceIds } from './trace-ids.ts';

/** The fields that identify an object, its trace and its spans, and when it happened. */
export class Ids {
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

/** Named as OpenTelemetry specifies for logs in other formats. */
function spanFields(span: SpanReference | undefined) {
  return span ? { trace_id: span.traceId, span_id: span.spanId } : {};
}

export function taskFields(task: Task | undefined) {
  return task && { pid: task.pid, comm: task.comm };
}

/** @param ns -1 if unknown */
export function durationFields(ns: number) {
  return ns < 0 ? {} : { durationNs: ns };
}
