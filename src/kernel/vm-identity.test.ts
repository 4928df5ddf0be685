import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { ControlGroup } from '../events/host.ts';
import type { Task } from '../events/task.ts';
import { PatientAsker } from './patience.ts';
import { identifyVm } from './vm-identity.ts';

const PID = 600;
const UUID = '11111111-2222-4333-8444-555555555555';
const TASK: Task = { pid: PID, tid: PID, comm: 'qemu', cgroup: 9, uid: 107 };
const GROUP: ControlGroup = {
  path: '/machine.slice',
  unit: 'machine-qemu-1-web.scope',
  guest: 'web',
};
const ARGS = ['qemu-system-x86_64', '-name', 'guest=web-3', '-uuid', UUID];

let proc = '';
let asker: PatientAsker;

/** @param seconds after the boot */
function startedAfter(seconds: number): void {
  const fields = ['S', ...Array.from({ length: 18 }, () => 0), seconds * 100];
  writeFileSync(join(proc, `${PID}/stat`), `${PID} (qemu) x) ${fields.join(' ')}\n`);
}

function ask(options: { task?: Task | undefined; reads?: boolean; group?: ControlGroup } = {}) {
  const task = 'task' in options ? options.task : TASK;
  return identifyVm(
    { pid: PID, task, at: 5e9 },
    { groupOf: () => options.group, readsCommandLine: options.reads ?? true, proc, asker },
  );
}

describe('who a VM is', () => {
  beforeEach(() => {
    // Longer than any answer that comes.
    asker = new PatientAsker(1, 60_000);
    proc = mkdtempSync(join(tmpdir(), 'proc-'));
    mkdirSync(join(proc, 'self/ns'), { recursive: true });
    symlinkSync('pid:[4026531836]', join(proc, 'self/ns/pid'));
    mkdirSync(join(proc, '1'));
    mkdirSync(join(proc, `${PID}/fd`), { recursive: true });
    startedAfter(4);
    writeFileSync(join(proc, `${PID}/cmdline`), `${ARGS.join('\0')}\0`);
  });
  afterEach(() => rmSync(proc, { recursive: true }));

  it('is name and UUID of the command line, and the control group', async () => {
    assert.deepEqual(await ask({ group: GROUP }), {
      ...{ commandLine: 'read', name: 'web-3', uuid: UUID, group: GROUP },
    });
  });

  it('is the name of the scope where the command line has none, or must not be read', async () => {
    assert.deepEqual(await ask({ group: GROUP, reads: false }), {
      ...{ commandLine: 'disabled', name: 'web', group: GROUP },
    });
    writeFileSync(join(proc, `${PID}/cmdline`), 'qemu-system-x86_64\0-S\0');
    assert.deepEqual(await ask({ group: GROUP }), {
      ...{ commandLine: 'read', name: 'web', group: GROUP },
    });
    assert.deepEqual(await ask(), { commandLine: 'read' });
  });

  it('is not that of another process which has the id by now', async () => {
    startedAfter(6);
    assert.deepEqual(await ask(), { commandLine: 'exited' });
  });

  it('is not known when the process has exited, or its memory is gone', async () => {
    writeFileSync(join(proc, `${PID}/cmdline`), '');
    assert.deepEqual(await ask(), { commandLine: 'exited' });
    rmSync(join(proc, `${PID}`), { recursive: true });
    assert.deepEqual(await ask(), { commandLine: 'exited' });
  });

  it('is not asked of /proc that hides processes, or is of another namespace', async () => {
    rmSync(join(proc, '1'), { recursive: true });
    assert.deepEqual(await ask(), { commandLine: 'not_visible' });
    mkdirSync(join(proc, '1'));
    rmSync(join(proc, 'self/ns/pid'));
    symlinkSync('pid:[4026532999]', join(proc, 'self/ns/pid'));
    assert.deepEqual(await ask(), { commandLine: 'not_visible' });
  });

  it('is asked of a process whose id alone is known only if it has the file of a VM', async () => {
    assert.deepEqual(await ask({ task: undefined, group: GROUP }), { commandLine: 'exited' });
    symlinkSync('anon_inode:kvm-vm', join(proc, `${PID}/fd/11`));
    assert.equal((await ask({ task: undefined, group: GROUP })).name, 'web-3');
  });

  it('does not wait for a process that keeps the lock of its memory, nor ask others meanwhile', async () => {
    const file = join(proc, `${PID}/cmdline`);
    rmSync(file);
    execFileSync('mkfifo', [file]);
    asker = new PatientAsker(1, 100);
    assert.deepEqual(await ask({ group: GROUP }), {
      ...{ commandLine: 'no_answer', name: 'web', group: GROUP },
    });
    assert.deepEqual(await ask(), { commandLine: 'no_answer' });
    // Lets the open end, so that the thread is free again.
    await (await open(file, 'r+')).close();
  });
});
