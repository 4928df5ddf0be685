/**
 * Each life of a device or a VM as a trace: a span for each phase, sent when the phase ends, and
 * the span of the life at its end. What lasts is told by a log record meanwhile, and so is a
 * violation. Ids are derived (life-ids.ts), so each part names others that are not sent yet.
 */
import {
  type Attributes,
  type Context,
  type Link,
  type Logger,
  ROOT_CONTEXT,
  SeverityNumber,
  SpanStatusCode,
  TraceFlags,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import type { Moment } from '../lifecycle/moment.ts';
import { Device, Open, type Vm } from '../lifecycle/objects.ts';
import type { World } from '../lifecycle/world.ts';
import type { Change } from '../rules/engine.ts';
import { SECOND, type Severity } from '../rules/rule.ts';
import type { Violation } from '../rules/violation.ts';
import type { ChosenIds } from './chosen-ids.ts';
import { type LifeIds, lifeSpanId, phaseSpanId } from './life-ids.ts';
import { keyOf, lifeOf, PHASES, type PhaseName, STEPS_OF, type Step } from './phases.ts';
import {
  deviceAttributes,
  deviceLifeAttributes,
  errorAttributes,
  openAttributes,
  taskAttributes,
  violationAttributes,
  vmAttributes,
  vmLifeAttributes,
} from './trace-attributes.ts';

/** What lasts longer, in ns, is told while it lasts. */
const TELL_AFTER = 1 * SECOND;
/** How long the span of a life waits, in ns, for what the rules say about its end. */
const VERDICT = 3 * SECOND;
/** How long it waits, in ns, for the end of a call that goes on: taking a VM apart may take seconds. */
const LAST_CALL = 60 * SECOND;
/** Links that the span of a VM's life has at most: one for each open of a device. */
const MAX_LINKS = 128;

const SEVERITY: Readonly<Record<Severity, SeverityNumber>> = {
  info: SeverityNumber.INFO,
  warning: SeverityNumber.WARN,
  error: SeverityNumber.ERROR,
  critical: SeverityNumber.FATAL,
};

/** A phase that has not ended. */
interface Going {
  readonly name: PhaseName;
  /** ns on the boot-time clock. */
  readonly began: number;
  /** See {@link keyOf}. */
  readonly key: Open | number;
  told: boolean;
  /** The rules that were broken in it. */
  readonly broken: string[];
}

interface Ended {
  readonly followed: Followed;
  readonly going: Going;
  /** The span that it lies in. */
  readonly parent: PhaseSpan | undefined;
  /** ns on the boot-time clock. */
  readonly at: number;
  /** An errno, 0 for none. */
  readonly error: number;
  /** Whether an event told it. */
  readonly seen: boolean;
}

type PhaseSpan = Pick<Going, 'name' | 'began'>;

/** What is followed of a life, from when it is first heard of until its span is sent. */
interface Followed {
  readonly life: Device | Vm;
  readonly going: Going[];
  readonly links: Link[];
  readonly broken: string[];
  told: boolean;
}

/** A span of which everything is known. */
interface Whole {
  readonly name: string;
  readonly spanId: string;
  readonly parentId: string | undefined;
  /** ns on the boot-time clock. */
  readonly began: number;
  readonly ended: number;
  readonly attributes: Attributes;
  readonly links: readonly Link[];
  /** Why it failed; undefined where it did not. */
  readonly failure: string | undefined;
}

export interface TracesOptions {
  readonly world: World;
  readonly ids: LifeIds;
  /** ns from the boot-time clock to 1970 */
  readonly wallOffset: () => number;
  readonly tracer: Tracer;
  /** Gives the tracer's spans their ids. */
  readonly chosen: ChosenIds;
  readonly logger: Logger;
}

export class LifeTraces {
  readonly #world: World;
  readonly #ids: LifeIds;
  readonly #wallOffset: () => number;
  readonly #tracer: Tracer;
  readonly #chosen: ChosenIds;
  readonly #logger: Logger;
  /** By serial number. */
  readonly #lives = new Map<number, Followed>();
  /** Phases that ended in the latest moment: they wait for what the rules say about it. */
  readonly #ended: Ended[] = [];
  /** With something to tell if it lasts. */
  readonly #untold = new Set<Followed>();

  constructor({ world, ids, wallOffset, tracer, chosen, logger }: TracesOptions) {
    this.#world = world;
    this.#ids = ids;
    this.#wallOffset = wallOffset;
    this.#tracer = tracer;
    this.#chosen = chosen;
    this.#logger = logger;
  }

  readonly take = (moment: Moment): void => {
    if (this.#ended.length > 0) this.#sendEnded();
    const steps = STEPS_OF[moment.index];
    const life = steps && lifeOf(moment, steps);
    const followed = life && this.#follow(life);
    if (!followed) return;
    for (const step of steps) this.#step(followed, step, moment);
  };

  /** A violation is a log record in the span of the phase in which it was found, and fails it. */
  violated(violation: Violation, change: Change): void {
    if (change === 'repeated') return;
    const { life: serial = vmSerial(violation), rule, severity, explanation } = violation;
    const followed = serial === undefined ? undefined : this.#lives.get(serial);
    const ended = this.#ended.findLast((one) => one.followed === followed);
    const phase = ended?.going ?? followed?.going.at(-1);
    if (change !== 'resolved') {
      for (const broken of [phase?.broken, followed?.broken]) {
        if (broken?.includes(rule) === false) broken.push(rule);
      }
    }
    const at = change === 'resolved' ? violation.resolvedAt : violation.lastSeen;
    this.#logger.emit({
      eventName: 'vfio.violation',
      timestamp: this.#hrTime(at),
      severityNumber: change === 'resolved' ? SeverityNumber.INFO : SEVERITY[severity],
      severityText: severity,
      body: change === 'resolved' ? `resolved: ${explanation}` : explanation,
      attributes: violationAttributes(violation, change),
      context: followed ? this.#contextOf(followed, phase) : lifeContext(violation.trace),
    });
  }

  /** Tells what lasts, and hands over the lives that are over. @param now ns on the boot-time clock */
  tick(now: number): void {
    this.#sendEnded();
    for (const followed of this.#untold) this.#tell(followed, now);
    for (const followed of this.#lives.values()) {
      const { life, going } = followed;
      if (!life.isOver) continue;
      const silent = now - life.timeline.lastTime();
      if (silent >= (going.length > 0 ? LAST_CALL : VERDICT)) this.#end(followed);
    }
  }

  /** The agent stops: lives that are over wait no longer, and the others are for the next agent to end. */
  endOver(): void {
    this.#sendEnded();
    for (const followed of this.#lives.values()) if (followed.life.isOver) this.#end(followed);
  }

  /** @returns undefined for a life that is over, and whose span has been sent */
  #follow(life: Device | Vm): Followed | undefined {
    let followed = this.#lives.get(life.serial);
    if (!followed && !life.isOver) {
      followed = { life, going: [], links: [], broken: [], told: false };
      this.#lives.set(life.serial, followed);
      this.#untold.add(followed);
    }
    return followed;
  }

  #step(followed: Followed, { phase, ends, ifFailed }: Step, moment: Moment): void {
    const { event } = moment;
    const key = keyOf(moment, phase);
    const at = followed.going.findIndex((one) => one.name === phase && one.key === key);
    if (!ends) {
      if (at >= 0) return;
      followed.going.push({ name: phase, began: event.time, key, told: false, broken: [] });
      this.#untold.add(followed);
      return;
    }
    if (at < 0 || (ifFailed && event.ret >= 0)) return;
    const [going] = followed.going.splice(at, 1);
    const isOpen = phase === 'vfio.device.open';
    const error = event.ret < 0 && (ifFailed || !isOpen) ? -event.ret : 0;
    this.#endPhase(followed, going, event.time, error);
  }

  /** @param seen whether an event told it */
  #endPhase(followed: Followed, going: Going, at: number, error = 0, seen = true): void {
    const { within } = PHASES[going.name];
    const isParent = (one: Going) => one.name === within && one.key === going.key;
    const parent = followed.going.find(isParent);
    this.#ended.push({ followed, going, parent, at, error, seen });
  }

  #sendEnded(): void {
    for (const ended of this.#ended.splice(0)) this.#sendPhase(ended);
  }

  #sendPhase({ followed, going, parent, at, error, seen }: Ended): void {
    const { life } = followed;
    const traceId = this.#ids.traceIdOf(life);
    if (!traceId) return;
    const { name, began, key, broken } = going;
    const spanId = phaseSpanId(traceId, name, began);
    const failed = errorAttributes(error);
    const isOpen = name === 'vfio.device.open' && key instanceof Open;
    this.#send(traceId, {
      ...{ name, spanId, began, ended: at },
      parentId: parent ? phaseSpanId(traceId, parent.name, parent.began) : lifeSpanId(traceId),
      attributes: {
        'vfio.span.part': 'phase',
        ...(life instanceof Device ? deviceAttributes(life) : vmAttributes(life)),
        ...phaseAttributes(life, going),
        ...failed,
        ...(seen ? {} : { 'vfio.end.seen': false }),
      },
      links: isOpen ? this.#join(key, traceId, spanId) : [],
      failure: failureOf(failed['error.type']?.toString(), broken),
    });
  }

  /** Links the trace of an open to that of its VM, and back. @returns the link to the VM */
  #join({ vm }: Open, traceId: string, spanId: string): readonly Link[] {
    const vmTrace = vm && this.#ids.traceIdOf(vm);
    if (!vmTrace) return [];
    const links = this.#follow(vm)?.links;
    if (links && links.length < MAX_LINKS) links.push({ context: { traceId, spanId, ...SAMPLED } });
    return [{ context: { traceId: vmTrace, spanId: lifeSpanId(vmTrace), ...SAMPLED } }];
  }

  #end(followed: Followed): void {
    const { life, going, links, broken } = followed;
    this.#lives.delete(life.serial);
    this.#untold.delete(followed);
    const traceId = this.#ids.traceIdOf(life);
    if (!traceId) return;
    const isDevice = life instanceof Device;
    const ended = Math.max(life.timeline.lastTime(), beginOf(life));
    while (going.length > 0) this.#endPhase(followed, going.pop() as Going, ended, 0, false);
    this.#sendEnded();
    this.#send(traceId, {
      name: isDevice ? 'vfio.device.life' : 'vfio.vm.life',
      spanId: lifeSpanId(traceId),
      parentId: undefined,
      began: beginOf(life),
      ended,
      attributes: isDevice
        ? deviceLifeAttributes(life, this.#world)
        : vmLifeAttributes(life, this.#world),
      links,
      failure: failureOf(undefined, broken),
    });
  }

  #send(traceId: string, whole: Whole): void {
    const { name, spanId, parentId, began, ended, attributes, links, failure } = whole;
    this.#chosen.next = { traceId, spanId };
    const parent = parentId ? contextOf(traceId, parentId) : ROOT_CONTEXT;
    const options = { startTime: this.#hrTime(began), attributes, links: [...links] };
    const span = this.#tracer.startSpan(name, options, parent);
    if (failure) span.setStatus({ code: SpanStatusCode.ERROR, message: failure });
    span.end(this.#hrTime(Math.max(began, ended)));
  }

  /** Tells what of a life has lasted, and keeps in mind whether there is more to tell. */
  #tell(followed: Followed, now: number): void {
    const { life, going } = followed;
    // Until the kernel has told which life it is, nothing can be said of it.
    const traceId = this.#ids.traceIdOf(life);
    if (!traceId) return;
    let isAllTold = true;
    for (const one of [undefined, ...going]) {
      const what = one ?? followed;
      if (what.told) continue;
      what.told = now - (one?.began ?? beginOf(life)) >= TELL_AFTER && !life.isOver;
      if (what.told) this.#tellBegan(followed, one);
      else isAllTold = false;
    }
    if (isAllTold || life.isOver) this.#untold.delete(followed);
  }

  /** @param going undefined: it is about the life itself */
  #tellBegan(followed: Followed, going: Going | undefined): void {
    const { life } = followed;
    const isDevice = life instanceof Device;
    const name = going?.name ?? (isDevice ? 'vfio.device.life' : 'vfio.vm.life');
    this.#logger.emit({
      eventName: 'vfio.phase.began',
      timestamp: this.#hrTime(going?.began ?? beginOf(life)),
      severityNumber: SeverityNumber.INFO,
      severityText: 'info',
      body: `${name} began and lasts`,
      attributes: {
        'vfio.phase': name,
        ...(isDevice ? deviceAttributes(life) : vmAttributes(life)),
        ...(going ? phaseAttributes(life, going) : {}),
      },
      context: this.#contextOf(followed, going),
    });
  }

  #contextOf({ life }: Followed, going: Going | undefined): Context {
    const traceId = this.#ids.traceIdOf(life);
    if (!traceId) return ROOT_CONTEXT;
    const spanId = going ? phaseSpanId(traceId, going.name, going.began) : lifeSpanId(traceId);
    return contextOf(traceId, spanId);
  }

  /** Seconds and ns are summed apart: together they are more than a double holds exactly. */
  #hrTime(at: number): [number, number] {
    const offset = this.#wallOffset();
    const seconds = Math.floor(at / SECOND) + Math.floor(offset / SECOND);
    const rest = (at % SECOND) + (offset % SECOND);
    return rest < SECOND ? [seconds, rest] : [seconds + 1, rest - SECOND];
  }
}

const SAMPLED = { traceFlags: TraceFlags.SAMPLED };

function contextOf(traceId: string, spanId: string): Context {
  return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, ...SAMPLED });
}

/** That of a life itself. */
function lifeContext(traceId: string | undefined): Context {
  return traceId ? contextOf(traceId, lifeSpanId(traceId)) : ROOT_CONTEXT;
}

function beginOf(life: Device | Vm): number {
  return (life instanceof Device && life.createBegan) || life.firstSeen;
}

/** Who made the call. */
function phaseAttributes(life: Device | Vm, { name, key }: Going): Attributes {
  if (key instanceof Open) return openAttributes(key);
  if (!(life instanceof Device)) return {};
  if (name === 'vfio.device.create') return taskAttributes(life.creator);
  return name === 'vfio.device.remove' ? taskAttributes(life.remover) : {};
}

/** "EBUSY, open-failed": what the kernel returned, and the rules that were broken. */
function failureOf(errno: string | undefined, broken: readonly string[]): string | undefined {
  return [...(errno ? [errno] : []), ...broken].join(', ') || undefined;
}

/** Of the VM that a violation is about. */
function vmSerial({ vm }: Violation): number | undefined {
  return vm && Number(vm.id.slice('vm'.length));
}
