/** That no rule finds in a legal history what is not there. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { type Freedom, LegalHistory } from '../kit/legal-history.ts';
import { cases } from '../kit/random.ts';

const choices = fc.array(fc.nat(1e6), { maxLength: 150, size: 'max' });

function play(steps: readonly number[], freedom: Freedom): LegalHistory {
  const history = new LegalHistory(freedom);
  for (const choice of steps) history.step(choice);
  history.finish();
  histories++;
  events += history.runner.scenario.steps.length;
  return history;
}

/** How often each rule fired, and about which devices: one violation may be about several of them. */
class Findings {
  readonly #counts = new Map<string, number>();
  readonly #devices = new Set<string>();

  add(rule: string, devices: readonly string[], count: number): void {
    this.#counts.set(rule, (this.#counts.get(rule) ?? 0) + count);
    for (const device of devices) this.#devices.add(`${rule} ${device}`);
  }

  sorted() {
    return [[...this.#counts].sort(), [...this.#devices].sort()];
  }
}

let histories = 0;
let events = 0;

describe('a legal history', () => {
  after(() => console.log(`${histories} legal histories of ${events} events, no false positive`));

  it('breaks no rule', () => {
    fc.assert(
      fc.property(choices, (steps) => {
        const { runner, illegal } = play(steps, {
          openWithoutVm: false,
          nestedOpen: false,
          refusals: false,
        });
        assert.deepEqual(illegal, []);
        assert.deepEqual(
          runner.violations().map(({ message }) => message),
          [],
        );
        assert.deepEqual([...runner.engine.suppressed], []);
      }),
      cases(1000),
    );
  });

  it('shows the refusals, the opens without a VM and the nested ones that it contains, and no others', () => {
    fc.assert(
      fc.property(choices, (steps) => {
        const { runner, contained } = play(steps, {
          openWithoutVm: true,
          nestedOpen: true,
          refusals: true,
        });
        const expected = new Findings();
        for (const [key, count] of contained) {
          const [rule, , device] = key.split(' ');
          expected.add(rule, [device], count);
        }
        const found = new Findings();
        for (const { rule, devices, count } of runner.violations()) {
          found.add(rule, devices, count);
        }
        assert.deepEqual(found.sorted(), expected.sorted());
      }),
      cases(1000),
    );
  });

  it('leaves no object in memory', () => {
    fc.assert(
      fc.property(choices, (steps) => {
        const { runner } = play(steps, { openWithoutVm: true, nestedOpen: true, refusals: true });
        assert.deepEqual(runner.leftovers(), {});
      }),
      cases(200),
    );
  });
});
