import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { ControlGroups } from './control-groups.ts';

const TASK = { pid: 700, comm: 'CPU 0/KVM', cgroup: 4711 };
const LIBVIRT = { path: '/system.slice/libvirtd.service', unit: 'libvirtd.service' };

describe('the control group of a task', () => {
  let proc = '';
  const write = (path: string, text: string) => {
    mkdirSync(join(proc, path, '..'), { recursive: true });
    writeFileSync(join(proc, path), text);
  };

  beforeEach(() => {
    proc = mkdtempSync(join(tmpdir(), 'proc-'));
    mkdirSync(join(proc, 'self/ns'), { recursive: true });
    symlinkSync('pid:[4026531836]', join(proc, 'self/ns/pid'));
  });
  afterEach(() => rmSync(proc, { recursive: true }));

  it('is found by its id, though the process is gone, and asked for once', () => {
    const asked: number[] = [];
    const groups = new ControlGroups(proc, (id) => {
      asked.push(id);
      return LIBVIRT.path;
    });
    assert.deepEqual(groups.of(TASK), LIBVIRT);
    assert.deepEqual(groups.of({ ...TASK, pid: 5 }), LIBVIRT);
    assert.deepEqual(asked, [4711]);
  });

  it('is not guessed when it is gone, and not asked for again', () => {
    let asked = 0;
    const groups = new ControlGroups(proc, () => {
      asked++;
      return undefined;
    });
    write('700/comm', 'CPU 0/KVM\n');
    write('700/cgroup', '0::/elsewhere.slice/a.service\n');
    assert.deepEqual([groups.of(TASK), groups.of(TASK), asked], [undefined, undefined, 1]);
  });

  it('is remembered for a bounded number of groups', () => {
    const asked: number[] = [];
    const groups = new ControlGroups(proc, (id) => {
      asked.push(id);
      return `/${id}`;
    });
    for (let cgroup = 2; cgroup < 5002; cgroup++) groups.of({ ...TASK, cgroup });
    groups.of({ ...TASK, cgroup: 5001 });
    assert.equal(asked.length, 5000);
    groups.of({ ...TASK, cgroup: 2 });
    assert.equal(asked.length, 5001);
  });

  it('is that of the running process, where ids do not identify one', () => {
    write('700/comm', 'CPU 0/KVM\n');
    write('700/cgroup', '9:name=systemd:/system.slice/libvirtd.service\n0::/\n');
    const onlyV1 = new ControlGroups(proc, () => assert.fail('the root was asked for'));
    assert.deepEqual(onlyV1.of({ ...TASK, cgroup: 1 }), LIBVIRT);
    const denied = new ControlGroups(proc, () => {
      throw new Error('EPERM');
    });
    assert.deepEqual(denied.of(TASK), LIBVIRT);
    // No cgroup v2 is mounted here.
    assert.deepEqual(new ControlGroups(proc).of(TASK), LIBVIRT);
  });

  it('is not that of another process with the same id', () => {
    write('700/comm', 'bash\n');
    write('700/cgroup', '0::/system.slice/libvirtd.service\n');
    assert.equal(new ControlGroups(proc).of(TASK), undefined);
  });

  it('is not looked for in another pid namespace', () => {
    write('700/comm', 'CPU 0/KVM\n');
    write('700/cgroup', '0::/system.slice/libvirtd.service\n');
    rmSync(join(proc, 'self/ns/pid'));
    symlinkSync('pid:[4026532999]', join(proc, 'self/ns/pid'));
    assert.equal(new ControlGroups(proc).of(TASK), undefined);
  });
});
