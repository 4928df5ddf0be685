/**
 * The examples of all rules, with their devices opened by cdevs instead of groups: the rules about opens
 * have to find the same there.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RULES } from '../../src/catalogue.ts';
import { play } from '../../src/engine/play.ts';
import { type Example, isPossible } from '../../src/engine/rule.ts';
import { WITH_IOMMUFD } from '../../src/scenario/kernels.ts';
import { CdevScenario, NotByCdev } from '../kit/cdev-scenario.ts';

/** Ids of all rules that fire when the example is played by cdevs; undefined where the kernel does not allow that. */
function byCdev({ run }: Example): string[] | undefined {
  const scenario = new CdevScenario();
  try {
    run(scenario);
  } catch (error) {
    if (error instanceof NotByCdev) return undefined;
    throw error;
  }
  const rules = RULES.filter((one) => isPossible(one, WITH_IOMMUFD));
  const { violations } = play(
    (played) => played.steps.push(...scenario.steps),
    rules,
    WITH_IOMMUFD,
  );
  return RULES.map(({ id }) => id).filter((id) => violations.some(({ rule }) => rule === id));
}

/** What is reported of a cdev instead; nothing where that is undefined. */
const INSTEAD: Readonly<Record<string, string | undefined>> = {
  'open-failed': 'bind-refused',
  'kvm-set-after-open': 'kvm-set-after-bind',
  'kvm-changed-while-open': 'kvm-set-after-bind',
  // A VMM clears the VM of a cdev before it closes it, and the device keeps its reference until then.
  'kvm-cleared-while-open': undefined,
};
for (const rule of RULES) {
  const why =
    rule.notByCdev ??
    (isPossible(rule, WITH_IOMMUFD) ? false : 'no kernel that it is about has cdevs');
  describe(`rule ${rule.id}, by cdevs`, { skip: why }, () => {
    const all: [Example, readonly string[]][] = [
      ...rule.examples.fires.map((one): [Example, string[]] => [one, [rule.id]]),
      ...rule.examples.doesNotFire.map((one): [Example, string[]] => [one, []]),
    ];
    for (const [example, own] of all) {
      it(example.title, (test) => {
        const fired = byCdev(example);
        if (!fired) return test.skip('the kernel does not allow it by a cdev');
        const expected = [...own, ...(example.also ?? [])].flatMap((id) => {
          const instead = id in INSTEAD ? INSTEAD[id] : id;
          return instead === undefined ? [] : [instead];
        });
        assert.deepEqual(fired.toSorted(), [...new Set(expected)].toSorted());
      });
    }
  });
}
