/**
 * A world that starts late or loses events has, after a host snapshot, the state of one that got every
 * event: checked on random legal histories.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { RULES } from '../../src/catalogue.ts';
import { RuleEngine } from '../../src/engine/engine.ts';
import type { Violation } from '../../src/engine/violation.ts';
import { EventCursor } from '../../src/events/cursor.ts';
import { EVENT, POINT } from '../../src/events/wire.gen.ts';
import { Dispatcher } from '../../src/lifecycle/dispatcher.ts';
import { World } from '../../src/lifecycle/world.ts';
import { LINUX_6_12 } from '../../src/scenario/kernels.ts';
import type { Step } from '../../src/scenario/types.ts';
import { LegalHistory } from '../kit/legal-history.ts';
import { cases } from '../kit/random.ts';
import {
  applyAll,
  keyOf,
  snapshotBegins,
  snapshotDebugfs,
  snapshotEnds,
  snapshotFiles,
  snapshotSysfs,
} from '../kit/snapshot-records.ts';

// Shrinking a failure takes minutes; remove endOnFailure for it.
const RUNS = { ...cases(400), endOnFailure: true };

/** How many steps happen before each part of a host snapshot is read, and before its end. */
type Pauses = readonly [files: number, sysfs: number, debugfs: number, end: number];

interface Plan {
  readonly choices: readonly number[];
  readonly finish: boolean;
  /** When the agent attaches, in thousandths of the history, as are the other positions. */
  readonly attach: number;
  readonly losses: readonly { readonly at: number; readonly length: number }[];
  readonly snapshot: number;
  readonly pauses: Pauses;
}

/**
 * Calls whose effect a host snapshot cannot find before they return. If one of them was in flight at the
 * start or at a loss, another snapshot is needed afterwards.
 */
const INVISIBLE_UNTIL_RETURN = new Set<number>([
  POINT.MDEV_CREATE,
  POINT.VFIO_REGISTER,
  POINT.VFIO_DEVICE_GET_FD,
  POINT.VFIO_DEVICE_CLOSE,
  POINT.KVM_VM_CREATE,
]);

/** A world with the rules that judge it. */
class Side {
  readonly world = new World();
  readonly #dispatcher = new Dispatcher(this.world);
  readonly engine: RuleEngine;
  #pids: ReadonlySet<number> = new Set();

  constructor() {
    const host = { traits: LINUX_6_12, pidsWithKvmFiles: () => this.#pids };
    this.engine = new RuleEngine(this.world, { rules: RULES, host });
  }

  apply(step: Step): void {
    if (typeof step === 'number') this.engine.tick(step);
    else if (step instanceof Set) this.#pids = step;
    else if (step instanceof Uint8Array) {
      this.engine.check(this.#dispatcher.apply(new EventCursor(step.buffer as ArrayBuffer)));
    }
  }
}

/**
 * One history applied to two worlds: completely, and as it reaches an agent that starts late or loses
 * events.
 */
class Comparison {
  readonly full = new Side();
  readonly late = new Side();
  readonly steps: readonly Step[];
  #at = 0;
  #attached: boolean;
  #clock = 0;
  #missing = false;
  /** Calls whose begin was probed, as in the BPF map `calls`. */
  readonly #calls = new Map<string, number>();
  /** How many events had been lost when each call began. */
  readonly #lostBefore = new Map<string, number>();
  #lost = 0;
  /**
   * Whether a call returned whose effect the latest snapshot could not find, so that another one is due.
   */
  isSnapshotDue = false;

  constructor(steps: readonly Step[], attached: boolean) {
    this.steps = steps;
    this.#attached = attached;
  }

  get isOver(): boolean {
    return this.#at >= this.steps.length;
  }

  /** Whether the next step is a tick, at which the agent takes another host snapshot if one is due. */
  get isTick(): boolean {
    return typeof this.steps[this.#at] === 'number';
  }

  get at(): number {
    return this.#at;
  }

  advance(count: number, isLost: (at: number) => boolean = () => false): void {
    for (let i = 0; i < count && !this.isOver; i++) {
      const step = this.steps[this.#at];
      this.full.apply(step);
      if (this.#attached && this.#reaches(step, isLost(this.#at))) this.late.apply(step);
      this.#at++;
    }
  }

  attach(): void {
    this.#attached = true;
  }

  snapshot([files, sysfs, debugfs, end]: Pauses, isLost?: (at: number) => boolean): void {
    const { full, late } = this;
    this.detectLoss();
    applyAll(late.world, [snapshotBegins(this.#now())]);
    this.advance(files, isLost);
    const open = snapshotFiles(full.world, this.#now());
    this.advance(sysfs, isLost);
    const inSysfs = snapshotSysfs(full.world, this.#now());
    this.advance(debugfs, isLost);
    const listed = snapshotDebugfs(full.world, this.#now());
    const ends = snapshotEnds(this.#now());
    this.advance(end, isLost);
    for (const record of [...inSysfs, ...open, ...listed, ends]) late.apply(record);
    // That a VM is closed is known only if an earlier snapshot has found it, too.
    if (zombies(full.world) > zombies(late.world)) this.isSnapshotDue = true;
  }

  snapshotAgain(): void {
    this.isSnapshotDue = false;
    this.snapshot([0, 0, 0, 0]);
  }

  /** A time after all events and snapshot records so far. */
  #now(): number {
    this.#clock = Math.max(this.#clock, this.full.world.now) + 1;
    return this.#clock;
  }

  /** Whether a step reaches the late agent. @param isLost whether its record is lost in the ring */
  #reaches(step: Step, isLost: boolean): boolean {
    // The agent compares its counts each second, before the tick of the rules.
    if (typeof step === 'number') this.detectLoss();
    if (!(step instanceof Uint8Array)) return true;
    const event = new EventCursor(step.buffer as ArrayBuffer);
    const words = [EVENT.dev, EVENT.parent, EVENT.file].map((field) => event.words[field >> 2]);
    const call = [event.tid, event.point, ...words].join();
    const begun = this.#calls.get(call) ?? 0;
    if (!event.isEnd) this.#lostBefore.set(call, this.#lost);
    else if (INVISIBLE_UNTIL_RETURN.has(event.point) && this.#lostBefore.get(call) !== this.#lost) {
      this.isSnapshotDue = true;
    }
    if (event.isEnd && begun === 0) return false;
    this.#calls.set(call, begun + (event.isEnd ? -1 : 1));
    if (isLost) {
      this.#lost++;
      this.#missing = true;
      return false;
    }
    this.detectLoss();
    return true;
  }

  /** Makes the late agent detect the events that were lost. */
  detectLoss(): void {
    if (this.#missing) this.late.world.lose();
    this.#missing = false;
  }
}

function zombies(world: World): number {
  return [...world.vms].filter(({ state }) => state === 'zombie').length;
}

/** The live objects and their states, by name or key. */
function objects(world: World): Record<string, string> {
  const lines: [string, string][] = [];
  for (const { name, state } of world.parents) lines.push([`parent ${name}`, state]);
  for (const device of world.devices) {
    const vm = device.vm ? keyOf(device.vm) : 'no VM';
    lines.push([`device ${device.name}`, `${device.state} ${device.openCount} ${vm}`]);
    for (const open of device.opens) lines.push([`open ${keyOf(open)}`, open.state]);
  }
  // A snapshot cannot find a VM that is being destroyed.
  for (const vm of world.vms) if (!vm.isGone) lines.push([`vm ${vm.creatorTid}`, vm.state]);
  assert.equal(new Set(lines.map(([name]) => name)).size, lines.length, 'an object exists twice');
  return Object.fromEntries(lines.sort());
}

/** The rule with each object that it was violated by: a violation counts all devices of one cause. */
function violated({ rule, devices }: Violation): string[] {
  return devices.length === 0 ? [rule] : devices.map((device) => `${rule} ${device}`);
}

function compare({ full, late }: Comparison): void {
  const expected = objects(full.world);
  const found = objects(late.world);
  // sysfs does not show a parent that is being unregistered, and without devices nothing else does.
  for (const name of Object.keys(expected)) {
    if (expected[name] === 'unregistering' && !(name in found)) delete expected[name];
  }
  assert.deepEqual(found, expected);
  const justified = new Set(full.engine.list().flatMap(violated));
  // An object that is unverified may seem to violate a rule until a host snapshot has reconciled it; its
  // violations say so. observer-gap reports the loss itself, which did happen.
  const unjustified = late.engine
    .list()
    .filter(({ quality, rule }) => quality !== 'unverified' && rule !== 'observer-gap')
    .flatMap(violated)
    .filter((violation) => !justified.has(violation));
  assert.deepEqual(unjustified, []);
}

function play({ choices, finish, attach, losses, snapshot, pauses }: Plan): Comparison {
  const history = new LegalHistory({ openWithoutVm: true, nestedOpen: true, refusals: true });
  for (const choice of choices) history.step(choice);
  if (finish) history.finish();
  else history.callsReturn();
  const { steps } = history.runner.scenario;
  const position = (part: number) => Math.floor((steps.length * part) / 1000);
  const comparison = new Comparison(steps, attach === 0);
  comparison.advance(position(attach));
  if (attach > 0) comparison.attach();
  const isLost = (at: number) =>
    losses.some((loss) => at >= position(loss.at) && at < position(loss.at) + loss.length);
  const snapshotAt = Math.max(position(snapshot), 0);
  comparison.advance(snapshotAt - comparison.at, isLost);
  comparison.snapshot(pauses, isLost);
  // As the agent does: take another snapshot while events were lost since the last one.
  while (!comparison.isOver) {
    comparison.advance(1, isLost);
    if (comparison.isTick) comparison.detectLoss();
    const { losses: lost, lossesReconciled } = comparison.late.world;
    const isDue = comparison.isTick || comparison.at % 20 === 0;
    if (comparison.isSnapshotDue || (lost > lossesReconciled && isDue)) comparison.snapshotAgain();
  }
  comparison.detectLoss();
  if (comparison.late.world.isUnverified || comparison.isSnapshotDue) comparison.snapshotAgain();
  compare(comparison);
  return comparison;
}

const choices = fc.array(fc.nat(1e6), { maxLength: 120, size: 'max' });
const part = fc.integer({ min: 1, max: 1000 });
const pauses = fc.tuple(fc.nat(9), fc.nat(9), fc.nat(9), fc.nat(9));
const loss = fc.record({ at: fc.nat(1000), length: fc.integer({ min: 1, max: 30 }) });
const none = fc.constant<Pauses>([0, 0, 0, 0]);

describe('a world that starts late or loses events has the state of a complete one', () => {
  it('after a host snapshot at the start', () => {
    const plan = { choices, finish: fc.boolean(), attach: part, losses: fc.constant([]) };
    fc.assert(
      fc.property(fc.record({ ...plan, snapshot: fc.constant(0), pauses: none }), (plan) => {
        play(plan);
      }),
      RUNS,
    );
  });

  it('after a host snapshot at the start, while events continue', () => {
    const plan = { choices, finish: fc.boolean(), attach: part, losses: fc.constant([]) };
    fc.assert(
      fc.property(fc.record({ ...plan, snapshot: fc.constant(0), pauses }), (plan) => {
        play(plan);
      }),
      RUNS,
    );
  });

  it('after a loss and a host snapshot', () => {
    const losses = fc.array(loss, { minLength: 1, maxLength: 1 });
    const plan = { choices, finish: fc.boolean(), attach: fc.constant(0), losses, snapshot: part };
    fc.assert(
      fc.property(fc.record({ ...plan, pauses: none }), (plan) => {
        play(plan);
      }),
      RUNS,
    );
  });

  it('after several losses, some of them during the host snapshot, while events continue', () => {
    const losses = fc.array(loss, { minLength: 1, maxLength: 4 });
    const attach = fc.oneof(fc.constant(0), part);
    const plan = { choices, finish: fc.boolean(), attach, losses, snapshot: part, pauses };
    fc.assert(
      fc.property(fc.record(plan), (plan) => {
        play(plan);
      }),
      RUNS,
    );
  });
});
