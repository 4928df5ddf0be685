/**
 * The lifecycle of each device and VM as a trace: a span for each phase, sent when the phase ends,
 * and the root span, sent when the lifecycle is over. A log record reports a phase that takes long
 * while it is in progress, and a violation. Ids are derived from the object (trace-ids.ts), so that
 * each part can refer to others that have not been sent yet. What lasts long is cut into segments
 * (segments.ts): a span for each, linked to the one before.
 */
import type { Attributes, Link } from '@opentelemetry/api';
import type { Change, Sink } from '../engine/sink.ts';
import type { Violation } from '../engine/violation.ts';
import { Device, Open, type Vm } from '../lifecycle/objects.ts';
import type { Transition } from '../lifecycle/transition.ts';
import type { World } from '../lifecycle/world.ts';
import { SECOND } from '../units.ts';
import { keyOf, objectOf, PHASES, type PhaseName, STEPS_OF, type Step } from './phases.ts';
import { levelOf } from './severity.ts';
import {
  deviceAttributes,
  deviceLifecycleAttributes,
  errorAttributes,
  openAttributes,
  spanAttributes,
  taskAttributes,
  violationAttributes,
  vmAttributes,
  vmLifecycleAttributes,
} from './trace-attributes.ts';
import { rootSpanId, type SpanReference, type TraceIds } from './trace-ids.ts';
import { linkTo, type TraceOutput } from './trace-output.ts';

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
  /** When it was last cut, ns on the boot-time clock; when it began if it was not. */
  segmentBegan: number;
  /** See {@link keyOf}. */
  readonly key: Open | number;
  /** Whether a log record has reported that it is in progress. */
  reported: boolean;
  /** Ids of the rules that were violated in it since then. */
  violated: string[];
}

/** A phase, or a segment of it, that has ended. */
interface EndedPhase {
  readonly followed: Followed;
  readonly phase: CurrentPhase;
  /** The phase that encloses it. */
  readonly parent: Pick<CurrentPhase, 'name' | 'began'> | undefined;
  /** ns on the boot-time clock. */
  readonly at: number;
  /** An errno, 0 for none. */
  readonly error: number;
  readonly end: 'observed' | 'unobserved' | 'cut';
}

/** An object whose root span has not been sent. */
interface Followed {
  readonly object: Device | Vm;
  readonly phases: CurrentPhase[];
  /** The current segment, see segments.ts; undefined while the object has no trace id. */
  segment: number | undefined;
  /** When its segment began, ns on the boot-time clock. */
  segmentBegan: number;
  /** When it is cut next, or its segment has to be found out, ns on the boot-time clock. */
  cutDue: number;
  /** Of its segment, like the next. */
  links: Link[];
  /** Ids of the rules that the object violated. */
  violated: string[];
  /** Rules by the id of the ongoing violation, from severity warning up. */
  readonly ongoing: Map<string, string>;
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
    if (transition.event.time >= followed.cutDue) this.#cutIfDue(followed, transition.event.time);
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
    const isResolved = change === 'resolved';
    const at = isResolved ? violation.resolvedAt : violation.lastSeen;
    if (followed && !followed.object.isOver) this.#cutIfDue(followed, at);
    const ended = this.#ended.findLast((one) => one.followed === followed);
    const phase = ended?.phase ?? followed?.phases.at(-1);
    if (isResolved) {
      followed?.ongoing.delete(violation.id);
    } else if (severity !== 'info') {
      if (violation.ongoing) followed?.ongoing.set(violation.id, rule);
      for (const violated of [phase?.violated, followed?.violated]) {
        if (violated?.includes(rule) === false) violated.push(rule);
      }
    }
    this.#output.emit({
      eventName: 'vfio.violation',
      at,
      level: levelOf(severity, isResolved),
      body: isResolved ? `resolved: ${message}` : message,
      attributes: violationAttributes(violation, change),
      span: followed ? this.#spanOf(followed, phase, at) : this.#spanOfViolation(violation, at),
    });
  }

  /** Reports what is in progress, cuts what is too old, and sends the root spans of objects that are over. @param now ns on the boot-time clock */
  tick(now: number): void {
    this.#sendEnded();
    for (const followed of this.#unreported) this.#report(followed, now);
    for (const followed of this.#objects.values()) {
      const { object, phases } = followed;
      if (!object.isOver) {
        if (now >= followed.cutDue) this.#cutIfDue(followed, now);
        continue;
      }
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
      followed = {
        ...{ object, phases: [], links: [], violated: [], ongoing: new Map(), reported: false },
        ...{ segment: undefined, segmentBegan: object.began, cutDue: 0 },
      };
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
      const began = event.time;
      const phase = { name, began, segmentBegan: began, key, reported: false, violated: [] };
      followed.phases.push(phase);
      this.#unreported.add(followed);
      return;
    }
    if (at < 0 || (ifFailed && event.ret >= 0)) return;
    const [phase] = followed.phases.splice(at, 1);
    const isOpen = name === 'vfio.device.open';
    const error = event.ret < 0 && (ifFailed || !isOpen) ? -event.ret : 0;
    this.#ended.push({
      ...{ followed, phase, parent: enclosing(followed, phase), at: event.time, error },
      end: 'observed',
    });
  }

  /** Ends the segments that are over at some time, and begins the next. @param now ns on the boot-time clock */
  #cutIfDue(followed: Followed, now: number): void {
    if (now < followed.cutDue) return;
    const { object } = followed;
    const { began } = object;
    const traceId = this.#ids.traceIdOf(object);
    if (!traceId) return;
    const { segments } = this.#ids;
    let segment = followed.segment ?? segments.at(traceId, began);
    let due = segments.dueAt(traceId, began, segment);
    followed.segment = segment;
    while (now >= due) {
      this.#cut(followed, traceId, segment);
      followed.segment = ++segment;
      due = segments.dueAt(traceId, began, segment);
    }
    followed.cutDue = due;
  }

  /** Sends a segment of the lifecycle, and of each phase that has begun in it and not ended. */
  #cut(followed: Followed, traceId: string, segment: number): void {
    const at = this.#ids.segments.beginOf(traceId, segment + 1);
    const ongoing = new Set(followed.ongoing.values());
    // Phases that have ended belong to it as well.
    this.#sendEnded();
    for (const phase of followed.phases) {
      if (phase.segmentBegan >= at) continue;
      const parent = enclosing(followed, phase);
      this.#sendPhase({ followed, phase, parent, at, error: 0, end: 'cut' }, segment);
      phase.segmentBegan = at;
      phase.violated = phase.violated.filter((rule) => ongoing.has(rule));
    }
    this.#sendLifecycle(followed, traceId, at, false);
    followed.segmentBegan = at;
    followed.links = [];
    followed.violated = [...ongoing];
  }

  #sendEnded(): void {
    for (const ended of this.#ended.splice(0)) this.#sendPhase(ended);
  }

  /** @param segment in which it ended, where that is known */
  #sendPhase(ended: EndedPhase, segment = this.#segmentOf(ended)): void {
    const { followed, phase, parent, at, error, end } = ended;
    const { object } = followed;
    const traceId = this.#ids.traceIdOf(object);
    if (!traceId || segment === undefined) return;
    const { name, began, segmentBegan, key, violated } = phase;
    const idIn = (which: number) => this.#ids.phaseSpanId(traceId, name, began, which);
    const span = { traceId, spanId: idIn(segment) };
    const failed = errorAttributes(error);
    const isOpen = name === 'vfio.device.open' && key instanceof Open;
    const first = this.#ids.segments.at(traceId, began);
    this.#output.send({
      ...{ ...span, name, began: segmentBegan, ended: at },
      parentId: parent
        ? this.#ids.phaseSpanId(traceId, parent.name, parent.began, segment)
        : rootSpanId(traceId, segment),
      attributes: {
        ...spanAttributes('phase', Math.max(1, segment - first + 1), end !== 'cut'),
        ...(object instanceof Device ? deviceAttributes(object) : vmAttributes(object)),
        ...phaseAttributes(object, phase),
        ...failed,
        ...(end === 'unobserved' ? { 'vfio.end.observed': false } : {}),
      },
      links: [
        ...(segment > first && segmentBegan > began
          ? [linkTo({ traceId, spanId: idIn(segment - 1) })]
          : []),
        ...(isOpen ? this.#link(key, span, at) : []),
      ],
      failure: failureOf(failed['error.type']?.toString(), violated),
    });
  }

  /** An event that is late is in the segment that its phase is in. */
  #segmentOf({ followed: { object }, phase, at }: EndedPhase): number | undefined {
    const traceId = this.#ids.traceIdOf(object);
    const time = Math.max(at, phase.segmentBegan);
    return traceId ? this.#ids.segments.of(traceId, object.began, time) : undefined;
  }

  /** Links the span of an open to the trace of its VM, and back. @returns the link to the VM */
  #link({ vm }: Open, span: SpanReference, at: number): readonly Link[] {
    const vmSpan =
      vm && this.#ids.lifecycleSpan(vm, vm.isOver ? Math.min(at, vm.timeline.lastTime()) : at);
    if (!vmSpan) return [];
    const links = this.#follow(vm)?.links;
    if (links && links.length < MAX_LINKS) links.push(linkTo(span));
    return [linkTo(vmSpan)];
  }

  #finish(followed: Followed): void {
    const { object, phases } = followed;
    const ended = Math.max(object.timeline.lastTime(), followed.segmentBegan);
    this.#cutIfDue(followed, ended);
    this.#objects.delete(object.serial);
    this.#unreported.delete(followed);
    const traceId = this.#ids.traceIdOf(object);
    if (!traceId) return;
    while (phases.length > 0) {
      const phase = phases.pop() as CurrentPhase;
      const parent = enclosing(followed, phase);
      this.#ended.push({ followed, phase, parent, at: ended, error: 0, end: 'unobserved' });
    }
    this.#sendEnded();
    this.#sendLifecycle(followed, traceId, ended, true);
  }

  /** @param ended ns on the boot-time clock @param isLast whether the lifecycle is over */
  #sendLifecycle(followed: Followed, traceId: string, ended: number, isLast: boolean): void {
    const { object, segment = 0, segmentBegan: began, links, violated } = followed;
    const number = segment - this.#ids.segments.at(traceId, object.began) + 1;
    const attributes =
      object instanceof Device
        ? deviceLifecycleAttributes(object, this.#world)
        : vmLifecycleAttributes(object, this.#world);
    const previous = { traceId, spanId: rootSpanId(traceId, segment - 1) };
    this.#output.send({
      ...{ traceId, spanId: rootSpanId(traceId, segment), parentId: undefined },
      ...{ name: nameOf(object), began, ended },
      attributes: { ...spanAttributes('lifecycle', number, isLast), ...attributes },
      links: [...(number > 1 ? [linkTo(previous)] : []), ...links],
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
      what.reported = now - (phase?.began ?? object.began) >= REPORT_AFTER && !object.isOver;
      if (what.reported) this.#emitProgress(followed, phase, now);
      else isDone = false;
    }
    if (isDone || object.isOver) this.#unreported.delete(followed);
  }

  /** @param phase undefined for the lifecycle itself */
  #emitProgress(followed: Followed, phase: CurrentPhase | undefined, now: number): void {
    const { object } = followed;
    const name = phase?.name ?? nameOf(object);
    this.#output.emit({
      eventName: 'vfio.phase.began',
      at: phase?.began ?? object.began,
      level: 'info',
      body: `${name} is in progress`,
      attributes: {
        'vfio.phase': name,
        ...(object instanceof Device ? deviceAttributes(object) : vmAttributes(object)),
        ...(phase ? phaseAttributes(object, phase) : {}),
      },
      span: this.#spanOf(followed, phase, now),
    });
  }

  /** The span that is current at some time. @param phase undefined for the lifecycle itself */
  #spanOf({ object }: Followed, phase: CurrentPhase | undefined, at: number) {
    return phase
      ? this.#ids.phaseSpan(object, phase.name, phase.began, at)
      : this.#ids.lifecycleSpan(object, at);
  }

  /** The root span of an object that is not followed any more. */
  #spanOfViolation({ trace, traceBegan }: Violation, at: number): SpanReference | undefined {
    return trace === undefined ? undefined : this.#ids.rootSpan(trace, traceBegan, at);
  }
}

/** The phase that encloses another and has not ended. */
function enclosing({ phases }: Followed, { name, key }: CurrentPhase): CurrentPhase | undefined {
  const { within } = PHASES[name];
  return within && phases.find((one) => one.name === within && one.key === key);
}

function nameOf(object: Device | Vm): string {
  return object instanceof Device ? 'vfio.device.lifecycle' : 'vfio.vm.lifecycle';
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
