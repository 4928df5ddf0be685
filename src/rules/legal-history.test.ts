/** That no rule finds in a legal history what is not there. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { cases } from '../../test/random.ts';
import { type Freedom, LegalHistory } from './legal-history.ts';

const choices = fc.array(fc.nat(1e6), { maxLength: 150, size: 'max' });

function live(steps: readonly number[], freedom: Freedom): LegalHistory {
  const history = new LegalHistory(freedom);
  for (const choice of steps) history.step(choice);
  history.finish();
  histories++;
  events += history.telling.story.steps.length;
  return history;
}

let histories = 0;
let events = 0;

describe('a legal history', () => {
  after(() => console.log(`${histories} legal histories of ${events} events, no false finding`));

  it('breaks no rule', () => {
    fc.assert(
      fc.property(choices, (steps) => {
        const { telling, illegal } = live(steps, { openWithoutVm: false, nestedOpen: false });
        assert.deepEqual(illegal, []);
        assert.deepEqual(
          telling.violations().map(({ explanation }) => explanation),
          [],
        );
        assert.deepEqual([...telling.engine.heldBack], []);
      }),
      cases(1000),
    );
  });

  it('shows the opens without a VM and the nested ones that it contains, and no others', () => {
    fc.assert(
      fc.property(choices, (steps) => {
        const { telling, contained } = live(steps, { openWithoutVm: true, nestedOpen: true });
        const expected = [...contained].map(([key, count]) => {
          const [rule, , device] = key.split(' ');
          return `${rule} ${device} ${count}`;
        });
        const found = telling
          .violations()
          .map(({ rule, device, count }) => `${rule} ${device} ${count}`);
        assert.deepEqual(found.sort(), expected.sort());
      }),
      cases(1000),
    );
  });

  it('leaves nothing behind', () => {
    fc.assert(
      fc.property(choices, (steps) => {
        const { telling } = live(steps, { openWithoutVm: true, nestedOpen: true });
        assert.deepEqual(telling.leftovers(), {});
      }),
      cases(200),
    );
  });
});
