import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { RULES, TOPICS } from './catalogue.ts';
import { kernelOf, play } from './play.ts';
import { type Example, isPossible, type Rule } from './rule.ts';

/** What has to be known, in the order in which it is listed; others may stand in between. */
const KNOWN = [
  'remove-order-violated',
  'remove-failed',
  'remove-before-create-done',
  'remove-file-lost',
  'duplicate-uuid',
  'uuid-held-by-dying-device',
  'failed-create-leak',
  'remove-stall',
  'open-during-unregister',
  'removed-while-open',
  'remove-races-parent-unregister',
  'create-races-parent-unregister',
  'orphan-child',
  'child-outlives-parent',
  'parent-unregister-stall',
  'mdev-release-delayed',
  'mdev-driverless',
  'driver-gone-before-parent',
  'create-serialised',
  'instances-exhausted',
  'vfio-double-init',
  'vfio-release-missing',
  'vfio-put-unbalanced',
  'vfio-never-registered',
  'vfio-double-register',
  'open-without-kvm',
  'kvm-set-after-open',
  'kvm-cleared-while-open',
  'kvm-changed-while-open',
  'kvm-destroyed-while-captured',
  'kvm-capture-refused',
  'kvm-ref-leak',
  'kvm-ref-underflow',
  'device-kvm-refs-unbalanced',
  'vm-pinned-by-device',
  'kvm-used-twice',
  'foreign-opener',
  'notifier-error-ignored',
  'open-count-mismatch',
  'nested-open',
  'open-failed',
  'request-ignored',
  'group-closed-with-open-device',
  'unset-container-busy',
  'container-detached-while-open',
  'vfio-module-pinned',
  'observer-gap',
];

/** Ids of all rules that speak, in the order of the catalogue. */
function speakers(example: Example, rule: Rule): string[] {
  const kernel = kernelOf(rule);
  const rules = RULES.filter((one) => isPossible(one, kernel));
  const { violations } = play(example.tell, rules, kernel);
  return inOrder(violations.map((violation) => violation.rule));
}

function inOrder(ids: readonly string[]): string[] {
  return RULES.map(({ id }) => id).filter((id) => ids.includes(id));
}

for (const rule of RULES) {
  const { examples } = rule;
  const kernel = kernelOf(rule);
  describe(`rule ${rule.id}`, () => {
    for (const example of examples.fires) {
      it(`fires: ${example.title}`, () => {
        const { violations } = play(example.tell, [rule], kernel);
        assert.equal(violations.length, 1);
        const [violation] = violations;
        assert.equal(violation.rule, rule.id);
        assert.equal(violation.quality, 'observed');
        // Nothing happened to an object where it is about none.
        const { life, parent, vm, lasting } = violation;
        const isOfHost = lasting && !(life ?? parent ?? vm);
        assert.ok(violation.evidence.length > 0 || isOfHost, 'it has evidence');
        assert.ok(violation.explanation.length > 40, violation.explanation);
        assert.doesNotMatch(violation.explanation, /undefined|NaN|null|\[object/);
        assert.ok(
          violation.severity === rule.severity || rule.severityVaries,
          `it is of severity ${violation.severity}, and the rule does not say when`,
        );
      });

      it(`fires alone, or with those it names: ${example.title}`, () => {
        assert.deepEqual(speakers(example, rule), inOrder([rule.id, ...(example.also ?? [])]));
      });
    }

    for (const example of examples.silent) {
      it(`stays silent: ${example.title}`, () => {
        const { violations } = play(example.tell, [rule], kernel);
        assert.deepEqual(
          violations.map((violation) => violation.explanation),
          [],
        );
      });

      it(`is not spoken of by others than those it names: ${example.title}`, () => {
        assert.deepEqual(speakers(example, rule), inOrder(example.also ?? []));
      });
    }

    it('says all that there is to say about it, in sentences', () => {
      const { severityVaries, meaning, advice, evidence, provocation } = rule;
      for (const text of [meaning, advice, evidence, provocation.how, severityVaries ?? 'None.']) {
        assert.match(text, /^[A-Z`\d].*\.$/, text);
      }
      assert.ok(meaning.length > 100, meaning);
      // What these stand in ends the sentence.
      const because = rule.kernels?.because ?? 'it can happen everywhere';
      for (const text of [rule.title, rule.origin, because]) assert.match(text, /\S.*[^.\s]$/);
      assert.ok(!rule.kernels || rule.kernels.from || rule.kernels.before, 'kernels exclude none');
    });

    it('names in its examples only rules that there are', () => {
      const named = [...examples.fires, ...examples.silent].flatMap(({ also = [] }) => also);
      assert.deepEqual(
        named.filter((id) => id === rule.id || !RULES.some((one) => one.id === id)),
        [],
      );
    });
  });
}

describe('the catalogue', () => {
  const ids = RULES.map((rule) => rule.id);

  it('gives every rule an id of its own, which is the name of its file', () => {
    assert.deepEqual(ids, [...new Set(ids)]);
    for (const id of ids) assert.ok(existsSync(new URL(`${id}.ts`, import.meta.url)), id);
  });

  it('has every rule that there is a file of', () => {
    const files = readdirSync(new URL('.', import.meta.url)).filter((name) => {
      if (!name.endsWith('.ts')) return false;
      const text = readFileSync(new URL(name, import.meta.url), 'utf8');
      return /^export const \w+: Rule = \{$/m.test(text);
    });
    assert.deepEqual(files.sort(), ids.map((id) => `${id}.ts`).sort());
  });

  it('has all that has to be known, in its order', () => {
    assert.deepEqual(
      ids.filter((id) => KNOWN.includes(id)),
      KNOWN,
    );
  });

  it('has for every rule a story that fires and one that does not, each with a title of its own', () => {
    for (const { id, examples } of RULES) {
      assert.ok(examples.fires.length > 0 && examples.silent.length > 0, id);
      const titles = [...examples.fires, ...examples.silent].map(({ title }) => title);
      assert.deepEqual(titles, [...new Set(titles)]);
    }
  });

  it('has no topic without rules', () => {
    for (const { title, rules } of TOPICS) assert.ok(rules.length > 0, title);
  });
});
