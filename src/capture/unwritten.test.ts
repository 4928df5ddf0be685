/** A recording whose disk has no more room. A limit on the size of files stands for the disk. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { played, scratch } from '../../test/kit/recorded.ts';

const directory = scratch();

/** Runs a program that may write files of so many blocks of 512 bytes. @returns what it prints */
function limited(blocks: number, program: string, path: string): string {
  const shell = `ulimit -f ${blocks}; exec "$0" --input-type=module -e "$1" "$2"`;
  return execFileSync('sh', ['-c', shell, process.execPath, program, path], { encoding: 'utf8' });
}

const RECORDER = `
  const { Recorder } = await import('./src/capture/recorder.ts');
  const { HEADER } = await import('./test/kit/recorded.ts');
  const { encodeRecord } = await import('./src/events/encoder.ts');
  const { EventCursor } = await import('./src/events/cursor.ts');
  const path = process.argv[1];
  const { randomBytes } = await import('node:crypto');
  const start = (overwrite) => new Recorder({ path, header: HEADER, overwrite });
  const record = (seq) => {
    const fields = { time: HEADER.startedAt + seq, seq, point: 1, pid: 1, tid: 1, comm: 'x' };
    // What does not pack, so that blocks are as large as their records.
    const bytes = encodeRecord(fields);
    randomBytes(16).copy(bytes, bytes.length - 16);
    return new EventCursor(bytes.buffer);
  };
`;

describe('a recording on a disk without room', () => {
  it('counts the records that are not in the file', () => {
    const path = join(directory, 'short.vfr');
    const program = `${RECORDER}
      const recorder = start(false);
      let n = 0;
      while (!recorder.problem) {
        recorder.record(record(n++));
        if (n % 100 === 0) recorder.caughtUp(HEADER.startedAt + n * 1e9, []);
      }
      for (let i = 0; i < 7; i++) recorder.record(record(n++));
      recorder.end();
      console.log(recorder.records, recorder.unwritten, recorder.problem.code);`;
    const [records, unwritten, code] = limited(40, program, path).trim().split(' ');
    assert.equal(code, 'recording.write-failed');
    assert.equal(played(path).notes.records.length, Number(records) - Number(unwritten));
    assert.ok(Number(unwritten) >= 107, `${unwritten} of ${records}`);
  });

  for (const there of [false, true]) {
    it(`leaves no empty file behind${there ? ' where it replaces one' : ''}`, () => {
      const path = join(directory, `empty-${there}.vfr`);
      if (there) writeFileSync(path, 'old');
      const program = `${RECORDER} try { start(${there}); } catch (error) { console.log(error.code); }`;
      assert.equal(limited(0, program, path).trim(), 'recording.write-failed');
      assert.equal(existsSync(path), false);
    });
  }
});
