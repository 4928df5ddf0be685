import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { waitingTasks } from './waiting-tasks.ts';

let proc = '';

const write = (file: string, text: string) => {
  mkdirSync(join(proc, file, '..'), { recursive: true });
  writeFileSync(join(proc, file), text);
};

/** A thread in some state, and where it sleeps. */
function thread(pid: number, tid: number, comm: string, state: string, wchan = '0'): void {
  write(`${pid}/task/${tid}/stat`, `${tid} (${comm}) ${state} 1 2 3\n`);
  write(
    `${tid}/status`,
    `Name:\t${comm}\nState:\t${state} (x)\nTgid:\t${pid}\nUid:\t107\t0\t0\t0\n`,
  );
  write(`${tid}/wchan`, wchan);
}

function namespace(name = 'pid:[4026531836]'): void {
  mkdirSync(join(proc, 'self/ns'), { recursive: true });
  symlinkSync(name, join(proc, 'self/ns/pid'));
}

beforeEach(() => {
  proc = mkdtempSync(join(tmpdir(), 'proc-'));
  namespace();
  thread(1, 1, 'init', 'S');
});
afterEach(() => rmSync(proc, { recursive: true }));

describe('the tasks that wait in the kernel', () => {
  it('are all threads in state D, with name, user and stack', async () => {
    thread(4, 4, 'libvirtd', 'S');
    thread(4, 5, 'a) D (b\u202e', 'D', 'device_del');
    write('5/stack', '[<0>] device_del+0x3d/0x3e0\n[<0>] remove_store+0x81/0xa0 [mdev]\n');
    thread(6, 6, 'sh', 'D', 'msleep');
    write('meminfo', '');
    assert.deepEqual(await waitingTasks(proc), {
      tasks: [
        {
          ...{ pid: 4, tid: 5, comm: 'a) D (b?', uid: 107 },
          inKernel: {
            state: 'D (x)',
            wchan: 'device_del',
            stack: ['device_del+0x3d/0x3e0', 'remove_store+0x81/0xa0 [mdev]'],
          },
        },
        { pid: 6, tid: 6, comm: 'sh', uid: 107, inKernel: { state: 'D (x)', wchan: 'msleep' } },
      ],
      missing: [],
    });
  });

  it('do not include one that was woken, or whose id is that of another process by now', async () => {
    thread(4, 4, 'sh', 'D', 'msleep');
    write('4/status', 'Name:\tsh\nState:\tR (running)\nTgid:\t4\n');
    thread(6, 6, 'sh', 'D', 'msleep');
    write('6/status', 'Name:\tsh\nState:\tD (x)\nTgid:\t5\n');
    mkdirSync(join(proc, '7'));
    mkdirSync(join(proc, '8/task/8'), { recursive: true });
    assert.deepEqual(await waitingTasks(proc), { tasks: [], missing: [] });
  });

  it('may be hidden, which is said', async () => {
    rmSync(join(proc, '1'), { recursive: true });
    assert.deepEqual((await waitingTasks(proc))?.missing, ['hidden']);
  });

  it('may not be readable, which is said', async () => {
    // Reading a file as a directory fails in another way than with "gone", as a denial does.
    write('7/task', '');
    thread(6, 6, 'sh', 'D', 'msleep');
    const { tasks, missing } = (await waitingTasks(proc)) ?? {};
    assert.deepEqual([tasks?.length, missing], [1, ['unreadable']]);
  });

  it('are not known where neither stack nor function may be read, which is said', async () => {
    thread(6, 6, 'sh', 'D');
    const { tasks, missing } = (await waitingTasks(proc)) ?? {};
    assert.deepEqual([tasks?.[0].inKernel, missing], [{ state: 'D (x)' }, ['unreadable']]);
  });

  it('are bounded, which is said', async () => {
    for (let tid = 10; tid < 20; tid++) thread(10, tid, 'qemu', 'D', 'msleep');
    const count = async (limits: { threads: number; stacks: number }) => {
      const { tasks, missing } = (await waitingTasks(proc, limits)) ?? {};
      return [tasks?.length, missing];
    };
    assert.deepEqual(await count({ threads: 11, stacks: 10 }), [10, []]);
    assert.deepEqual(await count({ threads: 11, stacks: 3 }), [3, ['truncated']]);
    const [few, missing] = await count({ threads: 5, stacks: 10 });
    assert.ok(Number(few) <= 5);
    assert.deepEqual(missing, ['truncated']);
  });

  it('are not known from within a pid namespace, or without /proc', async () => {
    rmSync(join(proc, 'self'), { recursive: true });
    assert.equal(await waitingTasks(proc), undefined);
    namespace('pid:[4026532999]');
    assert.equal(await waitingTasks(proc), undefined);
  });
});
