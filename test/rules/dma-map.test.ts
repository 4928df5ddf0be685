/** Why memory could not be mapped for DMA, and whose it is. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EEXIST, EFAULT, ENOMEM, ENOSPC } from '../../src/engine/errno.ts';
import type { Host } from '../../src/events/host.ts';
import { dmaMapFailed } from '../../src/rules/dma-map-failed.ts';
import { LINUX_6_12 } from '../../src/scenario/kernels.ts';
import type { Scenario } from '../../src/scenario/scenario.ts';
import { closeGroup, duringSnapshot, mapFails, openGroup } from '../../src/scenario/vfio.ts';
import { ScenarioRunner } from '../kit/scenario-runner.ts';

const ADDRESS = '0000:02:00.1';

/** The only violation of a scenario. @param limit of locked memory, bytes; by default it is not known */
function violationOf(run: (scenario: Scenario) => void, limit?: number, more: Partial<Host> = {}) {
  const host = {
    ...more,
    traits: LINUX_6_12,
    pidsWithKvmFiles: () => undefined,
    lockedMemoryLimit: (pid: number) => (pid === 600 ? limit : undefined),
  };
  const runner = new ScenarioRunner({ rules: [dmaMapFailed], host });
  runner.run(run);
  const violations = runner.engine.list();
  assert.equal(violations.length, 1);
  return violations[0];
}

const opened = (errno: number, bytes: number) => (scenario: Scenario) => {
  scenario.open(scenario.bindPci(ADDRESS), { vm: scenario.createVm() });
  mapFails(scenario, errno, { bytes });
};

describe('a failed mapping for DMA', () => {
  it('is of the devices and the VM of its process', () => {
    const { device, vm, severity, process, message, evidence } = violationOf(
      opened(EEXIST, 2 ** 21),
    );
    assert.deepEqual(
      [device, vm?.pid, severity, process?.task.pid],
      [ADDRESS, 600, 'warning', 600],
    );
    assert.equal(
      message,
      `qemu (pid 600), which opened ${ADDRESS} for the VM of qemu (pid 600), could not map 2 MiB ` +
        'for DMA: EEXIST, because the range overlaps one that is mapped already.',
    );
    assert.equal(evidence.at(-1)?.ret, -EEXIST);
  });

  it('is of the devices of its group while none of them is open', () => {
    const { device, message } = violationOf((scenario) => {
      openGroup(scenario, scenario.bindPci(ADDRESS));
      mapFails(scenario, EEXIST, { bytes: 4096 });
    });
    assert.equal(device, ADDRESS);
    assert.match(message, /^qemu \(pid 600\), which opened the group of 0000:02:00\.1, could not/);
  });

  it('is of no device that another process has', () => {
    const other = { pid: 700, comm: 'other' };
    const { device, message } = violationOf((scenario) => {
      const [mine, theirs] = [scenario.bindPci(ADDRESS), scenario.bindPci('0000:03:00.0')];
      openGroup(scenario, mine);
      closeGroup(scenario, mine);
      openGroup(scenario, theirs, { as: other });
      mapFails(scenario, ENOSPC);
    });
    assert.equal(device, undefined);
    assert.match(
      message,
      /^qemu \(pid 600\) could not map 2 GiB for DMA: ENOSPC, because the contain/,
    );
  });

  it('is of no device that an earlier process of its id opened, but of those of a process that has exited', () => {
    /** @param startedAt when the process was started that has the id now, in relation to the open */
    const seen = (startedAt: (openedAt: number) => number) => {
      let openedAt = 0;
      const isAlive = (_: number, at: number) => startedAt(openedAt) <= at;
      const host = { traits: LINUX_6_12, pidsWithKvmFiles: () => undefined, isAlive };
      const runner = new ScenarioRunner({ rules: [dmaMapFailed], host });
      runner.run((scenario) =>
        scenario.open(scenario.bindPci(ADDRESS), { vm: scenario.createVm() }),
      );
      openedAt = runner.world.now;
      runner.run((scenario) => {
        scenario.wait(2);
        mapFails(scenario, EEXIST, { bytes: 4096 });
      });
      const [{ device, vm, message }] = runner.violations();
      return [device, vm?.pid, /^qemu \(pid 600\)(, which .*,)? could/.exec(message)?.[1]];
    };
    const its = [ADDRESS, 600, `, which opened ${ADDRESS} for the VM of qemu (pid 600),`];
    assert.deepEqual(
      seen(() => 0),
      its,
    );
    assert.deepEqual(
      seen((openedAt) => openedAt + 1),
      [undefined, undefined, undefined],
    );
    assert.deepEqual(
      seen(() => Number.POSITIVE_INFINITY),
      its,
      'no process has the id now',
    );
  });

  it('says of which devices it is not known whether its process opened them', () => {
    const { message } = violationOf((scenario) => {
      const [found, own] = [scenario.bindPci(ADDRESS), scenario.bindPci('0000:02:00.2')];
      const { groupId } = found;
      duringSnapshot(scenario, () =>
        scenario.event('snapshot.group:begin', { pid: 600, comm: 'qemu' }, { groupId }),
      );
      openGroup(scenario, own);
      mapFails(scenario, EEXIST);
    });
    assert.match(
      message,
      /, which opened, or had open when the agent first looked, the group of 0000:02:00\.1, 0000:02:00\.2, could/,
    );
  });

  it('names three devices at most', () => {
    const { message } = violationOf((scenario) => {
      for (const end of '12345') scenario.open(scenario.bindPci(`0000:02:00.${end}`));
      mapFails(scenario, EEXIST);
    });
    assert.match(
      message,
      /which opened 0000:02:00\.1, 0000:02:00\.2, 0000:02:00\.3, 2 more, could/,
    );
  });

  it('gives the limit of locked memory as the reason only as far as that is known', () => {
    const message = (limit?: number) => violationOf(opened(ENOMEM, 2 ** 31), limit).message;
    assert.match(
      message(65536),
      /2 GiB for DMA: ENOMEM, probably because its limit of locked memory \(RLIMIT_MEMLOCK\) is 64 KiB, which is less/,
    );
    assert.match(message(2 ** 33), /no memory left: its limit of locked memory .* is 8 GiB\.$/);
    assert.match(
      message(Number.POSITIVE_INFINITY),
      /probably because the kernel or its control group/,
    );
    assert.match(message(), /because its limit of locked memory \(RLIMIT_MEMLOCK\) is reached, or/);
  });

  it('is of no weight where a VMM maps the memory of a device', () => {
    assert.equal(violationOf(opened(EFAULT, 2 ** 20)).severity, 'info');
  });

  it('is one violation however often the process tries', () => {
    const { count } = violationOf((scenario) => {
      scenario.open(scenario.bindPci(ADDRESS), { vm: scenario.createVm() });
      for (let i = 0; i < 5; i++) mapFails(scenario, EEXIST);
    });
    assert.equal(count, 5);
  });

  it('is another violation where the errno is another', () => {
    const runner = new ScenarioRunner({ rules: [dmaMapFailed] });
    runner.run((scenario) => {
      scenario.open(scenario.bindPci(ADDRESS), { vm: scenario.createVm() });
      for (const errno of [ENOMEM, EEXIST, ENOMEM, EFAULT]) mapFails(scenario, errno);
    });
    assert.deepEqual(
      runner
        .violations()
        .map(({ message, severity, count }) => [/E[A-Z]+/.exec(message)?.[0], severity, count]),
      [
        ['ENOMEM', 'warning', 2],
        ['EEXIST', 'warning', 1],
        ['EFAULT', 'info', 1],
      ],
    );
  });

  it('does not give a size that could not be read', () => {
    assert.match(violationOf(opened(EEXIST, 0)).message, /could not map memory for DMA: EEXIST/);
  });

  it('finds devices that were opened since it last looked', () => {
    const runner = new ScenarioRunner({ rules: [dmaMapFailed] });
    const device = runner.run((scenario) => scenario.bindPci(ADDRESS));
    runner.run((scenario) => mapFails(scenario, EEXIST));
    assert.equal(runner.world.mapper?.devices.length, 0);
    runner.run((scenario) => {
      scenario.open(device);
      scenario.wait(2);
      mapFails(scenario, EEXIST);
    });
    assert.equal(runner.world.mapper?.devices[0]?.name, ADDRESS);
  });
});
