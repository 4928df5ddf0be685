/** Applies the steps of a scenario as they are added, so that tests can check the world in between. */

import { type EngineOptions, RuleEngine } from '../../src/engine/engine.ts';
import type { Sink } from '../../src/engine/sink.ts';
import type { Violation } from '../../src/engine/violation.ts';
import { EventCursor } from '../../src/events/cursor.ts';
import { encodeRecord, type RecordFields } from '../../src/events/encoder.ts';
import type { GroupMember, Host } from '../../src/events/host.ts';
import { type EventKind, POINTS, type PointName } from '../../src/events/points.ts';
import { FLAG } from '../../src/events/wire.gen.ts';
import { Dispatcher } from '../../src/lifecycle/dispatcher.ts';
import type { Device, Parent, Vm } from '../../src/lifecycle/objects.ts';
import { Registry } from '../../src/lifecycle/registry.ts';
import { World, type WorldOptions } from '../../src/lifecycle/world.ts';
import { LINUX_6_12 } from '../../src/scenario/kernels.ts';
import { Scenario } from '../../src/scenario/scenario.ts';

/** Less than the steps of a scenario, so that raw events keep their place in time; ns. */
const STEP = 1000;

export class ScenarioRunner {
  readonly scenario = new Scenario();
  readonly world: World;
  readonly dispatcher: Dispatcher;
  readonly engine: RuleEngine;
  readonly host: Host;
  /** "raised v1", "resolved v1" … in their order. */
  readonly changes: string[] = [];
  /** Get transitions before the rules do, and what these find; subclasses add theirs. */
  readonly sinks: Sink[] = [
    { violation: ({ id }, change) => this.changes.push(`${change} ${id}`) },
  ];
  readonly #offers = new Map<string, ReadonlyMap<string, number>>();
  readonly #groups = new Map<number, readonly GroupMember[]>();
  /** How many steps of the scenario have been applied. */
  #applied = 0;
  #time = 0;

  constructor(rules: Partial<EngineOptions> = {}, world: WorldOptions = { endedObjects: 1000 }) {
    this.world = new World(world);
    this.dispatcher = new Dispatcher(this.world);
    this.host = rules.host ?? {
      traits: LINUX_6_12,
      pidsWithKvmFiles: () => this.scenario.kvmPids,
      availableInstances: (parent) => this.#offers.get(parent) ?? new Map(),
      groupMembers: (group) => this.#groups.get(group),
    };
    const { host, sinks } = this;
    this.engine = new RuleEngine(this.world, { rules: [], ...rules, host, sinks });
  }

  /** Applies the steps that have been added and not applied yet. */
  flush(): this {
    const { steps } = this.scenario;
    for (; this.#applied < steps.length; this.#applied++) {
      const step = steps[this.#applied];
      if (typeof step === 'number') {
        this.#time = step;
        this.engine.tick(step);
        for (const sink of this.sinks) sink.tick?.(step);
      } else if (step instanceof Uint8Array) {
        this.#apply(step);
      } else if (step === 'loss') {
        this.world.lose();
      } else if (step instanceof Map) {
        for (const [parent, offer] of step) this.#offers.set(parent, offer);
      } else if (typeof step === 'object' && 'members' in step) {
        this.#groups.set(step.group, step.members);
      }
    }
    return this;
  }

  /** Adds steps to the scenario and applies them. */
  run<Result>(part: (scenario: Scenario) => Result): Result {
    const result = part(this.scenario);
    this.flush();
    return result;
  }

  /** An event that no step of scenarios emits. */
  raw(transition: EventKind, fields: Partial<RecordFields> = {}): void {
    this.flush();
    const split = transition.lastIndexOf(':');
    const point = POINTS[transition.slice(0, split) as PointName];
    const flags = (fields.flags ?? 0) | (transition.endsWith(':end') ? FLAG.EVENT_END : 0);
    const base = { time: this.#time + STEP, seq: 0, pid: 500, tid: fields.pid ?? 500, comm: 'sh' };
    this.#apply(encodeRecord({ ...base, ...fields, point, flags }));
  }

  /** Events are lost. */
  lose(): void {
    this.flush();
    this.world.lose();
  }

  device(name: string): Device | undefined {
    return this.flush().world.devices.named(name);
  }

  onlyVm(): Vm {
    const [vm, ...others] = this.flush().world.vms;
    if (!vm || others.length > 0) throw new Error(`${others.length + (vm ? 1 : 0)} VMs exist`);
    return vm;
  }

  onlyParent(): Parent {
    const [parent, ...others] = this.flush().world.parents;
    if (!parent || others.length > 0) throw new Error('there is not one parent');
    return parent;
  }

  violations(): Violation[] {
    return this.flush().engine.list();
  }

  /** How many entries each table of the world holds; only those that are not empty. */
  leftovers(): Record<string, number> {
    const { world } = this.flush();
    const tables = Object.entries(world).filter(
      (entry): entry is [string, { size: number }] =>
        typeof entry[1] === 'object' && 'size' in entry[1],
    );
    const sizes = tables.flatMap(([name, table]) => [
      [name, table.size] as const,
      ...(table instanceof Registry ? [[`${name} indexed`, table.indexed] as const] : []),
    ]);
    return Object.fromEntries(sizes.filter(([, size]) => size > 0));
  }

  #apply(bytes: Uint8Array): void {
    const event = new EventCursor(bytes.buffer as ArrayBuffer);
    this.#time = Math.max(this.#time, event.time);
    const transition = this.dispatcher.apply(event);
    for (const sink of this.sinks) sink.event?.(transition);
    this.engine.check(transition);
  }
}
