import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AUTOMATA, next, VM } from './automata.ts';
import { automataDocument } from './automata-document.ts';
import { Moment } from './moment.ts';
import { Vm } from './objects.ts';

for (const { name, initial, rows, after } of AUTOMATA) {
  describe(`the automaton of ${name}`, () => {
    it('says for no state and input two things', () => {
      const keys = rows.map(([from, input]) => `${from} ${input}`);
      assert.deepEqual(keys, [...new Set(keys)]);
    });

    it('reaches every state that it has rows for', () => {
      const reached = new Set([initial]);
      for (let before = 0; before !== reached.size; ) {
        before = reached.size;
        for (const [from, , to] of rows) if (reached.has(from)) reached.add(to);
      }
      const states = new Set(rows.flatMap(([from, , to]) => [from, to]));
      assert.deepEqual([...states].sort(), [...reached].sort());
    });

    it('uses every input, and knows where each leads', () => {
      const used = new Set(rows.map(([, input]) => input));
      assert.deepEqual([...used].sort(), Object.keys(after).sort());
    });
  });
}

describe('a step', () => {
  it('leads where the table says', () => {
    const moment = new Moment();
    const vm = new Vm(0, false, 0);
    assert.equal(next(VM, 'running', 'descriptor closed', vm, moment), 'released');
    assert.equal(moment.illegal, undefined);
  });

  it('that the table does not have is noted, and followed', () => {
    const moment = new Moment();
    const vm = new Vm(0, false, 0);
    assert.equal(next(VM, 'running', 'destroyed', vm, moment), 'destroyed');
    assert.deepEqual(moment.illegal, {
      automaton: 'vm',
      life: vm,
      from: 'running',
      input: 'destroyed',
    });
  });
});

it('the document draws every step', () => {
  const text = automataDocument();
  for (const { rows } of AUTOMATA) {
    for (const [from, input, to] of rows) {
      assert.match(text, new RegExp(`${from} --> ${to}: (.* / )?${input}( /|\\n)`));
    }
  }
});
