import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { RULES, TOPICS } from './catalogue.ts';
import { kernelOf, play } from './engine/play.ts';
import { type Example, isPossible, type Rule } from './engine/rule.ts';

/** Rules that have to exist, in this order; others may stand in between. */
const REQUIRED = [
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
  'dma-map-failed',
  'request-ignored',
  'group-closed-with-open-device',
  'unset-container-busy',
  'container-detached-while-open',
  'vfio-module-pinned',
  'observer-gap',
];

/** Ids of all rules that fire, in the order of the catalogue. */
function firing(example: Example, rule: Rule): string[] {
  const kernel = kernelOf(rule);
  const rules = RULES.filter((one) => isPossible(one, kernel));
  const { violations } = play(example.run, rules, kernel);
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
        const { violations } = play(example.run, [rule], kernel);
        assert.equal(violations.length, 1);
        const [violation] = violations;
        assert.equal(violation.rule, rule.id);
        assert.equal(violation.quality, 'observed');
        // Nothing happened to an object where it is about none.
        const { incarnation, parent, vm, ongoing } = violation;
        const isOfHost = ongoing && !(incarnation ?? parent ?? vm);
        assert.ok(violation.evidence.length > 0 || isOfHost, 'it has evidence');
        assert.ok(violation.message.length > 40, violation.message);
        assert.doesNotMatch(violation.message, /undefined|NaN|null|\[object/);
        assert.doesNotMatch(violation.message, /unknown\)|driver is unknown/);
        assert.doesNotMatch(
          violation.message,
          /(?<![\w.])1 (?!was\b|has\b|does\b)[a-z]{2,}s\b/,
          'one of a thing is not many',
        );
        assert.doesNotMatch(violation.message, /(?<![\w.])1 \w+ keep\b/);
        assert.ok(
          violation.severity === rule.severity || rule.severityVaries,
          `it is of severity ${violation.severity}, and the rule does not say when`,
        );
      });

      it(`fires alone, or with those it names: ${example.title}`, () => {
        assert.deepEqual(firing(example, rule), inOrder([rule.id, ...(example.also ?? [])]));
      });
    }

    for (const example of examples.doesNotFire) {
      it(`does not fire: ${example.title}`, () => {
        const { violations } = play(example.run, [rule], kernel);
        assert.deepEqual(
          violations.map((violation) => violation.message),
          [],
        );
      });

      it(`fires no other rules than those it names: ${example.title}`, () => {
        assert.deepEqual(firing(example, rule), inOrder(example.also ?? []));
      });
    }

    it('describes itself completely, in sentences', () => {
      const { severityVaries, description, remediation, evidence, provocation } = rule;
      for (const text of [
        description,
        remediation,
        evidence,
        provocation.how,
        severityVaries ?? 'None.',
      ]) {
        assert.match(text, /^[A-Z`\d].*\.$/, text);
      }
      assert.ok(description.length > 100, description);
      // What these stand in ends the sentence.
      const because = rule.kernels?.because ?? 'it can happen everywhere';
      for (const text of [rule.title, rule.references, because]) assert.match(text, /\S.*[^.\s]$/);
      assert.ok(!rule.kernels || Object.keys(rule.kernels.where).length > 0);
    });

    it('names in its examples only existing rules', () => {
      const named = [...examples.fires, ...examples.doesNotFire].flatMap(({ also = [] }) => also);
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
    for (const id of ids) assert.ok(existsSync(new URL(`rules/${id}.ts`, import.meta.url)), id);
  });

  it('has a rule for every file of the folder of rules', () => {
    const files = readdirSync(new URL('rules/', import.meta.url));
    assert.deepEqual(files.sort(), ids.map((id) => `${id}.ts`).sort());
  });

  it('describes what occurrences have in common in the rules that decide it, and only in these', () => {
    for (const { id, occurrences } of RULES) {
      const source = readFileSync(new URL(`rules/${id}.ts`, import.meta.url), 'utf8');
      assert.equal(occurrences !== undefined, source.includes('sameAs'), id);
    }
  });

  it('has no rule that imports another', () => {
    for (const id of ids) {
      const source = readFileSync(new URL(`rules/${id}.ts`, import.meta.url), 'utf8');
      assert.doesNotMatch(source, /from '\.\//, id);
    }
  });

  it('has all required rules, in their order', () => {
    assert.deepEqual(
      ids.filter((id) => REQUIRED.includes(id)),
      REQUIRED,
    );
  });

  it('has for every rule a scenario that fires and one that does not, each with a title of its own', () => {
    for (const { id, examples } of RULES) {
      assert.ok(examples.fires.length > 0 && examples.doesNotFire.length > 0, id);
      const titles = [...examples.fires, ...examples.doesNotFire].map(({ title }) => title);
      assert.deepEqual(titles, [...new Set(titles)]);
    }
  });

  it('has no topic without rules', () => {
    for (const { title, rules } of TOPICS) assert.ok(rules.length > 0, title);
  });
});
