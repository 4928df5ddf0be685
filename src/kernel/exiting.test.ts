import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { isAlive, isExiting } from './exiting.ts';

const EXITING = 0x40000c;
const LIVING = 0x400000;
const PID = 600;

let proc = '';

/** A thread of the process, with the fields that the kernel writes. */
function thread(tid: number, state: string, flags: number): void {
  const directory = join(proc, `${PID}/task/${tid}`);
  mkdirSync(directory, { recursive: true });
  const stat = `${tid} (qemu) x y) ${state} 1 600 600 0 -1 ${flags} 99 0 0 0 1 2\n`;
  writeFileSync(join(directory, 'stat'), stat);
}

describe('a process', () => {
  beforeEach(() => {
    proc = mkdtempSync(join(tmpdir(), 'proc-'));
    mkdirSync(join(proc, 'self/ns'), { recursive: true });
    symlinkSync('pid:[4026531836]', join(proc, 'self/ns/pid'));
  });
  afterEach(() => rmSync(proc, { recursive: true }));

  it('exits while the last of its threads does', () => {
    thread(PID, 'Z', EXITING);
    thread(601, 'D', EXITING);
    assert.equal(isExiting(PID, proc), true);
  });

  it('is not reported while one of its threads still runs', () => {
    thread(PID, 'S', LIVING);
    thread(601, 'R', EXITING);
    assert.equal(isExiting(PID, proc), false);
  });

  it('has exited when nothing but a zombie is left, or nothing', () => {
    assert.equal(isExiting(PID, proc), false);
    thread(PID, 'Z', EXITING);
    assert.equal(isExiting(PID, proc), false);
  });

  it('of another pid namespace is not to be seen', () => {
    rmSync(join(proc, 'self/ns/pid'));
    symlinkSync('pid:[4026532999]', join(proc, 'self/ns/pid'));
    assert.equal(isExiting(PID, proc), undefined);
  });

  it('of this host is not exiting, and is gone after its end', async () => {
    const child = spawn('sleep', ['600']);
    const pid = child.pid ?? 0;
    // Where this runs in a namespace of its own, nothing is to be seen.
    const isSeen = isExiting(process.pid) !== undefined;
    assert.equal(isExiting(pid), isSeen ? false : undefined);
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('exit', resolve));
    assert.equal(isExiting(pid), isSeen ? false : undefined);
  });
});

describe('the process that had an id at some time', () => {
  /** @param started in hundredths of a second */
  const process = (state: string, started: number) => {
    mkdirSync(join(proc, `${PID}`), { recursive: true });
    const fields = [state, ...Array.from({ length: 18 }, () => 0), started];
    writeFileSync(join(proc, `${PID}/stat`), `${PID} (a) b) ${fields.join(' ')}\n`);
  };

  beforeEach(() => {
    proc = mkdtempSync(join(tmpdir(), 'proc-'));
    mkdirSync(join(proc, 'self/ns'), { recursive: true });
    mkdirSync(join(proc, '1'));
    symlinkSync('pid:[4026531836]', join(proc, 'self/ns/pid'));
  });
  afterEach(() => rmSync(proc, { recursive: true }));

  it('is alive if it was started before, and is gone if another one has its id', () => {
    assert.equal(isAlive(PID, 5e9, proc), false);
    process('S', 400);
    assert.equal(isAlive(PID, 5e9, proc), true);
    process('S', 600);
    assert.equal(isAlive(PID, 5e9, proc), false);
  });

  it('is gone as a zombie, unless one of its threads is alive', () => {
    process('Z', 400);
    assert.equal(isAlive(PID, 5e9, proc), false);
    thread(601, 'S', LIVING);
    assert.equal(isAlive(PID, 5e9, proc), true);
  });

  it('is not known where /proc hides the processes of others', () => {
    rmSync(join(proc, '1'), { recursive: true });
    assert.equal(isAlive(PID, 5e9, proc), undefined);
  });
});
