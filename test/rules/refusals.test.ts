/** What the rules say about refusals when the host can be asked: sysfs, /proc, IOMMU groups. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RULES } from '../../src/catalogue.ts';
import { EBUSY, EINVAL, EIO, ENOSPC } from '../../src/engine/errno.ts';
import type { FileOwner, Host } from '../../src/events/host.ts';
import { FLAG } from '../../src/events/wire.gen.ts';
import { openCdev } from '../../src/scenario/cdev.ts';
import { plainVfio } from '../../src/scenario/fields.ts';
import { LINUX_6_12, WITH_IOMMUFD } from '../../src/scenario/kernels.ts';
import { bindPciFails, closeGroup, duringSnapshot, openGroup } from '../../src/scenario/vfio.ts';
import { ScenarioRunner } from '../kit/scenario-runner.ts';

const SPDK = { pid: 700, comm: 'spdk' };

function runnerWith(answers: Partial<Host>): ScenarioRunner {
  const host = { traits: LINUX_6_12, pidsWithKvmFiles: () => new Set<number>(), ...answers };
  return new ScenarioRunner({ rules: RULES, host });
}

function messages(runner: ScenarioRunner): string[] {
  return runner.violations().map(({ rule, message }) => `${rule}: ${message}`);
}

function owner(pid: number, comm: string, group: number): FileOwner {
  return {
    ...{ pid, comm, uid: 0, startedAt: 0, kvmFiles: false, deviceFiles: [] },
    ...{ groupFiles: [{ fd: 9, group }], cdevFiles: [], mappedDevices: [] },
  };
}

describe('an instance that a driver does not return', () => {
  it('is found missing although the driver was too slow for the first answer', () => {
    // As the host: what was not answered in time is asked again only when a later answer is wanted.
    type Offer = ReadonlyMap<string, number> | undefined;
    let offer: Offer = new Map([['mtty-1', 2]]);
    const asked: { at: number; offer: Offer }[] = [];
    const runner = runnerWith({
      availableInstances(_parent, notBefore) {
        const last = asked.at(-1);
        if (last && last.at >= notBefore) return last.offer;
        asked.push({ at: notBefore, offer });
        return undefined;
      },
    });
    const parent = runner.run((scenario) => scenario.parent());
    runner.run((scenario) => scenario.wait(5));
    offer = undefined;
    runner.run((scenario) => {
      scenario.remove(scenario.create(parent));
      scenario.wait(5);
    });
    assert.deepEqual(messages(runner), []);
    offer = new Map([['mtty-1', 1]]);
    runner.run((scenario) => scenario.wait(15));
    assert.deepEqual(
      runner.violations().map(({ rule, severity }) => [rule, severity]),
      [['instances-exhausted', 'error']],
    );
  });
});

describe('a create refused with ENOSPC', () => {
  for (const [offer, rule] of [
    [1, 'create-failed'],
    [0, 'instances-exhausted'],
  ] as const) {
    it(`is reported once, as ${rule}, when sysfs has answered that it offers ${offer}`, () => {
      let answer: ReadonlyMap<string, number> | undefined;
      const runner = runnerWith({ availableInstances: () => answer });
      runner.run((scenario) => {
        scenario.probeFails(scenario.createEnters(scenario.parent()), ENOSPC);
      });
      assert.deepEqual(messages(runner), []);
      answer = new Map([['mtty-1', offer]]);
      runner.run((scenario) => scenario.wait(1));
      runner.run((scenario) => scenario.wait(5));
      assert.deepEqual(
        runner.violations().map((one) => [one.rule, one.count]),
        [[rule, 1]],
      );
    });
  }

  it('is reported as instances-exhausted when the driver does not answer', () => {
    const runner = runnerWith({ availableInstances: () => undefined });
    runner.run((scenario) => {
      scenario.probeFails(scenario.createEnters(scenario.parent()), ENOSPC);
      scenario.wait(5);
    });
    assert.deepEqual(
      runner.violations().map(({ rule }) => rule),
      ['instances-exhausted'],
    );
  });

  it('says of whose refusal nothing is known after a loss', () => {
    const runner = runnerWith({});
    runner.run((scenario) => {
      const creation = scenario.createEnters(scenario.parent());
      scenario.steps.push('loss');
      scenario.probeFails(creation, EIO);
    });
    assert.match(messages(runner)[0], /^create-failed: .*events were lost/);
  });
});

describe('a group that is open already', () => {
  it('was opened before the agent started, as a snapshot shows', () => {
    const runner = runnerWith({});
    runner.run((scenario) => {
      const device = scenario.bindPci('0000:01:00.0');
      duringSnapshot(scenario, () =>
        scenario.event('snapshot.group:begin', SPDK, { groupId: device.groupId }),
      );
      scenario.groupOpenFails(device, EBUSY);
    });
    const [message] = messages(runner);
    assert.match(
      message,
      /because spdk \(pid 700\) had it open when the agent first looked, and it was not closed in between\./,
    );
    assert.match(message, /Only the group is open, and none of its devices\.$/);
  });

  it('is held by a process that only /proc shows, once that was read', () => {
    let owners: readonly FileOwner[] | undefined;
    const runner = runnerWith({ fileOwners: () => owners });
    const { groupId } = runner.run((scenario) => {
      const device = scenario.bindPci('0000:01:00.0');
      scenario.groupOpenFails(device, EBUSY);
      return device;
    });
    assert.deepEqual(messages(runner), []);
    owners = [owner(700, 'spdk', groupId), owner(701, 'other', groupId + 1)];
    runner.run((scenario) => scenario.wait(1));
    const [message, ...others] = messages(runner);
    assert.match(message, /EBUSY, because spdk \(pid 700\) has it open\./);
    assert.doesNotMatch(message, /other/);
    assert.deepEqual(others, []);
  });

  it('was passed on by the process that opened it', () => {
    const runner = runnerWith({ fileOwners: () => [owner(701, 'helper', 1)] });
    runner.run((scenario) => {
      const device = scenario.bindPci('0000:01:00.0');
      openGroup(scenario, { ...device, groupId: 1 }, { as: SPDK });
      scenario.groupOpenFails({ ...device, groupId: 1 }, EBUSY);
    });
    assert.match(
      messages(runner)[0],
      /spdk \(pid 700\), which opened it .* helper \(pid 701\) has it/,
    );
  });
});

describe('a group that a process has opened', () => {
  const HELPER = { pid: 701, comm: 'helper' };

  /** What is said when `as` is refused the group 30 s after the open of {@link SPDK}. */
  function refused(
    as: { readonly pid: number; readonly comm: string },
    fileOwners?: Host['fileOwners'],
    { isAlive, opens = false }: { isAlive?: Host['isAlive']; opens?: boolean } = {},
  ): string {
    const answers = { ...(fileOwners ? { fileOwners } : {}), ...(isAlive ? { isAlive } : {}) };
    const runner = runnerWith(answers);
    runner.run((scenario) => {
      const device = scenario.bindPci('0000:01:00.0');
      openGroup(scenario, device, { as: SPDK });
      if (opens) scenario.open(device, { as: SPDK });
      scenario.wait(30);
      scenario.groupOpenFails(device, EBUSY, { as });
      scenario.wait(5);
    });
    return messages(runner).find((message) => message.startsWith('open-failed')) ?? '';
  }

  it('has it, as /proc shows', () => {
    const owners = () => [owner(700, 'spdk', 1)];
    assert.match(
      refused(HELPER, owners),
      /spdk \(pid 700\), which opened it 30 s before, has it open/,
    );
    assert.match(refused(SPDK, owners), /the same process, which opened it 30 s before, has it/);
  });

  it('has passed it on and is refused itself', () => {
    const text = refused(SPDK, () => [owner(701, 'helper', 1), owner(702, 'heir', 1)]);
    assert.match(text, /, has passed it on: helper \(pid 701\) and heir \(pid 702\) have it open/);
  });

  it('has it no more, and nobody is seen to have it', () => {
    for (const as of [SPDK, HELPER]) {
      const text = refused(as, () => []);
      assert.match(text, /which opened it 30 s before, has it no more, and which process has it/);
    }
  });

  it('has it no more, and an open device of it keeps it, as it keeps a VM that it was given to', () => {
    const text = refused(HELPER, () => [], { opens: true });
    assert.match(
      text,
      /has it no more, and no process has a descriptor of it: it is kept open by the open file of 0000:01:00\.0\. Of its devices 0000:01:00\.0 is open/,
    );
  });

  it('is gone, and another process has its id', () => {
    const later = { ...owner(700, 'innocent', 2), startedAt: Number.MAX_SAFE_INTEGER };
    const isAlive = () => false;
    const text = refused(HELPER, () => [later, owner(702, 'heir', 1)], { isAlive });
    assert.match(
      text,
      /because spdk \(pid 700\), which opened it 30 s before, is gone: heir \(pid 702\) has it open/,
    );
    assert.match(
      refused(HELPER, () => [], { isAlive }),
      /is gone, and which process has it now/,
    );
  });

  it('is not said to have it where /proc has no answer', () => {
    for (const owners of [undefined, () => undefined]) {
      for (const as of [SPDK, HELPER]) {
        const text = refused(as, owners);
        assert.match(text, /because spdk \(pid 700\) opened it 30 s before, and it was not closed/);
      }
    }
  });
});

describe('a group that a snapshot found in a process', () => {
  /** What is said when it is refused, with what /proc shows then. */
  function refused(...owners: FileOwner[]): string {
    const runner = runnerWith({ fileOwners: () => owners });
    runner.run((scenario) => {
      const device = { dev: 1, vdev: 1, groupId: 1, names: { device: '0000:01:00.0', bus: 'pci' } };
      duringSnapshot(scenario, () => {
        scenario.event('snapshot.device:begin', SPDK, { ...device, flags: FLAG.EVENT_SNAPSHOT });
        scenario.event('snapshot.group:begin', SPDK, { groupId: 1 });
      });
      scenario.wait(1);
      for (const phase of ['begin', 'end'] as const) {
        const ret = phase === 'end' ? -EBUSY : 0;
        scenario.event(`vfio.group.open:${phase}`, { pid: 701, comm: 'qemu' }, { groupId: 1, ret });
      }
    });
    return messages(runner).join();
  }

  it('has it', () => {
    assert.match(
      refused(owner(700, 'spdk', 1)),
      /because spdk \(pid 700\), which had it when the agent first looked, has it open\. Only the group is known to be open, and none of its devices\.$/,
    );
  });

  it('has it no more, which does not show that it has passed it on', () => {
    assert.match(refused(owner(702, 'heir', 1)), /, has it no more: heir \(pid 702\) has it open/);
  });

  it('is not the process that has got its id since', () => {
    const reborn = { ...owner(700, 'thief', 1), startedAt: 1000.5e9 };
    assert.match(refused(reborn), /spdk .*, has it no more: thief \(pid 700\) has it open/);
  });
});

describe('a group of an mdev that existed before the agent', () => {
  it('is viable, whatever the driver of the mdev is called', () => {
    const uuid = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';
    const runner = runnerWith({ groupMembers: () => [{ name: uuid, driver: 'mtty' }] });
    runner.run((scenario) => {
      const names = { device: uuid, bus: 'mdev', type: 'mtty-1', parent: 'mtty', driver: 'mtty' };
      const flags = FLAG.EVENT_SNAPSHOT;
      duringSnapshot(scenario, () =>
        scenario.event('snapshot.device:begin', SPDK, { names, groupId: 1, flags }),
      );
      const device = { ...scenario.bindPci('0000:01:00.0'), groupId: 1 };
      openGroup(scenario, device);
      closeGroup(scenario, device, { container: false });
    });
    assert.deepEqual(messages(runner), []);
  });
});

describe('a device that VFIO does not register', () => {
  for (const [has, words] of [
    [false, /because it has no IOMMU group/],
    [true, /although it has an IOMMU group/],
    [undefined, /probably because it has no IOMMU group/],
  ] as const) {
    it(`whose IOMMU group is ${has === undefined ? 'not known' : has ? 'there' : 'missing'}`, () => {
      const runner = runnerWith({ hasIommuGroup: () => has });
      runner.run((scenario) =>
        bindPciFails(scenario, '0000:01:00.0', { error: EINVAL, at: 'register' }),
      );
      const found = messages(runner);
      assert.equal(found.length, 1);
      assert.match(found[0], words);
    });
  }
});

describe('a group without container', () => {
  it('may not be viable where that is not known', () => {
    const runner = runnerWith({});
    runner.run((scenario) => scenario.getFdFails(scenario.bindPci('0000:01:00.0'), EINVAL));
    assert.match(messages(runner)[0], /bound to a driver of the host, which is not known here/);
  });
});

describe('the bind of a cdev', () => {
  it('that is refused, and whose begin was not observed, has no reason that is known', () => {
    const host = { traits: WITH_IOMMUFD, pidsWithKvmFiles: () => new Set<number>() };
    const runner = new ScenarioRunner({ rules: RULES, host });
    runner.run((scenario) => {
      const device = scenario.create(scenario.parent());
      const { key: file } = openCdev(scenario, device);
      scenario.event('vfio.cdev.bind:end', SPDK, { ...plainVfio(device), file, ret: -EINVAL });
    });
    const [message, ...others] = messages(runner);
    assert.deepEqual(others, []);
    assert.match(
      message,
      /^bind-refused: .* EINVAL, for a reason that is not known: how far it got/,
    );
  });
});
