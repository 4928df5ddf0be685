/** That rules about opens and VMs say the same, or what is right there, where kernels tell less. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RULES, TOPICS } from './catalogue.ts';
import { EINVAL, EPERM, ESRCH } from './errno.ts';
import { asOnLinux61, asOnLinux510 } from './older-kernels.ts';
import { kernelOf, play } from './play.ts';
import { isPossible, type KernelVersion } from './rule.ts';
import type { Story } from './story.ts';
import { mdevFromBefore } from './story-mdev.ts';
import type { Step } from './told.ts';

interface Older {
  readonly kernel: KernelVersion;
  readonly retell: (steps: readonly Step[]) => Step[];
}

const LINUX_6_1: Older = { kernel: [6, 1], retell: asOnLinux61 };
const LINUX_5_10: Older = { kernel: [5, 10], retell: asOnLinux510 };

const VGPU = { name: '0000:00:02.0', driver: 'intel_vgpu_mdev' };
const MATRIX = { name: 'matrix', driver: 'vfio_ap' };
const CHILD = { pid: 601, comm: 'child' };

/** @returns "rule severity" of each violation, in alphabetical order */
function hear(tell: (story: Story) => void, { kernel, retell }: Older): string[] {
  const rules = RULES.filter((rule) => isPossible(rule, kernel));
  const retold = (story: Story) => {
    tell(story);
    const { steps } = story;
    steps.splice(0, steps.length, ...retell(steps));
  };
  const { violations } = play(retold, rules, kernel);
  return violations.map(({ rule, severity }) => `${rule} ${severity}`).sort();
}

/** Examples in which these kernels take another way than 6.12. */
const OTHERWISE: Readonly<Record<string, string>> = {
  // There is no such thing as a VM that cannot be captured.
  'the VM of its group was on its way out: that is kvm-capture-refused': '6.1 5.10',
  'a device asks safely for a VM that is gone: that is kvm-capture-refused': '6.1 5.10',
  // Whose memory it is, only a device that has its VM tells.
  'refused because the VM is that of another process: that is foreign-opener': '6.1 5.10',
  // Drivers are told of a VM at any time.
  // How often a device is open, nothing tells.
  'opens before the agent started are only in the count': '5.10',
  'told the VM that the device was opened for once more': '5.10',
  'the device never had that VM: it was opened before the group did': '5.10',
};

for (const older of [LINUX_6_1, LINUX_5_10]) {
  const version = older.kernel.join('.');
  const rules = TOPICS.find(({ title }) => title.startsWith('Opening'))?.rules ?? [];
  describe(`near misses on ${version}`, () => {
    for (const rule of rules.filter((one) => isPossible(one, kernelOf(one)))) {
      for (const { title, tell, also = [] } of rule.examples.silent) {
        if (OTHERWISE[title]?.split(' ').includes(version)) continue;
        it(`of ${rule.id}: ${title}`, () => {
          const possible = RULES.filter(({ id }) => also.includes(id)).filter((one) =>
            isPossible(one, older.kernel),
          );
          const heard = hear(tell, older).map((text) => text.split(' ')[0]);
          assert.deepEqual(heard, possible.map(({ id }) => id).sort());
        });
      }
    }
  });
}

describe('a VM that is set after the open', () => {
  const tell = (story: Story) => {
    const device = story.create(story.parent());
    story.open(device);
    story.setKvm(device, story.createVm());
  };

  it('is never seen by the driver on 6.1', () => {
    assert.deepEqual(hear(tell, LINUX_6_1), [
      'kvm-set-after-open warning',
      'open-without-kvm info',
    ]);
  });

  it('is seen by the driver on 5.10', () => {
    assert.deepEqual(hear(tell, LINUX_5_10), ['kvm-set-after-open info', 'open-without-kvm info']);
  });

  it('is set in time before it is opened again', () => {
    const again = (story: Story) => {
      const device = story.create(story.parent());
      const vm = story.createVm();
      const first = story.open(device, { vm });
      story.close(story.open(device, { vm }));
      story.close(first);
      story.clearKvm(device);
      story.open(device, { vm });
    };
    for (const older of [LINUX_6_1, LINUX_5_10]) {
      assert.deepEqual(hear(again, older), ['nested-open info']);
    }
  });
});

describe('a VM that is cleared while the device is open', () => {
  const tell = (story: Story) => {
    const device = story.create(story.parent());
    const vm = story.createVm();
    story.open(device, { vm });
    story.open(device, { vm });
    story.clearKvm(device);
  };

  it('dangles on 6.1, and is taken from the driver on 5.10', () => {
    const heard = (older: Older) => hear(tell, older).filter((text) => /cleared/.test(text));
    assert.deepEqual(heard(LINUX_6_1), ['kvm-cleared-while-open warning']);
    assert.deepEqual(heard(LINUX_5_10), ['kvm-cleared-while-open error']);
  });
});

describe('a VM that is given another one of 5.10', () => {
  it('is told as changed, whatever the device is made to hold', () => {
    const tell = (story: Story) => {
      const device = story.create(story.parent());
      story.open(device, { vm: story.createVm() });
      story.setKvm(device, story.createVm({ as: CHILD }));
    };
    assert.deepEqual(hear(tell, LINUX_5_10), ['kvm-changed-while-open error']);
  });
});

describe('a VM that is destroyed under an open device of 6.1', () => {
  const open = (story: Story, parent = {}) => {
    const vm = story.createVm();
    const opening = story.open(story.create(story.parent(parent)), { vm });
    story.putKvm(vm);
    story.putKvm(vm);
    return opening;
  };

  it('leaves a pointer that most drivers never follow', () => {
    const tell = (story: Story) => {
      open(story);
      story.wait(3);
    };
    assert.deepEqual(hear(tell, LINUX_6_1), ['kvm-destroyed-while-captured warning']);
  });

  it('says nothing of a device that is closed within moments', () => {
    const tell = (story: Story) => {
      const opening = open(story);
      story.wait(1);
      story.closeBegins(opening);
      story.wait(3);
    };
    assert.deepEqual(hear(tell, LINUX_6_1), []);
  });

  it('is fatal for a driver that works with it', () => {
    const tell = (story: Story) => void open(story, VGPU);
    assert.deepEqual(hear(tell, LINUX_6_1), ['kvm-destroyed-while-captured critical']);
  });

  it('says nothing on 5.10, where the core has no such pointer', () => {
    const tell = (story: Story) => {
      open(story, VGPU);
      story.wait(3);
    };
    assert.deepEqual(hear(tell, LINUX_5_10), []);
  });
});

describe('an open by another process than that of the VM', () => {
  const tell = (parent: { name?: string; driver?: string }) => (story: Story) => {
    story.open(story.create(story.parent(parent)), { vm: story.createVm(), as: CHILD });
  };

  it('matters to a driver that works with the memory of the guest', () => {
    assert.deepEqual(hear(tell({}), LINUX_6_1), ['foreign-opener info']);
    assert.deepEqual(hear(tell(VGPU), LINUX_6_1), ['foreign-opener warning']);
  });

  it('cannot be told from others on 5.10', () => {
    assert.deepEqual(hear(tell(VGPU), LINUX_5_10), []);
  });

  it('is an open that failed where the kernel does not say whose memory it is', () => {
    const refused = (story: Story) => {
      const device = story.create(story.parent(VGPU));
      const opening = story.openBegins(device, { vm: story.createVm(), as: CHILD });
      story.openEnds(opening, { error: ESRCH });
    };
    for (const older of [LINUX_6_1, LINUX_5_10]) {
      assert.deepEqual(hear(refused, older), ['open-failed warning']);
    }
  });
});

describe('an open without a VM', () => {
  it('is an error when the driver refuses it, also where only the request for it is seen', () => {
    const tell = (story: Story) => {
      story.openEnds(story.openBegins(story.create(story.parent(VGPU))), { error: ESRCH });
    };
    for (const older of [LINUX_6_1, LINUX_5_10]) {
      assert.deepEqual(hear(tell, older), ['open-without-kvm error']);
    }
  });

  it('may be one without a container on 5.10, for its driver is not seen to be asked', () => {
    const tell = (story: Story) => {
      story.openEnds(story.openBegins(story.create(story.parent(VGPU))), { error: EINVAL });
    };
    assert.deepEqual(hear(tell, LINUX_6_1), ['open-without-kvm error']);
    assert.deepEqual(hear(tell, LINUX_5_10), ['open-failed warning']);
  });

  it('may have one that nobody saw being set, when the device is older than the agent', () => {
    const tell = (story: Story) => void story.open(mdevFromBefore(story.parent()));
    assert.deepEqual(hear(tell, LINUX_6_1), ['open-without-kvm info']);
    assert.deepEqual(hear(tell, LINUX_5_10), []);
  });

  it('is made good later on 5.10, where the driver is told', () => {
    const tell = (story: Story) => void story.open(story.create(story.parent(MATRIX)));
    assert.deepEqual(hear(tell, LINUX_6_1), ['open-without-kvm error']);
    assert.deepEqual(hear(tell, LINUX_5_10), ['open-without-kvm info']);
  });
});

describe('a second device of a driver that allows a VM one', () => {
  it('is told by the request for it where the open is not seen', () => {
    const tell = (story: Story) => {
      const parent = story.parent(MATRIX);
      const vm = story.createVm();
      story.open(story.create(parent), { vm });
      story.openEnds(story.openBegins(story.create(parent), { vm }), { error: EPERM });
    };
    for (const older of [LINUX_6_1, LINUX_5_10]) {
      assert.deepEqual(hear(tell, older), ['kvm-used-twice warning']);
    }
  });
});
