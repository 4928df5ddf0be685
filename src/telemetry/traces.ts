/**
 * Each device life as a trace: a span for the life, and one inside it for each
 * thing that took time (create, open, remove). Only the OpenTelemetry API is
 * used here; without an SDK behind it, as by default, its spans are empty shells.
 */
import { type Context, context, type Span, SpanStatusCode, trace } from '@opentelemetry/api';
import type { Moment } from '../lifecycle/moment.ts';
import type { Device, Open } from '../lifecycle/objects.ts';
import { type MomentName, momentIndexOf } from '../lifecycle/points.ts';
import { errnoName } from '../rules/errno.ts';
import { SECOND } from '../rules/rule.ts';
import type { Violation } from '../rules/violation.ts';

type Finish = (traces: LifeTraces, moment: Moment) => void;

const ON: Readonly<Partial<Record<MomentName, Finish>>> = {
  'mdev.create:end': (traces, { device, event, duration }) => {
    if (!device) return;
    traces.phase(device, 'create', event.time, duration, event.ret);
    if (device.isOver) traces.end(device, event.time);
  },
  'mdev.probe:end': (traces, { device, event, duration }) => {
    if (device) traces.phase(device, 'bind', event.time, duration, event.ret);
  },
  'vfio.device.close:end': (traces, { open, event }) => {
    if (open) traces.opened(open, event.time);
  },
  'vfio.unregister:end': (traces, { device, event, duration }) => {
    if (device) traces.phase(device, 'wait_for_users', event.time, duration, 0);
  },
  'mdev.remove:end': (traces, { device, event, duration }) => {
    if (!device) return;
    traces.phase(device, 'remove', event.time, duration, event.ret);
    if (device.isOver) traces.end(device, event.time);
  },
  'mdev.remove_child:end': (traces, { device, event, duration }) => {
    if (!device) return;
    traces.phase(device, 'remove', event.time, duration, event.ret);
    if (device.isOver) traces.end(device, event.time);
  },
  'mdev.release:begin': (traces, { device, event }) => {
    // Somebody held the device when its removal returned.
    if (device?.removedAt) traces.end(device, event.time);
  },
  'vfio.release:begin': (traces, { device, event }) => {
    if (device?.isOver) traces.end(device, event.time);
  },
};

export class LifeTraces {
  readonly #tracer = trace.getTracer('vfioscope');
  readonly #lives = new Map<Device, { readonly span: Span; readonly context: Context }>();
  /** Lives that are over, and when; they wait for what the rules say about their last moment. */
  readonly #ending = new Map<Device, number>();
  readonly #finish: (Finish | undefined)[] = [];
  readonly #wallOffset: () => number;

  /** @param wallOffset ns from the boot-time clock to 1970 */
  constructor(wallOffset: () => number) {
    this.#wallOffset = wallOffset;
    for (const [name, finish] of Object.entries(ON)) {
      this.#finish[momentIndexOf(name as MomentName)] = finish;
    }
  }

  readonly take = (moment: Moment): void => {
    if (this.#ending.size > 0) this.flush();
    this.#finish[moment.index]?.(this, moment);
  };

  /** A violation is an event of the life that it happened in, and fails it. */
  violated(violation: Violation): void {
    for (const [device, { span }] of this.#lives) {
      if (device.serial !== violation.life) continue;
      const { id, rule, severity, explanation } = violation;
      const attributes = {
        ...{ 'vfio.violation.id': id, 'vfio.rule': rule },
        ...{ 'vfio.severity': severity, 'vfio.says': explanation },
      };
      span.addEvent('vfio.violation', attributes, this.#hrTime(violation.firstSeen));
      span.setStatus({ code: SpanStatusCode.ERROR, message: rule });
    }
  }

  /** @param end ns on the boot-time clock @param duration ns, -1 when its begin was not seen */
  phase(device: Device, name: string, end: number, duration: number, ret: number): void {
    if (duration < 0) return;
    const startTime = this.#hrTime(end - duration);
    const span = this.#tracer.startSpan(`vfio.device.${name}`, { startTime }, this.#life(device));
    if (ret < 0) span.setStatus({ code: SpanStatusCode.ERROR, message: errnoName(-ret) });
    span.end(this.#hrTime(end));
  }

  opened({ device, task, fd, openedAt }: Open, end: number): void {
    if (!openedAt) return;
    const attributes = {
      'process.pid': task.pid,
      'process.executable.name': task.comm,
      'vfio.device.fd': fd,
    };
    const startTime = this.#hrTime(openedAt);
    this.#tracer
      .startSpan('vfio.device.open', { startTime, attributes }, this.#life(device))
      .end(this.#hrTime(end));
  }

  end(device: Device, at: number): void {
    this.#ending.set(device, at);
  }

  /** Hands over the lives that are over. */
  flush(): void {
    for (const [device, at] of this.#ending) {
      this.#lives.get(device)?.span.end(this.#hrTime(at));
      this.#lives.delete(device);
    }
    this.#ending.clear();
  }

  /** Ends what is still open, so that an SDK can export it before the agent stops. */
  endAll(at: number): void {
    for (const device of this.#lives.keys()) {
      if (!this.#ending.has(device)) this.end(device, at);
    }
    this.flush();
  }

  #life(device: Device): Context {
    let life = this.#lives.get(device);
    if (!life) {
      const attributes = {
        'vfio.device.id': device.name,
        'vfio.device.type': device.type,
        'vfio.parent.name': device.parentName,
        'vfio.driver.name': device.driver,
      };
      const startTime = this.#hrTime(device.createBegan || device.firstSeen);
      const span = this.#tracer.startSpan('vfio.device.life', {
        startTime,
        attributes,
        root: true,
      });
      life = { span, context: trace.setSpan(context.active(), span) };
      this.#lives.set(device, life);
    }
    return life.context;
  }

  /** Seconds and ns are summed apart: together they are more than a double holds exactly. */
  #hrTime(at: number): [number, number] {
    const offset = this.#wallOffset();
    const seconds = Math.floor(at / SECOND) + Math.floor(offset / SECOND);
    const rest = (at % SECOND) + (offset % SECOND);
    return rest < SECOND ? [seconds, rest] : [seconds + 1, rest - SECOND];
  }
}
