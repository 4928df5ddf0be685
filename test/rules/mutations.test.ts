/**
 * What becomes of a legal history of which one event is wrong. One that is missing leaves a gap in
 * the sequence of its CPU, and every second the count of attempts shows it; one that the kernel did out of order, or twice, leaves none, and then
 * only rules and automata can notice.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { RULES } from '../../src/catalogue.ts';
import { RuleEngine } from '../../src/engine/engine.ts';
import type { Sink } from '../../src/engine/sink.ts';
import { EventCursor } from '../../src/events/cursor.ts';
import { pointName } from '../../src/events/points.ts';
import { SequenceCheck } from '../../src/events/sequence.ts';
import { EVENT } from '../../src/events/wire.gen.ts';
import { Dispatcher } from '../../src/lifecycle/dispatcher.ts';
import { World } from '../../src/lifecycle/world.ts';
import { LINUX_6_12 } from '../../src/scenario/kernels.ts';
import type { Step } from '../../src/scenario/types.ts';
import { LegalHistory } from '../kit/legal-history.ts';
import { cases } from '../kit/random.ts';

const RUNS = cases(3000);
const TWICE = 'an event twice';

/**
 * What no wrong driver and no race brings about, only a kernel of which a thread is in two
 * places at once: a call that returns before it is made, continues in one that it has returned
 * from, or is made again while it is in progress. The result may be wrong.
 */
const BEYOND_THREADS: ReadonlySet<string> = new Set([
  'mdev.create:begin mdev.create:end',
  'mdev.probe:begin vfio.init:begin',
  'vfio.init:begin vfio.init:end',
  'vfio.init:end vfio.register:begin',
  'kvm.put:begin kvm.vm.destroy:begin',
  'kvm.vm.destroy:begin kvm.vm.destroy:end',
  'kvm.vm.init:begin twice',
  'vfio.device.open:begin twice',
]);

const histories = fc.record({
  choices: fc.array(fc.nat(1e6), { minLength: 5, maxLength: 60, size: 'max' }),
  place: fc.nat(1e6),
});

interface Outcome {
  /** Steps that are not in the table of an automaton. */
  readonly illegal: number;
  readonly unverified: boolean;
  readonly rules: readonly string[];
  /** What was recorded of each object: how it ended, and what happened to it. */
  readonly objects: readonly string[];
}

function stepsOf(choices: readonly number[]): Step[] {
  const history = new LegalHistory({ openWithoutVm: false, nestedOpen: false, refusals: true });
  for (const choice of choices) history.step(choice);
  history.finish();
  return [...history.runner.scenario.steps];
}

const FAILS_ON_ERROR: Sink = {
  ruleError: (rule, error) => assert.fail(`${rule.id}: ${error}`),
};

function play(steps: readonly Step[]): Outcome {
  const world = new World();
  const dispatcher = new Dispatcher(world);
  let kvmPids: ReadonlySet<number> = new Set();
  const host = { traits: LINUX_6_12, pidsWithKvmFiles: () => kvmPids };
  const engine = new RuleEngine(world, { rules: RULES, host, sinks: [FAILS_ON_ERROR] });
  const sequence = new SequenceCheck();
  let illegal = 0;
  let next = 0;
  for (const step of steps) {
    if (typeof step === 'number') {
      if (sequence.settle(0, next) > 0) world.losses++;
      engine.tick(step);
    } else if (step === 'loss') next++;
    else if (step instanceof Set) kvmPids = step;
    else if (step instanceof Uint8Array) {
      const event = new EventCursor(step.buffer as ArrayBuffer);
      if (sequence.observe(event) > 0) world.losses++;
      next = event.seq + 1;
      const transition = dispatcher.apply(event);
      if (transition.illegal) illegal++;
      engine.check(transition);
    }
  }
  if (sequence.settle(0, next) > 0) world.losses++;
  return {
    illegal,
    unverified: world.losses > 0,
    rules: engine.list().map(({ rule }) => rule),
    objects: objectsOf(world),
  };
}

function objectsOf(world: World): string[] {
  const devices = [...world.devices, ...world.devices.ended.list()].map(
    ({ name, state, vfio, opensTotal, opens }) =>
      `${name} ${state} ${vfio} ${opensTotal} ${opens.length}`,
  );
  const vms = [...world.vms, ...world.vms.ended.list()].map(
    ({ creatorTid, state, devices }) => `vm of ${creatorTid} ${state} ${devices.length}`,
  );
  return [...devices, ...vms].sort();
}

/** The records in the order and number of `steps`, with times and sequence numbers as in the scenario. */
function renumbered(steps: readonly Step[]): Step[] {
  let time = 0;
  let seq = 0;
  return steps.map((step) => {
    if (!(step instanceof Uint8Array)) {
      if (typeof step === 'number') time = Math.max(time, step);
      return step;
    }
    const bytes = step.slice();
    const view = new DataView(bytes.buffer);
    time = Math.max(time + 1, new EventCursor(bytes.buffer).time);
    view.setUint32(EVENT.time, time, true);
    view.setUint32(EVENT.time + 4, time / 2 ** 32, true);
    view.setUint32(EVENT.seq, seq++, true);
    return bytes;
  });
}

/** Where the records are. */
function places(steps: readonly Step[]): number[] {
  return [...steps.keys()].filter((at) => steps[at] instanceof Uint8Array);
}

function rate(part: number, all: number): string {
  return `${((100 * part) / all).toFixed(1)} %`;
}

describe('a legal history', () => {
  it('of which an event is missing is unverified, and no rule fires on what it cannot know', () => {
    let fired = 0;
    fc.assert(
      fc.property(histories, ({ choices, place }) => {
        const steps = stepsOf(choices);
        const at = places(steps);
        fc.pre(at.length > 0);
        steps[at[place % at.length]] = 'loss';
        const { unverified, rules } = play(steps);
        assert.ok(unverified);
        const unsure = rules.filter(
          (id) => RULES.find((rule) => rule.id === id)?.basis === 'history',
        );
        assert.deepEqual(unsure, []);
        if (rules.some((id) => id !== 'observer-gap')) fired++;
      }),
      RUNS,
    );
    console.log(
      `dropped: 100 % unverified, in ${rate(fired, RUNS.numRuns)} a rule fired on more than that`,
    );
  });

  for (const [name, mutate] of Object.entries({
    'two neighbours swapped': (steps: Step[], at: number[], i: number) => {
      const [a, b] = [at[i], at[i + 1]];
      [steps[a], steps[b]] = [steps[b], steps[a]];
    },
    [TWICE]: (steps: Step[], at: number[], i: number) => {
      steps.splice(at[i], 0, steps[at[i]]);
    },
  })) {
    it(`with ${name} is noticed, or processed as a legal event`, () => {
      let byRule = 0;
      let noticed = 0;
      let harmless = 0;
      fc.assert(
        fc.property(histories, ({ choices, place }) => {
          const steps = stepsOf(choices);
          const at = places(steps);
          fc.pre(at.length > 1);
          const right = play(renumbered(steps));
          const i = place % (at.length - 1);
          const pair = `${nameOf(steps[at[i]])} ${name === TWICE ? 'twice' : nameOf(steps[at[i + 1]])}`;
          mutate(steps, at, i);
          const { illegal, rules, objects } = play(renumbered(steps));
          if (rules.length > 0) byRule++;
          if (illegal > 0 || rules.length > 0) noticed++;
          else if (isDeepStrictEqual(objects, right.objects)) harmless++;
          else assert.ok(BEYOND_THREADS.has(pair), pair);
        }),
        RUNS,
      );
      console.log(
        `${name}: ${rate(noticed, RUNS.numRuns)} noticed, ${rate(byRule, RUNS.numRuns)} by a rule; ` +
          `${rate(harmless, RUNS.numRuns)} make no difference`,
      );
      assert.ok(noticed > 0);
    });
  }
});

function nameOf(step: Step): string {
  const event = new EventCursor((step as Uint8Array).buffer as ArrayBuffer);
  return `${pointName(event.point)}:${event.isEnd ? 'end' : 'begin'}`;
}
