/** The log's descriptor on a bad day: a full disk, a reader that is gone, one that does not read. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { LogOutput } from './log-output.ts';

type Write = ConstructorParameters<typeof LogOutput>[1] & {};

function failure(code: string): Error {
  return Object.assign(new Error(code), { code });
}

/** A descriptor with room for so many bytes, as a file on a small disk. */
class Disk {
  text = '';
  room: number;

  constructor(room: number) {
    this.room = room;
  }

  readonly write: Write = (_fd, bytes, done) => {
    const written = Math.min(this.room, bytes.length);
    this.room -= written;
    this.text += bytes.toString('utf8', 0, written);
    setImmediate(() => (written > 0 ? done(null, written) : done(failure('ENOSPC'), 0)));
  };
}

describe('the output of the log', () => {
  it('writes lines in order, whatever was waiting when they were flushed', async () => {
    const disk = new Disk(Number.POSITIVE_INFINITY);
    const output = new LogOutput(1, disk.write);
    for (const line of ['one\n', 'two\n']) output.write(line);
    const flushed = output.flush(1e6);
    output.write('three\n');
    assert.equal(await flushed, true);
    assert.equal(disk.text, 'one\ntwo\nthree\n');
    assert.equal(await output.flush(0), true, 'nothing is waiting');
  });

  it('drops and counts what a full disk refuses, and continues on a line of its own', async () => {
    const disk = new Disk(14);
    const output = new LogOutput(1, disk.write);
    for (const line of ['first 1\n', 'second 2\n', 'third 3\n']) {
      output.write(line);
      assert.equal(await output.flush(1e6), true);
    }
    assert.equal(output.dropped, 2);
    disk.room = 1000;
    output.write('fourth 4\n');
    assert.equal(await output.flush(1e6), true);
    assert.equal(disk.text, 'first 1\nsecond\nfourth 4\n');
    assert.equal(output.dropped, 2);
  });

  it('counts each line of a write that fails', async () => {
    const output = new LogOutput(1, (_fd, _bytes, done) =>
      setImmediate(() => done(failure('EPIPE'), 0)),
    );
    for (let i = 0; i < 500; i++) output.write(`line ${i}\n`);
    assert.equal(await output.flush(1e6), true);
    assert.equal(output.dropped, 500);
  });

  it('tries again where a descriptor does not block', async () => {
    let refusals = 2;
    const disk = new Disk(1000);
    const output = new LogOutput(1, (fd, bytes, done) => {
      if (refusals-- > 0) setImmediate(() => done(failure('EAGAIN'), 0));
      else disk.write(fd, bytes, done);
    });
    output.write('patient\n');
    assert.equal(await output.flush(1e6), true);
    assert.deepEqual([disk.text, output.dropped], ['patient\n', 0]);
  });

  it('keeps a bounded amount for a reader that does not read, and says that lines are unwritten', async () => {
    const output = new LogOutput(1, () => {});
    const line = `${'x'.repeat((1 << 20) - 1)}\n`;
    for (let i = 0; i < 10; i++) output.write(line, true);
    assert.equal(output.dropped, 6, '4 MiB wait');
    assert.equal(await output.flush(1), false);
  });

  it('drops no important line where it can drop others', () => {
    const output = new LogOutput(1, () => {});
    const line = `${'x'.repeat(1023)}\n`;
    for (let i = 0; i < 4096; i++) output.write(line);
    assert.equal(output.dropped, 1024);
    for (let i = 0; i < 1024; i++) output.write(line, true);
    assert.equal(output.dropped, 1024);
    output.write(line, true);
    assert.equal(output.dropped, 1025);
  });

  const LOGGING = `
    const { createLog } = await import('./agent/runtime/log.ts');
    const { exitAtOnce } = await import('./src/kernel/os.ts');
    const { log, flush, dropped } = await createLog({ level: 'info', format: 'json' });
    process.once('SIGTERM', async () => {
      const isLogged = await flush(100);
      console.error('dropped', dropped(), isLogged);
      exitAtOnce(0);
    });
    const beat = setInterval(() => log.info('x'.repeat(4000)), 1);
    setTimeout(() => console.error('alive'), 300);
  `;

  it('leaves a process alive and able to stop that logs to a full device', () => {
    const program = `${LOGGING} setTimeout(() => process.kill(process.pid, 'SIGTERM'), 400);`;
    const shell = `"$0" --input-type=module -e "$1" 2>&1 > /dev/full`;
    const text = execFileSync('sh', ['-c', shell, process.execPath, program], { encoding: 'utf8' });
    const [, dropped] = /^alive\ndropped (\d+) true\n$/.exec(text) ?? assert.fail(text);
    assert.ok(Number(dropped) > 0);
  });

  it('leaves a process able to stop whose log nobody reads', async () => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', LOGGING], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    // A reader that does not read: the pipe fills up, and the write blocks its thread.
    child.stdout.pause();
    let text = '';
    child.stderr.on('data', (chunk) => {
      text += chunk;
      if (`${chunk}`.includes('alive')) child.kill('SIGTERM');
    });
    const [code] = await once(child, 'exit');
    assert.equal(code, 0);
    assert.match(text, /^alive\ndropped \d+ false\n$/);
  });
});
