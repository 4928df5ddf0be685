/**
 * The lifecycle of each device and VM as a trace: a span for each phase, sent when the phase ends,
 * and the root span, sent when the lifecycle is over. A log record reports a phase that takes long
 * while it is in progress, and a violation. Ids are derived from the object (trace-ids.ts), so that
 * each part can refer to others that have not been sent yet.
 */
import type { Attributes, Link } from '@opentelemetry/api';
import type { Change, Sink } from '../engine/sink.ts';
import type { Violation } from '../engine/violation.ts';
import { Device, Open, type Vm } from '../lifecycle/objects.ts';
import type { Transition } from '../lifecycle/transition.ts';
import type { World } from '../lifecycle/world.ts';
import { SECOND } from '../units.ts';
import { keyOf, objectOf, PHASES, type PhaseName, STEPS_OF, type Step } from './phases.ts';
import {
  deviceAttributes,
  deviceLifecycleAttributes,
  errorAttributes,
  openAttributes,
  taskAttributes,
  violationAttributes,
  vmAttributes,
  vmLifecycleAttributes,
} from './trace-attributes.ts';
import { objectSpanId, phaseSpanId, type TraceIds } from './trace-ids.ts';
import { linkTo, type SpanReference, type TraceOutput } from './trace-output.ts';

/** ns: what is in progress for longer gets a log record. */
const REPORT_AFTER = 1 * SECOND;
/** ns for which a root span waits for what the rules find about the end of the object. */
const RULES_WAIT = 3 * SECOND;
/** ns for which it waits for the end of a call in flight: to destroy a VM may take seconds. */
const CALL_WAIT = 60 * SECOND;
/** Most links of the root span of a VM, one for each open of a device. */
const MAX_LINKS = 128;

/** A phase that has not ended. */
interface CurrentPhase {
  readonly name: PhaseName;
  /** ns on the boot-time clock. */
  readonly began: number;
  /** See {@link keyOf}. */
  readonly key: Open | number;
  /** Whether a log record has reported that it is in progress. */
  reported: boolean;
  /** Ids of the rules that were violated in it. */
  readonly violated: string[];
}

interface EndedPhase {
  readonly followed: Followed;
  readonly phase: CurrentPhase;
  /** The phase that encloses it. */
  readonly parent: Pick<CurrentPhase, 'name' | 'began'> | undefined;
  /** ns on the boot-time clock. */
  readonly at: number;
  /** An errno, 0 for none. */
  readonly error: number;
  /** Whether an event reported the end. */
  readonly observed: boolean;
}

/** An object whose root span has not been sent. */
interface Followed {
  readonly object: Device | Vm;
  readonly phases: CurrentPhase[];
  readonly links: Link[];
  /** Ids of the rules that the object violated. */
  readonly violated: string[];
  /** Whether a log record has reported that the lifecycle is in progress. */
  reported: boolean;
}

export interface TracesOptions {
  readonly world: World;
  readonly ids: TraceIds;
  readonly output: TraceOutput;
}

export class LifecycleTraces implements Sink {
  readonly #world: World;
  readonly #ids: TraceIds;
  readonly #output: TraceOutput;
  /** By serial number. */
  readonly #objects = new Map<number, Followed>();
  /** Phases that the latest transition ended: they wait for what the rules find about it. */
  readonly #ended: EndedPhase[] = [];
  /** Objects with something that may have to be reported as in progress. */
  readonly #unreported = new Set<Followed>();

  constructor({ world, ids, output }: TracesOptions) {
    this.#world = world;
    this.#ids = ids;
    this.#output = output;
  }

  event(transition: Transition): void {
    if (this.#ended.length > 0) this.#sendEnded();
    const steps = STEPS_OF[transition.index];
    const object = steps && objectOf(transition, steps);
    const followed = object && this.#follow(object);
    if (!followed) return;
    for (const step of steps) this.#step(followed, step, transition);
  }

  /**
   * A violation is a log record in the span of the phase in which it was found, and fails that span from
   * severity warning up: what is merely worth knowing, such as a device that is used without a VM, is no failure.
   */
  violation(violation: Violation, change: Change): void {
    if (change === 'repeated' || change === 'waiters_found') return;
    const { incarnation: serial = vmSerial(violation), rule, severity, message } = violation;
    const followed = serial === undefined ? undefined : this.#objects.get(serial);
    const ended = this.#ended.findLast((one) => one.followed === followed);
    const phase = ended?.phase ?? followed?.phases.at(-1);
    const isResolved = change === 'resolved';
    if (!isResolved && severity !== 'info') {
      for (const violated of [phase?.violated, followed?.violated]) {
        if (violated?.includes(rule) === false) violated.push(rule);
      }
    }
    this.#output.emit({
      eventName: 'vfio.violation',
      at: isResolved ? violation.resolvedAt : violation.lastSeen,
      level: isResolved ? 'info' : severity,
      severityText: severity,
      body: isResolved ? `resolved: ${message}` : message,
      attributes: violationAttributes(violation, change),
      span: followed ? this.#spanOf(followed, phase) : rootSpan(violation.trace),
    });
  }

  /** Reports what is in progress, and sends the root spans of objects that are over. @param now ns on the boot-time clock */
  tick(now: number): void {
    this.#sendEnded();
    for (const followed of this.#unreported) this.#report(followed, now);
    for (const followed of this.#objects.values()) {
      const { object, phases } = followed;
      if (!object.isOver) continue;
      const quiet = now - object.timeline.lastTime();
      if (quiet >= (phases.length > 0 ? CALL_WAIT : RULES_WAIT)) this.#finish(followed);
    }
  }

  /** Root spans of objects that are over wait no longer; the next agent sends those of the others. */
  end(): void {
    this.#sendEnded();
    for (const followed of this.#objects.values()) {
      if (followed.object.isOver) this.#finish(followed);
    }
  }

  /** @returns undefined for an object that is over, and whose root span has been sent */
  #follow(object: Device | Vm): Followed | undefined {
    let followed = this.#objects.get(object.serial);
    if (!followed && !object.isOver) {
      followed = { object, phases: [], links: [], violated: [], reported: false };
      this.#objects.set(object.serial, followed);
      this.#unreported.add(followed);
    }
    return followed;
  }

  #step(followed: Followed, { phase: name, ends, ifFailed }: Step, transition: Transition): void {
    const { event } = transition;
    const key = keyOf(transition, name);
    const at = followed.phases.findIndex((one) => one.name === name && one.key === key);
    if (!ends) {
      if (at >= 0) return;
      followed.phases.push({ name, began: event.time, key, reported: false, violated: [] });
      this.#unreported.add(followed);
      return;
    }
    if (at < 0 || (ifFailed && event.ret >= 0)) return;
    const [phase] = followed.phases.splice(at, 1);
    const isOpen = name === 'vfio.device.open';
    const error = event.ret < 0 && (ifFailed || !isOpen) ? -event.ret : 0;
    this.#endPhase(followed, phase, event.time, error);
  }

  /** @param observed whether an event reported the end */
  #endPhase(followed: Followed, phase: CurrentPhase, at: number, error = 0, observed = true): void {
    const { within } = PHASES[phase.name];
    const isParent = (one: CurrentPhase) => one.name === within && one.key === phase.key;
    const parent = followed.phases.find(isParent);
    this.#ended.push({ followed, phase, parent, at, error, observed });
  }

  #sendEnded(): void {
    for (const ended of this.#ended.splice(0)) this.#sendPhase(ended);
  }

  #sendPhase({ followed, phase, parent, at, error, observed }: EndedPhase): void {
    const { object } = followed;
    const traceId = this.#ids.traceIdOf(object);
    if (!traceId) return;
    const { name, began, key, violated } = phase;
    const spanId = phaseSpanId(traceId, name, began);
    const failed = errorAttributes(error);
    const isOpen = name === 'vfio.device.open' && key instanceof Open;
    this.#output.send({
      ...{ traceId, name, spanId, began, ended: at },
      parentId: parent ? phaseSpanId(traceId, parent.name, parent.began) : objectSpanId(traceId),
      attributes: {
        'vfio.span.part': 'phase',
        ...(object instanceof Device ? deviceAttributes(object) : vmAttributes(object)),
        ...phaseAttributes(object, phase),
        ...failed,
        ...(observed ? {} : { 'vfio.end.observed': false }),
      },
      links: isOpen ? this.#link(key, { traceId, spanId }) : [],
      failure: failureOf(failed['error.type']?.toString(), violated),
    });
  }

  /** Links the span of an open to the trace of its VM, and back. @returns the link to the VM */
  #link({ vm }: Open, span: SpanReference): readonly Link[] {
    const vmSpan = vm && rootSpan(this.#ids.traceIdOf(vm));
    if (!vmSpan) return [];
    const links = this.#follow(vm)?.links;
    if (links && links.length < MAX_LINKS) links.push(linkTo(span));
    return [linkTo(vmSpan)];
  }

  #finish(followed: Followed): void {
    const { object, phases, links, violated } = followed;
    this.#objects.delete(object.serial);
    this.#unreported.delete(followed);
    const span = rootSpan(this.#ids.traceIdOf(object));
    if (!span) return;
    const ended = Math.max(object.timeline.lastTime(), beginOf(object));
    while (phases.length > 0) {
      this.#endPhase(followed, phases.pop() as CurrentPhase, ended, 0, false);
    }
    this.#sendEnded();
    const attributes =
      object instanceof Device
        ? deviceLifecycleAttributes(object, this.#world)
        : vmLifecycleAttributes(object, this.#world);
    this.#output.send({
      ...span,
      name: nameOf(object),
      parentId: undefined,
      began: beginOf(object),
      ended,
      attributes,
      links,
      failure: failureOf(attributes['error.type']?.toString(), violated),
    });
  }

  /** Reports what has been in progress long enough, and remembers whether something else may be. */
  #report(followed: Followed, now: number): void {
    const { object, phases } = followed;
    // A record cannot be sent before the object can be identified.
    if (!this.#ids.traceIdOf(object)) return;
    let isDone = true;
    for (const phase of [undefined, ...phases]) {
      const what = phase ?? followed;
      if (what.reported) continue;
      what.reported = now - (phase?.began ?? beginOf(object)) >= REPORT_AFTER && !object.isOver;
      if (what.reported) this.#emitProgress(followed, phase);
      else isDone = false;
    }
    if (isDone || object.isOver) this.#unreported.delete(followed);
  }

  /** @param phase undefined for the lifecycle itself */
  #emitProgress(followed: Followed, phase: CurrentPhase | undefined): void {
    const { object } = followed;
    const name = phase?.name ?? nameOf(object);
    this.#output.emit({
      eventName: 'vfio.phase.began',
      at: phase?.began ?? beginOf(object),
      level: 'info',
      severityText: 'info',
      body: `${name} is in progress`,
      attributes: {
        'vfio.phase': name,
        ...(object instanceof Device ? deviceAttributes(object) : vmAttributes(object)),
        ...(phase ? phaseAttributes(object, phase) : {}),
      },
      span: this.#spanOf(followed, phase),
    });
  }

  #spanOf({ object }: Followed, phase: CurrentPhase | undefined): SpanReference | undefined {
    const traceId = this.#ids.traceIdOf(object);
    if (!traceId || !phase) return rootSpan(traceId);
    return { traceId, spanId: phaseSpanId(traceId, phase.name, phase.began) };
  }
}

/** The root span of a trace. */
function rootSpan(traceId: string | undefined): SpanReference | undefined {
  return traceId ? { traceId, spanId: objectSpanId(traceId) } : undefined;
}

function nameOf(object: Device | Vm): string {
  return object instanceof Device ? 'vfio.device.lifecycle' : 'vfio.vm.lifecycle';
}

function beginOf(object: Device | Vm): number {
  return (object instanceof Device && object.createBegan) || object.firstSeen;
}

/** The task that made the call of a phase. */
function phaseAttributes(object: Device | Vm, { name, key }: CurrentPhase): Attributes {
  if (key instanceof Open) return openAttributes(key);
  if (!(object instanceof Device)) return {};
  if (name === 'vfio.device.create') return taskAttributes(object.creator);
  return name === 'vfio.device.remove' ? taskAttributes(object.remover) : {};
}

/** "EBUSY, open-failed": what the kernel returned, and the rules that were violated. */
function failureOf(errno: string | undefined, violated: readonly string[]): string | undefined {
  return [...(errno ? [errno] : []), ...violated].join(', ') || undefined;
}

/** The serial number of the VM that a violation is about. */
function vmSerial({ vm }: Violation): number | undefined {
  return vm && Number(vm.id.slice('vm'.length));
}
