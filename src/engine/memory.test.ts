import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ScenarioRunner } from '../../test/kit/scenario-runner.ts';
import { SOUND } from '../../test/kit/simple-rules.ts';
import type { Device } from '../lifecycle/objects.ts';
import { RuleEngine } from './engine.ts';
import type { MemoryDeclaration, ObjectMemory } from './memory.ts';
import type { Rule } from './rule.ts';

const OPENS: MemoryDeclaration<Device, { count: number }> = { initial: () => ({ count: 0 }) };

/** Counts the opens of each device; `memories` gets the memory of each engine that runs it. */
function counting(memories: Set<ObjectMemory<Device, { count: number }>>): Rule {
  return {
    ...SOUND,
    id: 'counting',
    on: {
      'vfio.device.open:end'({ device }, { memory }) {
        memories.add(memory(OPENS));
        if (device) memory(OPENS).of(device).count++;
      },
    },
  };
}

describe("a rule's memory", () => {
  it('lasts from one event to the next, and is of one object', () => {
    const memories = new Set<ObjectMemory<Device, { count: number }>>();
    const runner = new ScenarioRunner({ rules: [counting(memories)] });
    runner.run((scenario) => {
      const parent = scenario.parent();
      const [first, second] = [scenario.create(parent), scenario.create(parent)];
      for (const device of [first, second, first]) scenario.close(scenario.open(device));
    });
    const [memory, ...others] = memories;
    assert.equal(others.length, 0);
    assert.deepEqual(
      [...memory.entries()].map(([, { count }]) => count),
      [2, 1],
    );
  });

  it('is dropped with the object that it is about', () => {
    const memories = new Set<ObjectMemory<Device, { count: number }>>();
    const runner = new ScenarioRunner({ rules: [counting(memories)] });
    const [gone, kept] = runner.run((scenario) => {
      const parent = scenario.parent();
      const devices = [scenario.create(parent), scenario.create(parent)];
      for (const device of devices) scenario.close(scenario.open(device));
      return devices;
    });
    const [memory] = memories;
    const [device, other] = [gone, kept].map(({ uuid }) => runner.device(uuid));
    assert.ok(device && other);
    runner.run((scenario) => scenario.remove(gone));
    assert.ok(device.isOver);
    runner.run((scenario) => scenario.wait(1));
    assert.equal(memory.find(device), undefined);
    assert.deepEqual(memory.find(other), { count: 1 });
    assert.equal([...memory.entries()].length, 1);
  });

  it('is not shared by two engines over the same world', () => {
    const memories = new Set<ObjectMemory<Device, { count: number }>>();
    const rule = counting(memories);
    const runner = new ScenarioRunner({ rules: [rule] });
    const second = new RuleEngine(runner.world, { rules: [rule], host: runner.host });
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    runner.run((scenario) => scenario.close(scenario.open(device)));
    runner.sinks.push({ event: (transition) => second.check(transition) });
    runner.run((scenario) => scenario.close(scenario.open(device)));
    const counts = [...memories].map((memory) =>
      [...memory.entries()].map(([, { count }]) => count),
    );
    assert.deepEqual(counts, [[2], [1]]);
  });
});
