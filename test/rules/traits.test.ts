/** What a rule finds depends on no trait of the kernel but those that it declares. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RULES } from '../../src/catalogue.ts';
import { kernelOf, play } from '../../src/engine/play.ts';
import { isPossible, type Rule, unknownTraits } from '../../src/engine/rule.ts';
import { NO_TRAITS, type TraitName, type Traits, traitsOf } from '../../src/events/traits.ts';
import { LINUX_6_12 } from '../../src/scenario/kernels.ts';

function declaredBy({ kernels, traits = [] }: Rule): ReadonlySet<string> {
  return new Set([...Object.keys(kernels?.where ?? {}), ...traits]);
}

function findings(rule: Rule, traits: Traits): string[] {
  return [...rule.examples.fires, ...rule.examples.doesNotFire].map(({ title, run }) => {
    const { violations } = play(run, [rule], traits);
    return `${title}: ${violations.map(({ severity, count }) => `${count} ${severity}`).join(', ')}`;
  });
}

describe('a rule', () => {
  for (const rule of RULES) {
    it(`judges by the traits that it declares: ${rule.id}`, () => {
      const kernel = kernelOf(rule);
      const declared = declaredBy(rule);
      const only = traitsOf((name) => (declared.has(name) ? kernel[name] : undefined));
      assert.deepEqual(findings(rule, only), findings(rule, kernel));
      assert.deepEqual(unknownTraits(rule, only), []);
    });

    it(`lacks each of them where it is not known: ${rule.id}`, () => {
      for (const name of declaredBy(rule)) {
        const without: Traits = { ...kernelOf(rule), [name]: undefined };
        assert.deepEqual(unknownTraits(rule, without), [name]);
      }
    });
  }

  it('is possible where all traits of its kernels are right, and not known to be where one is not', () => {
    const rule = {
      kernels: { where: { coreHoldsVm: true, mdevsStayUnbound: true }, because: 'no' },
    } as const;
    const possible = (changes: Partial<Record<TraitName, boolean | undefined>>) =>
      isPossible(rule, { ...LINUX_6_12, ...changes });
    assert.equal(possible({}), true);
    assert.equal(possible({ coreHoldsVm: undefined }), undefined);
    assert.equal(possible({ coreHoldsVm: undefined, mdevsStayUnbound: false }), false);
    assert.equal(isPossible(rule, NO_TRAITS), undefined);
    assert.equal(isPossible({}, NO_TRAITS), true);
  });
});
