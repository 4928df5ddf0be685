/** What rules say of references on VMs when events are missing, or come after the end. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EINVAL, EIO } from '../../src/engine/errno.ts';
import { COVERED } from '../../src/events/wire.gen.ts';
import { deviceKvmRefsUnbalanced } from '../../src/rules/device-kvm-refs-unbalanced.ts';
import { kvmCaptureRefused } from '../../src/rules/kvm-capture-refused.ts';
import { kvmChangedWhileOpen } from '../../src/rules/kvm-changed-while-open.ts';
import { kvmDroppedWhileOpen } from '../../src/rules/kvm-dropped-while-open.ts';
import { kvmRefLeak } from '../../src/rules/kvm-ref-leak.ts';
import { kvmRefUnderflow } from '../../src/rules/kvm-ref-underflow.ts';
import { notifierErrorIgnored } from '../../src/rules/notifier-error-ignored.ts';
import {
  bindCdev,
  bindCdevFails,
  closeCdev,
  openCdev,
  setCdevKvm,
} from '../../src/scenario/cdev.ts';
import { LINUX_5_10 } from '../../src/scenario/kernels.ts';
import type { Scenario } from '../../src/scenario/scenario.ts';
import type { ScenarioVm } from '../../src/scenario/types.ts';
import { duringSnapshot, loadModule } from '../../src/scenario/vfio.ts';
import { ScenarioRunner } from '../kit/scenario-runner.ts';

const SATURATED = -0x40000000;

describe('a VM with a leaked reference', () => {
  const leak = () => {
    const one = new ScenarioRunner({ rules: [kvmRefLeak] });
    one.run((scenario) => {
      const vm = scenario.createVm();
      scenario.getKvm(vm);
      scenario.closeVm(vm);
      scenario.exit(vm.task);
      scenario.wait(20);
    });
    assert.deepEqual(one.changes, ['raised v1']);
    return one;
  };
  const unloads: Readonly<Record<string, (scenario: Scenario) => void>> = {
    'a snapshot shows that KVM is unloaded': (scenario) =>
      duringSnapshot(scenario, () => {}, COVERED.DEBUGFS | COVERED.NO_KVM),
    'KVM is loaded again': (scenario) => loadModule(scenario, 'kvm'),
  };
  for (const [how, unload] of Object.entries(unloads)) {
    it(`has ended when ${how}, and its memory is said to be lost`, () => {
      const one = leak();
      one.run((scenario) => {
        unload(scenario);
        scenario.wait(2);
      });
      assert.equal(one.world.vms.size, 0);
      assert.deepEqual(one.changes, ['raised v1', 'resolved v1']);
      assert.match(
        one.violations()[0].conclusion ?? '',
        /^KVM was unloaded although a leaked reference kept the VM of qemu \(pid \d+\): /,
      );
    });
  }

  it('stays while another module is loaded', () => {
    const one = leak();
    one.run((scenario) => loadModule(scenario, 'kvmgt'));
    assert.equal(one.onlyVm().state, 'zombie');
  });
});

describe('a VM of which the kernel lost the reference of a device', () => {
  const other = { pid: 601, comm: 'launcher' };
  /** A second file of an open device cannot be bound; then all is closed, and the first VM leaks. */
  function leakOf(secondVm: (scenario: Scenario, first: ScenarioVm) => ScenarioVm): ScenarioRunner {
    const one = new ScenarioRunner({ rules: [kvmRefLeak, kvmDroppedWhileOpen] });
    one.run((scenario) => {
      const device = scenario.create(scenario.parent());
      const vm = scenario.createVm();
      const [cdev, second] = [
        openCdev(scenario, device),
        openCdev(scenario, device, { as: other }),
      ];
      setCdevKvm(scenario, cdev, vm);
      bindCdev(scenario, cdev);
      const another = secondVm(scenario, vm);
      setCdevKvm(scenario, second, another);
      bindCdevFails(scenario, second, EINVAL, { at: 'device' });
      closeCdev(scenario, second);
      closeCdev(scenario, cdev);
      scenario.closeVm(vm);
      scenario.exit(vm.task);
      if (another !== vm) scenario.closeVm(another);
      scenario.exit(another.task);
      scenario.wait(20);
    });
    return one;
  }

  it('leaks, and the message names the bind that lost the reference', () => {
    const one = leakOf((scenario) => scenario.createVm({ as: other }));
    const [dropped, leak, ...more] = one.violations();
    assert.deepEqual(more, []);
    assert.match(
      dropped.message,
      /^The kernel dropped the VM of launcher \(pid 601\) from \S+ .*while that was open: launcher \(pid 601\) was refused the bind of a second file of its cdev vfio\d+, which qemu \(pid 600\) had bound\. The device has no VM until it is closed, and its reference on the VM of qemu \(pid 600\) is lost: that VM is not freed before the next reboot\.$/,
    );
    assert.deepEqual([leak.rule, leak.vm?.pid], ['kvm-ref-leak', 600]);
    assert.match(
      leak.message,
      /but 1 reference keeps it alive\. One is that of \S+.*: the kernel lost it when the bind of a second file of the device was refused \(kvm-dropped-while-open\)\.$/,
    );
    assert.equal(one.onlyVm().task?.pid, 600);
  });

  it('leaks also if the second file has the same VM', () => {
    const [dropped, leak] = leakOf((_, first) => first).violations();
    assert.match(dropped.message, /and the reference that it had before is lost/);
    assert.deepEqual([leak.rule, leak.vm?.pid], ['kvm-ref-leak', 600]);
  });
});

describe('references of a driver', () => {
  const runner = () => new ScenarioRunner({ rules: [deviceKvmRefsUnbalanced] });

  it('are counted again from each first open', () => {
    const one = runner();
    one.run((scenario) => {
      const device = scenario.create(scenario.parent());
      const vm = scenario.createVm();
      for (const isTaken of [true, false, true]) {
        const opening = scenario.openBegins(device, { vm });
        if (isTaken) scenario.getKvm(vm);
        scenario.close(scenario.openEnds(opening));
      }
    });
    const [violation, ...others] = one.violations();
    assert.deepEqual([violation.count, others], [2, []]);
    assert.match(violation.message, /^mtty took 1 reference on a VM that it did not put/);
  });

  it('are not judged when events were lost since', () => {
    const one = runner();
    const opening = one.run((scenario) => {
      const vm = scenario.createVm();
      const begun = scenario.openBegins(scenario.create(scenario.parent()), { vm });
      scenario.getKvm(vm);
      return scenario.openEnds(begun);
    });
    one.lose();
    one.run((scenario) => scenario.close(opening));
    assert.deepEqual(one.violations(), []);
  });

  it('are checked for a device that existed before the agent, when its open was observed', () => {
    const one = runner();
    one.run((scenario) => {
      const parent = scenario.parent();
      const device = {
        ...scenario.create(parent),
        key: 901,
        uuid: '0000:01:00.0',
        parent: undefined,
      };
      const vm = scenario.createVm();
      const opening = scenario.openBegins(device, { vm });
      scenario.getKvm(vm);
      scenario.close(scenario.openEnds(opening));
    });
    assert.deepEqual(
      one.violations().map(({ device, quality }) => [device, quality]),
      [['0000:01:00.0', 'partial']],
    );
  });

  it('do not count while another device is the one that is opened', () => {
    const one = runner();
    one.run((scenario) => {
      const parent = scenario.parent();
      const vm = scenario.createVm();
      const as = { ...vm.task, tid: 602 };
      const first = scenario.openBegins(scenario.create(parent), { vm });
      const second = scenario.openBegins(scenario.create(parent), { vm, as });
      scenario.getKvm(vm);
      scenario.openEnds(second, { error: EIO });
      scenario.putKvm(vm);
      scenario.openEnds(first, { error: EIO });
    });
    assert.deepEqual(one.violations(), []);
  });
});

describe('a reference on a VM that is gone', () => {
  it('is about that VM, and makes no other', () => {
    const runner = new ScenarioRunner({ rules: [kvmRefUnderflow] });
    const vm = runner.run((scenario) => {
      const made = scenario.createVm();
      scenario.closeVm(made);
      scenario.putKvm(made);
      scenario.putKvm(made);
      return made;
    });
    const [violation, ...others] = runner.violations();
    assert.deepEqual([violation.severity, violation.count, others], ['critical', 2, []]);
    assert.equal(violation.vm?.pid, vm.task.pid);
    assert.match(violation.message, /put a reference on the VM of qemu .* below zero already/);
    assert.equal(runner.world.vms.size, 0);
    assert.equal(runner.world.vms.ended.list().length, 1);
  });

  it('may be what destroys it a second time', () => {
    const runner = new ScenarioRunner({ rules: [kvmRefUnderflow] });
    const { key } = runner.run((scenario) => {
      const vm = scenario.createVm();
      scenario.closeVm(vm);
      return vm;
    });
    runner.raw('kvm.vm.destroy:begin', { kvm: key, usersCount: SATURATED });
    runner.raw('kvm.vm.destroy:end', { kvm: key });
    assert.match(runner.violations()[0].message, /destroys the VM of qemu/);
    assert.equal(runner.world.vms.ended.list().length, 1);
  });

  it('is found on a VM that was not observed before', () => {
    const runner = new ScenarioRunner({ rules: [kvmRefUnderflow] });
    runner.raw('kvm.put:begin', { kvm: 7, usersCount: 0 });
    runner.raw('kvm.put:begin', { kvm: 8, usersCount: 1 });
    runner.raw('kvm.put:begin', { kvm: 9 });
    assert.equal(runner.violations().length, 1);
  });
});

describe('a VM that cannot be captured', () => {
  it('is captured again by the next open', () => {
    const runner = new ScenarioRunner({ rules: [kvmCaptureRefused] });
    runner.run((scenario) => {
      const device = scenario.create(scenario.parent());
      const gone = scenario.createVm();
      scenario.setKvm(device, gone);
      scenario.closeVm(gone);
      scenario.close(scenario.open(device));
      scenario.clearKvm(device);
      scenario.close(scenario.open(device));
      scenario.open(device, { vm: scenario.createVm({ as: { pid: 601, comm: 'qemu' } }) });
    });
    const [violation, ...others] = runner.violations();
    assert.deepEqual([violation.count, others], [1, []]);
    assert.equal(violation.vm?.pid, 600);
  });
});

describe('a group that is given to a second VM', () => {
  it('is not checked while it is not known whether the first VM has left the group', () => {
    const runner = new ScenarioRunner({ rules: [kvmChangedWhileOpen] });
    const device = runner.run((scenario) => {
      const made = scenario.create(scenario.parent());
      scenario.setKvm(made, scenario.createVm());
      return made;
    });
    runner.lose();
    runner.run((scenario) =>
      scenario.setKvm(device, scenario.createVm({ as: { pid: 601, comm: 'qemu' } })),
    );
    assert.deepEqual(runner.violations(), []);
  });
});

describe('what a callback of 5.10 answers', () => {
  const answered = (answer: number, driver = 'mtty') => {
    const host = { traits: LINUX_5_10, pidsWithKvmFiles: () => undefined };
    const runner = new ScenarioRunner({ rules: [notifierErrorIgnored], host });
    runner.run((scenario) => {
      const device = scenario.create(scenario.parent({ driver }));
      const opening = scenario.openBegins(device, { vm: scenario.createVm() });
      scenario.notified(device, answer);
      scenario.openEnds(opening);
    });
    return runner.violations().map(({ message }) => message);
  };

  it('is decoded', () => {
    assert.match(answered(0x8002)[0], / returned NOTIFY_BAD,/);
    assert.match(answered(0x8000 | (1 + 22))[0], / returned EINVAL,/);
    assert.match(answered(-5)[0], / returned EIO,/);
    assert.deepEqual([answered(0x8001), answered(0x8000), answered(1)], [[], [], []]);
  });

  it('is a failure when a driver that needs a VM passes, in the course of its open', () => {
    assert.match(answered(0, 'vfio_ap')[0], / set the VM of qemu .*, the driver of /);
    assert.deepEqual(answered(0), []);
  });
});
