/** Why a device is refused that was requested with a VF token, or without the one that it needs. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RULES } from '../../src/catalogue.ts';
import { EACCES, EINVAL, ENODEV } from '../../src/engine/errno.ts';
import { play } from '../../src/engine/play.ts';
import type { Traits } from '../../src/events/traits.ts';
import { LINUX_5_10, LINUX_6_12 } from '../../src/scenario/kernels.ts';
import type { Scenario } from '../../src/scenario/scenario.ts';

const ADDRESS = '0000:02:00.1';

/** The only violation of a scenario. */
function violationOf(run: (scenario: Scenario) => void, kernel: Traits = LINUX_6_12) {
  const { violations } = play(run, RULES, kernel);
  assert.deepEqual(
    violations.map(({ rule }) => rule),
    ['open-failed'],
  );
  return violations[0];
}

const refused =
  (errno: number, hasOptions: boolean) =>
  (scenario: Scenario): void =>
    scenario.getFdFails(scenario.bindPci(ADDRESS), errno, { hasOptions });

describe('a request for a device with a VF token', () => {
  it('is refused because the token is wrong, and the device is known', () => {
    const { device, message } = violationOf(refused(EACCES, true));
    assert.equal(device, ADDRESS);
    assert.equal(
      message,
      `qemu (pid 600) could not open ${ADDRESS} in group 1: EACCES, because the VF token that it ` +
        'passed is wrong: its physical function has another one.',
    );
  });

  it('is refused because there is no token', () => {
    const { message } = violationOf(refused(EACCES, false));
    assert.match(
      message,
      /EACCES, because it passed no VF token, and this device requires the one/,
    );
  });

  it('is only probably refused for it where the open of the driver is not observed', () => {
    const { message } = violationOf(refused(EACCES, true), LINUX_5_10);
    assert.match(message, /EACCES, probably because the VF token that it passed is wrong/);
  });

  it('may be refused because the token is malformed or not wanted, or for another reason', () => {
    const { message } = violationOf(refused(EINVAL, true));
    assert.match(message, /EINVAL, because the VF token behind the name is malformed, or is not/);
    assert.match(message, /or because the group has no container/);
    assert.doesNotMatch(violationOf(refused(EINVAL, false)).message, /token/);
  });

  it('finds no mdev', () => {
    const mdev = (hasOptions: boolean) => (scenario: Scenario) =>
      scenario.getFdFails(scenario.create(scenario.parent()), ENODEV, { hasOptions });
    const { device, message } = violationOf(mdev(true));
    assert.match(device ?? '', /^00000000-0000-4000-8000-/);
    assert.match(message, /ENODEV, because something follows its name, such as a VF token/);
    assert.match(violationOf(mdev(false)).message, /no device of that name is in this group/);
  });
});
