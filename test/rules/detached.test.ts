/** That no rule finds what is not there while the budget keeps points detached, nor after they came back. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { RULES } from '../../src/catalogue.ts';
import { RuleEngine } from '../../src/engine/engine.ts';
import { kernelOf } from '../../src/engine/play.ts';
import { isPossible, pointsNeeded } from '../../src/engine/rule.ts';
import { EventCursor } from '../../src/events/cursor.ts';
import { type PointName, pointName } from '../../src/events/points.ts';
import type { Traits } from '../../src/events/traits.ts';
import { PROBE_TABLE } from '../../src/kernel/probe-table.ts';
import { Dispatcher } from '../../src/lifecycle/dispatcher.ts';
import { World } from '../../src/lifecycle/world.ts';
import { LINUX_6_12 } from '../../src/scenario/kernels.ts';
import { Scenario } from '../../src/scenario/scenario.ts';
import type { Step } from '../../src/scenario/types.ts';
import { LegalHistory } from '../kit/legal-history.ts';
import { cases } from '../kit/random.ts';

const EXPENDABLE = PROBE_TABLE.filter(({ expendable }) => expendable).map(({ point }) => point);
const FREEDOM = { openWithoutVm: false, nestedOpen: false, refusals: false };

interface Detached {
  readonly points: readonly PointName[];
  /** Indices of the steps before which they are detached and attached again. */
  readonly from: number;
  readonly to: number;
}

/** Plays steps as an agent sees them that detaches points meanwhile. */
function play(steps: readonly Step[], { points, from, to }: Detached, traits: Traits) {
  const world = new World();
  const dispatcher = new Dispatcher(world);
  let kvmPids: ReadonlySet<number> = new Set();
  const host = { traits, pidsWithKvmFiles: () => kvmPids };
  const rules = RULES.filter((rule) => isPossible(rule, traits));
  const engine = new RuleEngine(world, { rules, host });
  const blind = rules.filter((rule) => pointsNeeded(rule).some((one) => points.includes(one)));
  for (const [i, step] of steps.entries()) {
    if (i === from) engine.activate((rule) => !blind.includes(rule));
    if (i === to) {
      engine.activate(() => true);
      engine.observeFrom((rule) => blind.includes(rule), world.now + 1);
    }
    if (step instanceof Uint8Array) {
      const event = new EventCursor(step.buffer as ArrayBuffer);
      const isMissed = i >= from && i < to && points.includes(pointName(event.point) as PointName);
      if (!isMissed) engine.check(dispatcher.apply(event));
    } else if (typeof step === 'number') engine.tick(step);
    else if (step instanceof Set) kvmPids = step;
  }
  const states = {
    devices: [...world.devices].map(({ name, state, openCount }) => [name, state, openCount]),
    opens: [...world.opens].map(({ device, state }) => [device.name, state]),
    vms: [...world.vms].map(({ state }) => state),
    parents: [...world.parents].map(({ name, state }) => [name, state]),
  };
  const violations = engine.list().map(({ rule, device }) => `${rule} ${device ?? ''}`);
  return { states, violations };
}

describe('points that the budget may detach alone', () => {
  it('are those of references, of failed mappings and of notifications', () => {
    assert.deepEqual(EXPENDABLE, [
      ...['vfio.group.notify', 'vfio.dma.map', 'kvm.get', 'kvm.get_safe', 'kvm.put'],
    ]);
  });

  it('leave the state of objects and the other rules as they are, in the examples of all rules', () => {
    for (const rule of RULES) {
      const kernel = kernelOf(rule);
      for (const example of [...rule.examples.fires, ...rule.examples.doesNotFire]) {
        const scenario = new Scenario();
        example.run(scenario);
        const { steps } = scenario;
        const whole = play(steps, { points: [], from: 0, to: 0 }, kernel);
        const without = { points: EXPENDABLE, from: 0, to: steps.length };
        const { states, violations } = play(steps, without, kernel);
        // A VM that no event but a reference shows is not known without it.
        if (states.vms.length === whole.states.vms.length) {
          assert.deepEqual(states, whole.states, `${rule.id}: ${example.title}`);
        }
        for (const violation of violations) {
          assert.ok(
            whole.violations.includes(violation),
            `${rule.id}: ${example.title}: ${violation}`,
          );
        }
      }
    }
  });

  it('make no rule fire on a legal history, whenever they are detached and attached again', () => {
    const choices = fc.array(fc.nat(1e6), { minLength: 10, maxLength: 120, size: 'max' });
    const share = fc.double({ min: 0, max: 1, noNaN: true });
    fc.assert(
      fc.property(
        ...[choices, share, share, fc.subarray([...EXPENDABLE], { minLength: 1 })],
        (picks, one, other, points) => {
          const history = new LegalHistory(FREEDOM);
          for (const pick of picks) history.step(pick);
          history.finish();
          const { steps } = history.runner.scenario;
          const [from, to] = [one, other]
            .sort((a, b) => a - b)
            .map((at) => Math.floor(at * steps.length));
          assert.deepEqual(play(steps, { points, from, to }, LINUX_6_12).violations, []);
        },
      ),
      cases(500),
    );
  });

  it('suppress what a rule would conclude from references that it missed, and nothing later', () => {
    const scenario = new Scenario();
    const vm = scenario.createVm();
    const device = scenario.create(scenario.parent());
    const opening = scenario.openBegins(device, { vm });
    const from = scenario.steps.length;
    scenario.getKvm(vm);
    const to = scenario.steps.length;
    const open = scenario.openEnds(opening);
    scenario.closeBegins(open);
    scenario.putKvm(vm);
    scenario.closeEnds(open);
    scenario.wait(1);
    const missed = { points: ['kvm.get'] as const, from, to };
    assert.deepEqual(play(scenario.steps, missed, LINUX_6_12).violations, []);

    // The same device is opened again, and its driver really forgets a reference.
    const later = scenario.openBegins(device, { vm });
    scenario.getKvm(vm);
    scenario.close(scenario.openEnds(later));
    assert.deepEqual(play(scenario.steps, missed, LINUX_6_12).violations, [
      `device-kvm-refs-unbalanced ${device.uuid}`,
    ]);
  });
});
