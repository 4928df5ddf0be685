/** Rules about opens and VMs on older kernels, where fewer events can be observed. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RULES, TOPICS } from '../../src/catalogue.ts';
import { EINVAL, EPERM, ESRCH } from '../../src/engine/errno.ts';
import { kernelOf, play } from '../../src/engine/play.ts';
import { isPossible } from '../../src/engine/rule.ts';
import type { Traits } from '../../src/events/traits.ts';
import { LINUX_5_10, LINUX_6_1 } from '../../src/scenario/kernels.ts';
import { mdevFromBefore } from '../../src/scenario/mdev.ts';
import type { Scenario } from '../../src/scenario/scenario.ts';
import type { Step } from '../../src/scenario/types.ts';
import { asOnLinux61, asOnLinux510 } from '../kit/older-kernels.ts';

interface Older {
  readonly version: string;
  readonly kernel: Traits;
  readonly convert: (steps: readonly Step[]) => Step[];
}

const OLDER_6_1: Older = { version: '6.1', kernel: LINUX_6_1, convert: asOnLinux61 };
const OLDER_5_10: Older = { version: '5.10', kernel: LINUX_5_10, convert: asOnLinux510 };

const VGPU = { name: '0000:00:02.0', driver: 'intel_vgpu_mdev' };
const MATRIX = { name: 'matrix', driver: 'vfio_ap' };
const CHILD = { pid: 601, comm: 'child' };

/** @returns "rule severity" of each violation, in alphabetical order */
function ruleFindings(run: (scenario: Scenario) => void, { kernel, convert }: Older): string[] {
  const rules = RULES.filter((rule) => isPossible(rule, kernel));
  const converted = (scenario: Scenario) => {
    run(scenario);
    const { steps } = scenario;
    steps.splice(0, steps.length, ...convert(steps));
  };
  const { violations } = play(converted, rules, kernel);
  return violations.map(({ rule, severity }) => `${rule} ${severity}`).sort();
}

/** Examples in which these kernels behave otherwise than 6.12. */
const OTHERWISE: Readonly<Record<string, string>> = {
  // There, a VM can always be captured.
  'the VM of its group was being destroyed: that is kvm-capture-refused': '6.1 5.10',
  'a device tries to get a VM that is gone: that is kvm-capture-refused': '6.1 5.10',
  // The memory of a VM is known only from a device that has it.
  'refused because the VM is that of another process: that is foreign-opener': '6.1 5.10',
  // Drivers are notified of a VM at any time, and no event shows how often a device is open.
  'opens before the agent started are only in the count': '5.10',
  'the VM for which the device was opened is set again': '5.10',
  'the device never had that VM: it was opened before the group did': '5.10',
};

for (const older of [OLDER_6_1, OLDER_5_10]) {
  const { version } = older;
  const rules = TOPICS.find(({ title }) => title.startsWith('Opening'))?.rules ?? [];
  describe(`near misses on ${version}`, () => {
    for (const rule of rules.filter((one) => isPossible(one, kernelOf(one)))) {
      for (const { title, run, also = [] } of rule.examples.doesNotFire) {
        if (OTHERWISE[title]?.split(' ').includes(version)) continue;
        it(`of ${rule.id}: ${title}`, () => {
          const possible = RULES.filter(({ id }) => also.includes(id)).filter((one) =>
            isPossible(one, older.kernel),
          );
          const found = ruleFindings(run, older).map((text) => text.split(' ')[0]);
          assert.deepEqual(found, possible.map(({ id }) => id).sort());
        });
      }
    }
  });
}

describe('a VM that is set after the open', () => {
  const run = (scenario: Scenario) => {
    const device = scenario.create(scenario.parent());
    scenario.open(device);
    scenario.setKvm(device, scenario.createVm());
  };

  it('never reaches the driver on 6.1', () => {
    assert.deepEqual(ruleFindings(run, OLDER_6_1), [
      'kvm-set-after-open warning',
      'open-without-kvm info',
    ]);
  });

  it('reaches the driver on 5.10', () => {
    assert.deepEqual(ruleFindings(run, OLDER_5_10), [
      'kvm-set-after-open info',
      'open-without-kvm info',
    ]);
  });

  it('is set in time before it is opened again', () => {
    const again = (scenario: Scenario) => {
      const device = scenario.create(scenario.parent());
      const vm = scenario.createVm();
      const first = scenario.open(device, { vm });
      scenario.close(scenario.open(device, { vm }));
      scenario.close(first);
      scenario.clearKvm(device);
      scenario.open(device, { vm });
    };
    for (const older of [OLDER_6_1, OLDER_5_10]) {
      assert.deepEqual(ruleFindings(again, older), ['nested-open info']);
    }
  });
});

describe('a VM that is cleared while the device is open', () => {
  const run = (scenario: Scenario) => {
    const device = scenario.create(scenario.parent());
    const vm = scenario.createVm();
    scenario.open(device, { vm });
    scenario.open(device, { vm });
    scenario.clearKvm(device);
  };

  it('dangles on 6.1, and is taken from the driver on 5.10', () => {
    const found = (older: Older) => ruleFindings(run, older).filter((text) => /cleared/.test(text));
    assert.deepEqual(found(OLDER_6_1), ['kvm-cleared-while-open warning']);
    assert.deepEqual(found(OLDER_5_10), ['kvm-cleared-while-open error']);
  });
});

describe('a VM that is given another one of 5.10', () => {
  it('is reported as changed, whatever VM the device holds', () => {
    const run = (scenario: Scenario) => {
      const device = scenario.create(scenario.parent());
      scenario.open(device, { vm: scenario.createVm() });
      scenario.setKvm(device, scenario.createVm({ as: CHILD }));
    };
    assert.deepEqual(ruleFindings(run, OLDER_5_10), ['kvm-changed-while-open error']);
  });
});

describe('a VM that is destroyed under an open device of 6.1', () => {
  const open = (scenario: Scenario, parent = {}) => {
    const vm = scenario.createVm();
    const opening = scenario.open(scenario.create(scenario.parent(parent)), { vm });
    scenario.putKvm(vm);
    scenario.putKvm(vm);
    return opening;
  };

  it('leaves a pointer that most drivers never follow', () => {
    const run = (scenario: Scenario) => {
      open(scenario);
      scenario.wait(3);
    };
    assert.deepEqual(ruleFindings(run, OLDER_6_1), ['kvm-destroyed-while-captured warning']);
  });

  it('does not fire for a device that is closed within a second', () => {
    const run = (scenario: Scenario) => {
      const opening = open(scenario);
      scenario.wait(1);
      scenario.closeBegins(opening);
      scenario.wait(3);
    };
    assert.deepEqual(ruleFindings(run, OLDER_6_1), []);
  });

  it('is fatal for a driver that works with it', () => {
    const run = (scenario: Scenario) => void open(scenario, VGPU);
    assert.deepEqual(ruleFindings(run, OLDER_6_1), ['kvm-destroyed-while-captured critical']);
  });

  it('says nothing on 5.10, where the core has no such pointer', () => {
    const run = (scenario: Scenario) => {
      open(scenario, VGPU);
      scenario.wait(3);
    };
    assert.deepEqual(ruleFindings(run, OLDER_5_10), []);
  });
});

describe('an open by another process than that of the VM', () => {
  const run = (parent: { name?: string; driver?: string }) => (scenario: Scenario) => {
    scenario.open(scenario.create(scenario.parent(parent)), { vm: scenario.createVm(), as: CHILD });
  };

  it('matters to a driver that works with the memory of the guest', () => {
    assert.deepEqual(ruleFindings(run({}), OLDER_6_1), ['foreign-opener info']);
    assert.deepEqual(ruleFindings(run(VGPU), OLDER_6_1), ['foreign-opener warning']);
  });

  it('cannot be distinguished from others on 5.10', () => {
    assert.deepEqual(ruleFindings(run(VGPU), OLDER_5_10), []);
  });

  it('is an open that failed where the kernel does not say whose memory it is', () => {
    const refused = (scenario: Scenario) => {
      const device = scenario.create(scenario.parent(VGPU));
      const opening = scenario.openBegins(device, { vm: scenario.createVm(), as: CHILD });
      scenario.openEnds(opening, { error: ESRCH });
    };
    for (const older of [OLDER_6_1, OLDER_5_10]) {
      assert.deepEqual(ruleFindings(refused, older), ['open-failed warning']);
    }
  });
});

describe('an open without a VM', () => {
  it('is an error when the driver refuses it, also where only the request for it is observed', () => {
    const run = (scenario: Scenario) => {
      scenario.openEnds(scenario.openBegins(scenario.create(scenario.parent(VGPU))), {
        error: ESRCH,
      });
    };
    for (const older of [OLDER_6_1, OLDER_5_10]) {
      assert.deepEqual(ruleFindings(run, older), ['open-without-kvm error']);
    }
  });

  it('may be one without a container on 5.10, where the call of its driver is not observed', () => {
    const run = (scenario: Scenario) => {
      scenario.openEnds(scenario.openBegins(scenario.create(scenario.parent(VGPU))), {
        error: EINVAL,
      });
    };
    assert.deepEqual(ruleFindings(run, OLDER_6_1), ['open-without-kvm error']);
    assert.deepEqual(ruleFindings(run, OLDER_5_10), ['open-failed warning']);
  });

  it('may have one that nobody saw being set, when the device is older than the agent', () => {
    const run = (scenario: Scenario) => void scenario.open(mdevFromBefore(scenario.parent()));
    assert.deepEqual(ruleFindings(run, OLDER_6_1), ['open-without-kvm info']);
    assert.deepEqual(ruleFindings(run, OLDER_5_10), []);
  });

  it('is resolved later on 5.10, where the driver is notified', () => {
    const run = (scenario: Scenario) =>
      void scenario.open(scenario.create(scenario.parent(MATRIX)));
    assert.deepEqual(ruleFindings(run, OLDER_6_1), ['open-without-kvm error']);
    assert.deepEqual(ruleFindings(run, OLDER_5_10), ['open-without-kvm info']);
  });
});

describe('a second device of a driver that allows a VM one', () => {
  it('is reported from the request for it where the open is not observed', () => {
    const run = (scenario: Scenario) => {
      const parent = scenario.parent(MATRIX);
      const vm = scenario.createVm();
      scenario.open(scenario.create(parent), { vm });
      scenario.openEnds(scenario.openBegins(scenario.create(parent), { vm }), { error: EPERM });
    };
    for (const older of [OLDER_6_1, OLDER_5_10]) {
      assert.deepEqual(ruleFindings(run, older), ['kvm-used-twice warning']);
    }
  });
});
