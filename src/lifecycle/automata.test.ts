import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AUTOMATA, VM } from './automata.ts';
import { Vm } from './objects.ts';
import { next } from './step.ts';
import { Transition } from './transition.ts';

for (const { name, initial, rows, after } of AUTOMATA) {
  describe(`the automaton ${name}`, () => {
    it('has at most one row for a state and an input', () => {
      const keys = rows.map(([from, input]) => `${from} ${input}`);
      assert.deepEqual(keys, [...new Set(keys)]);
    });

    it('can reach every state that it has rows for', () => {
      const reached = new Set([initial]);
      for (let before = 0; before !== reached.size; ) {
        before = reached.size;
        for (const [from, , to] of rows) if (reached.has(from)) reached.add(to);
      }
      const states = new Set(rows.flatMap(([from, , to]) => [from, to]));
      assert.deepEqual([...states].sort(), [...reached].sort());
    });

    it('uses every input, and has a state for each after an illegal step', () => {
      const used = new Set(rows.map(([, input]) => input));
      assert.deepEqual([...used].sort(), Object.keys(after).sort());
    });
  });
}

describe('next', () => {
  it('returns the state of the table', () => {
    const transition = new Transition();
    const vm = new Vm(0, false, 0);
    assert.equal(next(VM, 'running', 'fd closed', vm, transition), 'zombie');
    assert.equal(transition.illegal, undefined);
  });

  it('records an illegal step in the transition, and follows the kernel', () => {
    const transition = new Transition();
    const vm = new Vm(0, false, 0);
    assert.equal(next(VM, 'running', 'destroy begins', vm, transition), 'destroying');
    assert.deepEqual(transition.illegal, {
      automaton: 'vm',
      object: vm,
      from: 'running',
      input: 'destroy begins',
    });
  });
});
