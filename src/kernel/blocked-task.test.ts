import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { blockedTask, framesOf, stuckThread } from './blocked-task.ts';

/** As 6.12 shows a remover that waits. */
const STACK = `[<0>] vfio_unregister_group_dev+0x12b/0x1c0 [vfio]
[<0>] mtty_remove+0x2c/0x90 [mtty]
[<0>] mdev_remove+0x1e/0x40 [mdev]
[<0>] entry_SYSCALL_64_after_hwframe+0x76/0x7e
`;

describe('a blocked task', () => {
  let proc = '';
  const write = (name: string, text: string) => {
    mkdirSync(join(proc, '701'), { recursive: true });
    writeFileSync(join(proc, '701', name), text);
  };
  const ask = () => blockedTask({ pid: 700, tid: 701 }, proc);

  beforeEach(() => {
    proc = mkdtempSync(join(tmpdir(), 'proc-'));
    mkdirSync(join(proc, 'self/ns'), { recursive: true });
    symlinkSync('pid:[4026531836]', join(proc, 'self/ns/pid'));
    write('status', 'Name:\tbash\nState:\tD (disk sleep)\nTgid:\t700\nPid:\t701\n');
  });
  afterEach(() => rmSync(proc, { recursive: true }));

  it('is described with its state, the function that it sleeps in, and its stack', () => {
    write('wchan', 'vfio_unregister_group_dev');
    write('stack', STACK);
    assert.deepEqual(ask(), {
      state: 'D (disk sleep)',
      wchan: 'vfio_unregister_group_dev',
      stack: [
        'vfio_unregister_group_dev+0x12b/0x1c0 [vfio]',
        'mtty_remove+0x2c/0x90 [mtty]',
        'mdev_remove+0x1e/0x40 [mdev]',
        'entry_SYSCALL_64_after_hwframe+0x76/0x7e',
      ],
    });
  });

  it('has no stack where it must not be read, and no function while it runs', () => {
    write('wchan', '0');
    assert.deepEqual(ask(), { state: 'D (disk sleep)' });
  });

  it('is unknown when its id is that of another process by now', () => {
    write('status', 'Name:\tbash\nState:\tS (sleeping)\nTgid:\t699\nPid:\t701\n');
    assert.equal(ask(), undefined);
  });

  it('is unknown when it has ended, nor where ids are those of another namespace', () => {
    assert.equal(blockedTask({ pid: 1, tid: 2 }, proc), undefined);
    rmSync(join(proc, 'self/ns/pid'));
    symlinkSync('pid:[4026532999]', join(proc, 'self/ns/pid'));
    assert.equal(ask(), undefined);
    assert.equal(blockedTask({ pid: 700, tid: 701 }, join(proc, 'no-proc')), undefined);
  });
});

describe('a kernel stack', () => {
  it('has no addresses, whatever the kernel shows', () => {
    const text = '[<ffffffffc0a1b2c3>] wait+0x1/0x2 [vfio]\n[<0>] 0xffffffff81234567\n';
    assert.deepEqual(framesOf(text), ['wait+0x1/0x2 [vfio]', '?']);
  });

  it('has at most 32 frames, and nothing that could steer a terminal', () => {
    const frames = framesOf(Array(100).fill('[<0>] f\u001b[2J+0x1/0x2').join('\n'));
    assert.deepEqual([frames.length, frames[0]], [32, 'f?[2J+0x1/0x2']);
  });
});

describe('a stuck thread of a process', () => {
  let proc = '';
  const thread = (tid: number, state: string) => {
    for (const directory of [`700/task/${tid}`, `${tid}`])
      mkdirSync(join(proc, directory), { recursive: true });
    writeFileSync(join(proc, `700/task/${tid}/stat`), `${tid} (CPU 0/KVM) ${state} 1 2 3\n`);
    writeFileSync(join(proc, `${tid}/status`), `State:\t${state} (x)\nTgid:\t700\n`);
    writeFileSync(join(proc, `${tid}/wchan`), `f${tid}`);
  };

  beforeEach(() => {
    proc = mkdtempSync(join(tmpdir(), 'proc-'));
    mkdirSync(join(proc, 'self/ns'), { recursive: true });
    symlinkSync('pid:[4026531836]', join(proc, 'self/ns/pid'));
  });
  afterEach(() => rmSync(proc, { recursive: true }));

  it('is any of its threads that no signal wakes', () => {
    thread(700, 'S');
    thread(702, 'D');
    assert.deepEqual(stuckThread(700, proc), { state: 'D (x)', wchan: 'f702' });
  });

  it('is none of those that can be interrupted, nor of a process that is gone', () => {
    thread(700, 'S');
    assert.equal(stuckThread(700, proc), undefined);
    assert.equal(stuckThread(999, proc), undefined);
  });
});
