import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ControlGroup, Host } from '../events/host.ts';
import { LINUX_6_12 } from '../scenario/kernels.ts';
import { isAnother } from './actor.ts';

const POD = '1b4c5d6e-0000-4000-8000-123456789abc';

/** Whether someone in one group is another than someone in the other, of the same user. */
function compare(one?: ControlGroup, other?: ControlGroup, otherUid = 0): boolean {
  const groups = [undefined, undefined, one, other];
  const host: Host = {
    ...{ traits: LINUX_6_12, pidsWithKvmFiles: () => undefined },
    controlGroup: ({ cgroup }) => groups[cgroup],
  };
  const task = { pid: 1, tid: 1, comm: 'sh', uid: 0 };
  return isAnother({ ...task, cgroup: 2 }, { ...task, cgroup: 3, uid: otherUid }, host);
}

const unit = (path: string, name: string) => ({ path: `/system.slice/${path}`, unit: name });
const session = (uid: number, id: number) => ({
  path: `/user.slice/user-${uid}.slice/session-${id}.scope`,
  unit: `session-${id}.scope`,
});
const container = (id: string, path = `/docker/${id}`) => ({ path, container: id });

describe('whether somebody else acts', () => {
  it('is no for a service that was restarted, and for a person who logged in again', () => {
    const manager = unit('vgpu-manager.service', 'vgpu-manager.service');
    assert.equal(compare(manager, { ...manager }), false);
    assert.equal(compare(session(1000, 3), session(1000, 8)), false);
    const own = {
      path: '/user.slice/user-1000.slice/user@1000.service/app.slice/a.service',
      unit: 'a.service',
    };
    assert.equal(compare(session(1000, 3), own), false);
  });

  it('is no for a container that was restarted in its pod', () => {
    const [before, after] = ['a', 'b'].map((id) => container(id));
    assert.equal(compare({ ...before, pod: POD }, { ...after, pod: POD }), false);
    assert.equal(compare({ ...before, pod: POD }, after), true);
  });

  it('is yes for other services, people, containers, directories and users', () => {
    assert.equal(compare(unit('a.service', 'a.service'), unit('b.service', 'b.service')), true);
    assert.equal(compare(session(1000, 3), session(1001, 3)), true);
    assert.equal(compare(container('a'), container('b')), true);
    assert.equal(compare({ path: '/a' }, { path: '/b' }), true);
    assert.equal(compare({ path: '/a' }, { path: '/a' }, 107), true);
    assert.equal(compare({ path: '/a' }, { path: '/a' }), false);
  });

  it('is yes for whoever is in the root of all control groups, and somebody who is not', () => {
    const host: Host = { traits: LINUX_6_12, pidsWithKvmFiles: () => undefined };
    const task = { pid: 1, tid: 1, comm: 'sh', uid: 0 };
    const inGroup = { ...host, controlGroup: () => ({ path: '/others' }) };
    assert.equal(isAnother({ ...task, cgroup: 1 }, { ...task, cgroup: 5 }, inGroup), true);
  });

  it('is as the ids are where no group has a name, and not claimed where one is gone', () => {
    assert.equal(compare(), true);
    assert.equal(compare({ path: '/a' }), false);
  });
});
