/** Data flows one way: rules read the world and never change it. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { inspect } from 'node:util';
import { RULES } from '../../src/catalogue.ts';
import { kernelOf, play } from '../../src/engine/play.ts';
import type { Example, Rule } from '../../src/engine/rule.ts';
import type { Traits } from '../../src/events/traits.ts';

/** Everything in the world after an example, without what numbers objects across worlds. */
function worldAfter({ run }: Example, rules: readonly Rule[], kernel: Traits): string {
  const { world } = play(run, rules, kernel);
  const { parents, devices, opens, vms, calls } = world;
  const tracked = [parents, devices, opens, vms].map((kind) => [...kind, ...kind.ended.list()]);
  const all = { world, tracked, calls: [...calls] };
  const limits = { maxArrayLength: null, maxStringLength: null };
  return inspect(all, { depth: Number.POSITIVE_INFINITY, ...limits }).replace(/serial: \d+/g, '');
}

describe('the world after an example is the same whether or not it is judged by', () => {
  for (const rule of RULES) {
    it(rule.id, () => {
      const kernel = kernelOf(rule);
      for (const example of [...rule.examples.fires, ...rule.examples.doesNotFire]) {
        const [judged, bare] = [
          worldAfter(example, [rule], kernel),
          worldAfter(example, [], kernel),
        ];
        assert.equal(judged, bare, example.title);
      }
    });
  }

  it('a rule that changes a device, which shows that a change would be found', () => {
    const [rule] = RULES;
    const changing: Rule = {
      ...rule,
      onClock: ({ world }) => {
        for (const device of world.devices) device.openCount++;
      },
    };
    const example: Example = {
      title: 'a device that nobody uses',
      run(scenario) {
        scenario.create(scenario.parent());
        scenario.wait(1);
      },
    };
    const kernel = kernelOf(rule);
    assert.notEqual(worldAfter(example, [changing], kernel), worldAfter(example, [], kernel));
  });
});
