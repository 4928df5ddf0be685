/** What rules say of references on VMs when events are missing, or come after the end. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { deviceKvmRefsUnbalanced } from './device-kvm-refs-unbalanced.ts';
import { EIO } from './errno.ts';
import { kvmCaptureRefused } from './kvm-capture-refused.ts';
import { kvmChangedWhileOpen } from './kvm-changed-while-open.ts';
import { kvmRefUnderflow } from './kvm-ref-underflow.ts';
import { notifierErrorIgnored } from './notifier-error-ignored.ts';
import { Telling } from './telling.ts';

const SATURATED = -0x40000000;

describe('references of a driver', () => {
  const telling = () => new Telling({ rules: [deviceKvmRefsUnbalanced] });

  it('are counted anew at each first open', () => {
    const one = telling();
    one.tell((story) => {
      const device = story.create(story.parent());
      const vm = story.createVm();
      for (const isTaken of [true, false, true]) {
        const opening = story.openBegins(device, { vm });
        if (isTaken) story.getKvm(vm);
        story.close(story.openEnds(opening));
      }
    });
    const [violation, ...others] = one.violations();
    assert.deepEqual([violation.count, others], [2, []]);
    assert.match(violation.explanation, /^mtty took 1 reference on a VM that it did not put/);
  });

  it('are not judged when events were lost since', () => {
    const one = telling();
    const opening = one.tell((story) => {
      const vm = story.createVm();
      const begun = story.openBegins(story.create(story.parent()), { vm });
      story.getKvm(vm);
      return story.openEnds(begun);
    });
    one.lose();
    one.tell((story) => story.close(opening));
    assert.deepEqual(one.violations(), []);
  });

  it('are judged of a device that is older than the agent, when its open was seen', () => {
    const one = telling();
    one.tell((story) => {
      const parent = story.parent();
      const device = { ...story.create(parent), key: 901, uuid: '0000:01:00.0', parent: undefined };
      const vm = story.createVm();
      const opening = story.openBegins(device, { vm });
      story.getKvm(vm);
      story.close(story.openEnds(opening));
    });
    assert.deepEqual(
      one.violations().map(({ device, quality }) => [device, quality]),
      [['0000:01:00.0', 'late']],
    );
  });

  it('do not count while another device is the one that is opened', () => {
    const one = telling();
    one.tell((story) => {
      const parent = story.parent();
      const vm = story.createVm();
      const as = { ...vm.task, tid: 602 };
      const first = story.openBegins(story.create(parent), { vm });
      const second = story.openBegins(story.create(parent), { vm, as });
      story.getKvm(vm);
      story.openEnds(second, { error: EIO });
      story.putKvm(vm);
      story.openEnds(first, { error: EIO });
    });
    assert.deepEqual(one.violations(), []);
  });
});

describe('a reference on a VM that is gone', () => {
  it('is about that VM, and makes no other', () => {
    const telling = new Telling({ rules: [kvmRefUnderflow] });
    const vm = telling.tell((story) => {
      const made = story.createVm();
      story.closeVm(made);
      story.putKvm(made);
      story.putKvm(made);
      return made;
    });
    const [violation, ...others] = telling.violations();
    assert.deepEqual([violation.severity, violation.count, others], ['critical', 2, []]);
    assert.equal(violation.vm?.pid, vm.task.pid);
    assert.match(violation.explanation, /put a reference on the VM of qemu .* below zero already/);
    assert.equal(telling.world.vms.size, 0);
    assert.equal(telling.world.endedVms.list().length, 1);
  });

  it('may be what destroys it a second time', () => {
    const telling = new Telling({ rules: [kvmRefUnderflow] });
    const { key } = telling.tell((story) => {
      const vm = story.createVm();
      story.closeVm(vm);
      return vm;
    });
    telling.raw('kvm.vm.destroy:begin', { kvm: key, usersCount: SATURATED });
    telling.raw('kvm.vm.destroy:end', { kvm: key });
    assert.match(telling.violations()[0].explanation, /destroys the VM of qemu/);
    assert.equal(telling.world.endedVms.list().length, 1);
  });

  it('is found on a VM that was never seen alive', () => {
    const telling = new Telling({ rules: [kvmRefUnderflow] });
    telling.raw('kvm.put:begin', { kvm: 7, usersCount: 0 });
    telling.raw('kvm.put:begin', { kvm: 8, usersCount: 1 });
    telling.raw('kvm.put:begin', { kvm: 9 });
    assert.equal(telling.violations().length, 1);
  });
});

describe('a VM that cannot be captured', () => {
  it('is asked for anew by the next open', () => {
    const telling = new Telling({ rules: [kvmCaptureRefused] });
    telling.tell((story) => {
      const device = story.create(story.parent());
      const gone = story.createVm();
      story.setKvm(device, gone);
      story.closeVm(gone);
      story.close(story.open(device));
      story.clearKvm(device);
      story.close(story.open(device));
      story.open(device, { vm: story.createVm({ as: { pid: 601, comm: 'qemu' } }) });
    });
    const [violation, ...others] = telling.violations();
    assert.deepEqual([violation.count, others], [1, []]);
    assert.equal(violation.vm?.pid, 600);
  });
});

describe('a group that is given to a second VM', () => {
  it('is not judged while it is not known whether the first has let go', () => {
    const telling = new Telling({ rules: [kvmChangedWhileOpen] });
    const device = telling.tell((story) => {
      const made = story.create(story.parent());
      story.setKvm(made, story.createVm());
      return made;
    });
    telling.lose();
    telling.tell((story) =>
      story.setKvm(device, story.createVm({ as: { pid: 601, comm: 'qemu' } })),
    );
    assert.deepEqual(telling.violations(), []);
  });
});

describe('what a callback of 5.10 answers', () => {
  const answered = (answer: number, driver = 'mtty') => {
    const host = { kernel: [5, 10] as const, pidsWithKvmFiles: () => undefined };
    const telling = new Telling({ rules: [notifierErrorIgnored], host });
    telling.tell((story) => {
      const device = story.create(story.parent({ driver }));
      const opening = story.openBegins(device, { vm: story.createVm() });
      story.notified(device, answer);
      story.openEnds(opening);
    });
    return telling.violations().map(({ explanation }) => explanation);
  };

  it('is decoded', () => {
    assert.match(answered(0x8002)[0], /It answered NOTIFY_BAD,/);
    assert.match(answered(0x8000 | (1 + 22))[0], /It answered EINVAL,/);
    assert.match(answered(-5)[0], /It answered EIO,/);
    assert.deepEqual([answered(0x8001), answered(0x8000), answered(1)], [[], [], []]);
  });

  it('is a failure when a driver that needs a VM passes, in the course of its open', () => {
    assert.match(answered(0, 'vfio_ap')[0], /the driver of .* belongs to the VM of qemu/);
    assert.deepEqual(answered(0), []);
  });
});
