/** A story that is lived as it is told, so that tests can look at the world after each step. */
import { EventCursor } from '../events/cursor.ts';
import { encodeRecord, type RecordFields } from '../events/encoder.ts';
import { FLAG } from '../events/wire.gen.ts';
import type { Moment } from '../lifecycle/moment.ts';
import type { Device, Parent, Vm } from '../lifecycle/objects.ts';
import { type MomentName, POINTS, type PointName } from '../lifecycle/points.ts';
import { World, type WorldOptions } from '../lifecycle/world.ts';
import { type EngineOptions, RuleEngine } from './engine.ts';
import type { Host } from './rule.ts';
import { Story } from './story.ts';
import type { Violation } from './violation.ts';

/** Less than a story's own steps, so that raw events keep their place in time. */
const STEP = 1000;

export class Telling {
  readonly story = new Story();
  readonly world: World;
  readonly engine: RuleEngine;
  readonly host: Host;
  /** "raised v1", "resolved v1" … in the order in which they were told. */
  readonly changes: string[] = [];
  /** Sees each moment before the rules do, as a sink of the agent does. */
  sink: (moment: Moment) => void = () => {};
  readonly #offers = new Map<string, ReadonlyMap<string, number>>();
  #told = 0;
  #time = 0;

  constructor(rules: Partial<EngineOptions> = {}, world: WorldOptions = { endedLives: 1000 }) {
    this.world = new World(world);
    this.host = rules.host ?? {
      kernel: [6, 12],
      pidsWithKvmFiles: () => this.story.kvmPids,
      availableInstances: (parent) => this.#offers.get(parent),
    };
    this.engine = new RuleEngine(this.world, { rules: [], ...rules, host: this.host });
    this.engine.onViolation = ({ id }, change) => this.changes.push(`${change} ${id}`);
  }

  /** Lets everything happen that was told and has not happened yet. */
  live(): this {
    const { steps } = this.story;
    for (; this.#told < steps.length; this.#told++) {
      const step = steps[this.#told];
      if (typeof step === 'number') {
        this.#time = step;
        this.engine.tick(step);
      } else if (step instanceof Uint8Array) {
        this.#apply(step);
      } else if (step === 'loss') {
        this.world.lose();
      } else if (step instanceof Map) {
        for (const [parent, offer] of step) this.#offers.set(parent, offer);
      }
    }
    return this;
  }

  /** Tells a part of the story and lets it happen. */
  tell<Result>(part: (story: Story) => Result): Result {
    const result = part(this.story);
    this.live();
    return result;
  }

  /** An event that no story has a word for. */
  raw(moment: MomentName, fields: Partial<RecordFields> = {}): void {
    this.live();
    const split = moment.lastIndexOf(':');
    const point = POINTS[moment.slice(0, split) as PointName];
    const flags = (fields.flags ?? 0) | (moment.endsWith(':end') ? FLAG.EVENT_END : 0);
    const base = { time: this.#time + STEP, seq: 0, pid: 500, tid: fields.pid ?? 500, comm: 'sh' };
    this.#apply(encodeRecord({ ...base, ...fields, point, flags }));
  }

  /** Events were lost at this moment. */
  lose(): void {
    this.live();
    this.world.lose();
  }

  device(name: string): Device | undefined {
    return this.live().world.devicesByName.get(name);
  }

  onlyVm(): Vm {
    const [vm, ...others] = this.live().world.vms;
    if (!vm || others.length > 0) throw new Error(`${others.length + (vm ? 1 : 0)} VMs live`);
    return vm;
  }

  onlyParent(): Parent {
    const [parent, ...others] = this.live().world.parents;
    if (!parent || others.length > 0) throw new Error('there is not one parent');
    return parent;
  }

  violations(): Violation[] {
    return this.live().engine.list();
  }

  /** How many entries each table of the world holds; only those that are not empty. */
  leftovers(): Record<string, number> {
    const { world } = this.live();
    const tables = Object.entries(world).filter(
      (entry): entry is [string, { size: number }] =>
        typeof entry[1] === 'object' && 'size' in entry[1],
    );
    return Object.fromEntries(
      tables.filter(([, { size }]) => size > 0).map(([name, { size }]) => [name, size]),
    );
  }

  #apply(bytes: Uint8Array): void {
    const event = new EventCursor(bytes.buffer as ArrayBuffer);
    this.#time = Math.max(this.#time, event.time);
    const moment = this.world.apply(event);
    this.sink(moment);
    this.engine.check(moment);
  }
}
