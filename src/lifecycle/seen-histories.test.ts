/** That a world that came late, or lost events, is after a look what it would have been. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { cases } from '../../test/random.ts';
import { EventCursor } from '../events/cursor.ts';
import { EVENT, POINT } from '../events/wire.gen.ts';
import { RULES } from '../rules/catalogue.ts';
import { RuleEngine } from '../rules/engine.ts';
import { LegalHistory } from '../rules/legal-history.ts';
import {
  applyAll,
  keyOf,
  lookBegins,
  lookEnds,
  seenDebugfs,
  seenFiles,
  seenSysfs,
} from '../rules/looking.ts';

import type { Step } from '../rules/told.ts';
import type { Violation } from '../rules/violation.ts';
import { World } from './world.ts';

// To shrink what fails, which takes minutes, leave out endOnFailure.
const RUNS = { ...cases(400), endOnFailure: true };

/** How many steps pass before each part of a look is read, and before its end. */
type Pauses = readonly [files: number, sysfs: number, debugfs: number, end: number];

interface Plan {
  readonly choices: readonly number[];
  readonly finish: boolean;
  /** Parts of a thousand of the history. */
  readonly attach: number;
  readonly losses: readonly { readonly at: number; readonly length: number }[];
  readonly look: number;
  readonly pauses: Pauses;
}

/**
 * Calls that leave nothing to look at until they return: when one of them was under way at
 * the start or at a loss, the host has to be looked at again.
 */
const UNSEEN_ENDS = new Set<number>([
  POINT.MDEV_CREATE,
  POINT.VFIO_REGISTER,
  POINT.VFIO_DEVICE_GET_FD,
  POINT.VFIO_DEVICE_CLOSE,
  POINT.KVM_VM_CREATE,
]);

/** One world with its rules. */
class Side {
  readonly world = new World();
  readonly engine: RuleEngine;
  #pids: ReadonlySet<number> = new Set();

  constructor() {
    const host = { kernel: [6, 12] as const, pidsWithKvmFiles: () => this.#pids };
    this.engine = new RuleEngine(this.world, { rules: RULES, host });
  }

  take(step: Step): void {
    if (typeof step === 'number') this.engine.tick(step);
    else if (step instanceof Set) this.#pids = step;
    else if (step instanceof Uint8Array) {
      this.engine.check(this.world.apply(new EventCursor(step.buffer as ArrayBuffer)));
    }
  }
}

/** A history seen twice: whole, and as an agent sees it that starts late or loses events. */
class Twice {
  readonly full = new Side();
  readonly late = new Side();
  readonly steps: readonly Step[];
  #at = 0;
  #attached: boolean;
  #clock = 0;
  #missing = false;
  /** Calls whose begin the probes saw, as the map `calls` has them. */
  readonly #calls = new Map<string, number>();
  /** How many events had been lost when they began. */
  readonly #lostBefore = new Map<string, number>();
  #lost = 0;
  /** A call of which only the end could be seen was under way when something was looked at. */
  wasPassing = false;

  constructor(steps: readonly Step[], attached: boolean) {
    this.steps = steps;
    this.#attached = attached;
  }

  get isOver(): boolean {
    return this.#at >= this.steps.length;
  }

  /** A second, in which the agent looks again if it has to. */
  get isTimePassing(): boolean {
    return typeof this.steps[this.#at] === 'number';
  }

  get at(): number {
    return this.#at;
  }

  advance(count: number, isLost: (at: number) => boolean = () => false): void {
    for (let i = 0; i < count && !this.isOver; i++) {
      const step = this.steps[this.#at];
      this.full.take(step);
      if (this.#attached && this.#reaches(step, isLost(this.#at))) this.late.take(step);
      this.#at++;
    }
  }

  attach(): void {
    this.#attached = true;
  }

  look([files, sysfs, debugfs, end]: Pauses, isLost?: (at: number) => boolean): void {
    const { full, late } = this;
    this.settle();
    applyAll(late.world, [lookBegins(this.#now())]);
    this.advance(files, isLost);
    const open = seenFiles(full.world, this.#now());
    this.advance(sysfs, isLost);
    const there = seenSysfs(full.world, this.#now());
    this.advance(debugfs, isLost);
    const listed = seenDebugfs(full.world, this.#now());
    const ends = lookEnds(this.#now());
    this.advance(end, isLost);
    for (const record of [...there, ...open, ...listed, ends]) late.take(record);
  }

  lookAgain(): void {
    this.wasPassing = false;
    this.look([0, 0, 0, 0]);
  }

  /** Later than all events so far, and than anything that a look did. */
  #now(): number {
    this.#clock = Math.max(this.#clock, this.full.world.now) + 1;
    return this.#clock;
  }

  /** Whether an event arrives, if it was not lost in the ring. */
  #reaches(step: Step, isLost: boolean): boolean {
    // Each second the agent finds out what is missing, before time passes for the rules.
    if (typeof step === 'number') this.settle();
    if (!(step instanceof Uint8Array)) return true;
    const event = new EventCursor(step.buffer as ArrayBuffer);
    const words = [EVENT.dev, EVENT.parent, EVENT.file].map((field) => event.u32[field >> 2]);
    const call = [event.tid, event.point, ...words].join();
    const begun = this.#calls.get(call) ?? 0;
    if (!event.isEnd) this.#lostBefore.set(call, this.#lost);
    else if (UNSEEN_ENDS.has(event.point) && this.#lostBefore.get(call) !== this.#lost) {
      this.wasPassing = true;
    }
    if (event.isEnd && begun === 0) return false;
    this.#calls.set(call, begun + (event.isEnd ? -1 : 1));
    if (isLost) {
      this.#lost++;
      this.#missing = true;
      return false;
    }
    this.settle();
    return true;
  }

  /** What was lost is noticed. */
  settle(): void {
    if (this.#missing) this.late.world.lose();
    this.#missing = false;
  }
}

/** What lives and how it is, by name or key. */
function lives(world: World): Record<string, string> {
  const lines: [string, string][] = [];
  for (const { name, state } of world.parents) lines.push([`parent ${name}`, state]);
  for (const device of world.devices) {
    const vm = device.vm ? keyOf(device.vm) : 'no VM';
    lines.push([`device ${device.name}`, `${device.state} ${device.openCount} ${vm}`]);
    for (const open of device.opens) lines.push([`open ${keyOf(open)}`, open.state]);
  }
  for (const vm of world.vms) lines.push([`vm ${vm.makerTid}`, vm.state]);
  assert.equal(new Set(lines.map(([name]) => name)).size, lines.length, 'lives are there twice');
  return Object.fromEntries(lines.sort());
}

function violated({ rule, device }: Violation): string {
  return `${rule} ${device}`;
}

function compare({ full, late }: Twice): void {
  const expected = lives(full.world);
  const found = lives(late.world);
  // A parent that is being withdrawn does not show, and without devices there is nothing to tell.
  for (const name of Object.keys(expected)) {
    if (expected[name] === 'unregistering' && !(name in found)) delete expected[name];
  }
  assert.deepEqual(found, expected);
  const rightly = new Set(full.engine.list().map(violated));
  // Until a look has put it right, a tainted life may seem to break a rule, and is told as tainted.
  // That events are missing is true.
  const wrongly = late.engine
    .list()
    .filter(({ quality, rule }) => quality !== 'tainted' && rule !== 'observer-gap')
    .filter((violation) => !rightly.has(violated(violation)));
  assert.deepEqual(wrongly.map(violated), []);
}

function play({ choices, finish, attach, losses, look, pauses }: Plan): Twice {
  const history = new LegalHistory({ openWithoutVm: true, nestedOpen: true });
  for (const choice of choices) history.step(choice);
  if (finish) history.finish();
  else history.callsReturn();
  const { steps } = history.telling.story;
  const place = (part: number) => Math.floor((steps.length * part) / 1000);
  const twice = new Twice(steps, attach === 0);
  twice.advance(place(attach));
  if (attach > 0) twice.attach();
  const isLost = (at: number) =>
    losses.some((loss) => at >= place(loss.at) && at < place(loss.at) + loss.length);
  const looksFrom = Math.max(place(look), 0);
  twice.advance(looksFrom - twice.at, isLost);
  twice.look(pauses, isLost);
  // As the agent does: for as long as something was lost since the last look, look again.
  while (!twice.isOver) {
    twice.advance(1, isLost);
    if (twice.isTimePassing) twice.settle();
    const { losses: lost, lossesPutRight } = twice.late.world;
    const isDue = twice.isTimePassing || twice.at % 20 === 0;
    if (twice.wasPassing || (lost > lossesPutRight && isDue)) twice.lookAgain();
  }
  twice.settle();
  if (twice.late.world.isTainted || twice.wasPassing) twice.lookAgain();
  compare(twice);
  return twice;
}

const choices = fc.array(fc.nat(1e6), { maxLength: 120, size: 'max' });
const part = fc.integer({ min: 1, max: 1000 });
const pauses = fc.tuple(fc.nat(9), fc.nat(9), fc.nat(9), fc.nat(9));
const loss = fc.record({ at: fc.nat(1000), length: fc.integer({ min: 1, max: 30 }) });
const none = fc.constant<Pauses>([0, 0, 0, 0]);

describe('a world that is looked at', () => {
  it('knows after a late start what it would have known', () => {
    const plan = { choices, finish: fc.boolean(), attach: part, losses: fc.constant([]) };
    fc.assert(
      fc.property(fc.record({ ...plan, look: fc.constant(0), pauses: none }), (plan) => {
        play(plan);
      }),
      RUNS,
    );
  });

  it('knows it also where events go on during the look', () => {
    const plan = { choices, finish: fc.boolean(), attach: part, losses: fc.constant([]) };
    fc.assert(
      fc.property(fc.record({ ...plan, look: fc.constant(0), pauses }), (plan) => {
        play(plan);
      }),
      RUNS,
    );
  });

  it('is right again after a loss', () => {
    const losses = fc.array(loss, { minLength: 1, maxLength: 1 });
    const plan = { choices, finish: fc.boolean(), attach: fc.constant(0), losses, look: part };
    fc.assert(
      fc.property(fc.record({ ...plan, pauses: none }), (plan) => {
        play(plan);
      }),
      RUNS,
    );
  });

  it('is right again after losses, some of them during the look, while events go on', () => {
    const losses = fc.array(loss, { minLength: 1, maxLength: 4 });
    const attach = fc.oneof(fc.constant(0), part);
    const plan = { choices, finish: fc.boolean(), attach, losses, look: part, pauses };
    fc.assert(
      fc.property(fc.record(plan), (plan) => {
        play(plan);
      }),
      RUNS,
    );
  });
});
