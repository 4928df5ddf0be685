import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RULES } from './catalogue.ts';
import { play } from './play.ts';

for (const rule of RULES) {
  describe(`rule ${rule.id}`, () => {
    for (const example of rule.examples.fires) {
      it(`fires: ${example.title}`, () => {
        const { violations } = play(example.tell, [rule]);
        assert.equal(violations.length, 1);
        const [violation] = violations;
        assert.equal(violation.rule, rule.id);
        assert.equal(violation.quality, 'observed');
        assert.ok(violation.evidence.length > 0, 'it has evidence');
        assert.ok(violation.explanation.length > 40, violation.explanation);
        assert.doesNotMatch(violation.explanation, /undefined|NaN|null/);
      });
    }

    for (const example of rule.examples.silent) {
      it(`stays silent: ${example.title}`, () => {
        const { violations } = play(example.tell, [rule]);
        assert.deepEqual(
          violations.map((violation) => violation.explanation),
          [],
        );
      });
    }
  });
}

describe('the catalogue', () => {
  it('gives every rule an id of its own', () => {
    const ids = RULES.map((rule) => rule.id);
    assert.deepEqual(ids, [...new Set(ids)]);
  });

  it('has for every rule a story that fires and one that does not', () => {
    for (const { id, examples } of RULES) {
      assert.ok(examples.fires.length > 0 && examples.silent.length > 0, id);
    }
  });
});
