import assert from 'node:assert/strict';
import { it } from 'node:test';
import { AUTOMATA } from '../../src/lifecycle/automata.ts';
import { automataDocument } from './automata-document.ts';

it('the generated page draws every step of every automaton', () => {
  const text = automataDocument();
  for (const { rows } of AUTOMATA) {
    for (const [from, input, to] of rows) {
      assert.match(text, new RegExp(`${from} --> ${to}: (.* / )?${input}( /|\\n)`));
    }
  }
});
