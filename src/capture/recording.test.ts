import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import {
  HEADER,
  Notes,
  POINTS,
  played,
  playTo,
  recorderOf,
  recordNumber,
  recordScenario,
  type Scenario,
  START,
  scratch,
} from '../../test/kit/recorded.ts';
import { EventCursor } from '../events/cursor.ts';
import { encodeRecord } from '../events/encoder.ts';
import { POINT } from '../events/wire.gen.ts';
import { UserProblem } from '../problem.ts';
import { FULL } from './format.ts';
import { RecordingReader } from './reader.ts';
import { Recorder } from './recorder.ts';

const directory = scratch();
let files = 0;
const newFile = () => join(directory, `${++files}.vfr`);

function oneLifecycle(scenario: Scenario): void {
  const device = scenario.create(scenario.parent());
  const open = scenario.open(device, { vm: scenario.createVm() });
  scenario.wait(3);
  scenario.close(open);
  scenario.remove(device);
}

const put = encodeRecord({
  ...{ time: START, seq: 0, point: POINT.KVM_PUT, pid: 600, tid: 600, comm: 'qemu', kvm: 7 },
});

describe('a recording', () => {
  it('plays back what was recorded, in the same order, with the same bytes', () => {
    const file = newFile();
    const live = new Notes();
    live.watching(POINTS);
    playTo(live, oneLifecycle);
    recordScenario(file, oneLifecycle);
    const { notes, problem } = played(file);
    assert.equal(problem, undefined);
    // The attempts of a CPU are recorded only where they are new.
    const heard = live.calls.map((call) => call.replace(/^(caughtUp \d+) \d+$/, '$1 '));
    assert.deepEqual(notes.calls, heard);
  });

  it('plays back no VF token of a recorder that did not cut it off', () => {
    const file = newFile();
    const device = '0000:02:00.1 vf_token=8f3a5c1e-77aa-4b10-9d2c-0123456789ab';
    recordScenario(file, (scenario) => {
      const names = { device };
      scenario.event('vfio.device.get_fd:begin', { pid: 600, comm: 'qemu' }, { names });
    });
    const [record] = played(file).notes.records;
    const bytes = Buffer.from(record.slice('record '.length), 'hex');
    assert.ok(bytes.includes('0000:02:00.1\0'));
    assert.ok(!bytes.includes('vf_token') && !bytes.includes('8f3a'));
  });

  it('plays back every fact at its position', () => {
    const file = newFile();
    const recorder = recorderOf(file);
    const [lost, kept] = [new Notes(), new Notes()];
    lost.watching(POINTS);
    for (const listener of [recorder, lost]) {
      listener.record(new EventCursor(put.buffer as ArrayBuffer));
      listener.lost('calls_full', 3);
      listener.lost('probe_missed', 2 ** 40);
      listener.watching([{ ...POINTS[1], state: 'attached' }]);
      listener.lost('malformed', 1);
      listener.caughtUp(START + 5e6, [1, 4]);
      listener.watching([]);
    }
    recorder.end();
    kept.calls.push(...played(file).notes.calls);
    assert.deepEqual(kept.calls, lost.calls);
  });

  it('keeps what only a caughtUp shows: records missing at the end', () => {
    const file = newFile();
    const recorder = recorderOf(file);
    recorder.caughtUp(START + 1000, [0, 0]);
    recorder.record(new EventCursor(put.buffer as ArrayBuffer));
    recorder.caughtUp(START + 2000, [1, 0]);
    recorder.caughtUp(START + 3000, [1, 7]);
    recorder.caughtUp(START + 4000, [1, 7]);
    recorder.end();
    assert.deepEqual(
      played(file).notes.calls.filter((call) => call.startsWith('caughtUp')),
      [`caughtUp ${START + 3000} 1,7`, `caughtUp ${START + 4000} `],
    );
    assert.equal(recorder.ringFull, 7);
  });

  it('records the time about once a second, even when nothing happens', () => {
    const file = newFile();
    const recorder = recorderOf(file);
    for (let i = 1; i <= 50; i++) recorder.caughtUp(START + i * 1e8, [0]);
    recorder.end();
    const seconds = [1, 2, 3, 4, 5].map((second) => `caughtUp ${START + second * 1e9} `);
    assert.deepEqual(played(file).notes.calls.slice(1), seconds);
  });

  it('writes points only when they are others than before', () => {
    const file = newFile();
    const recorder = recorderOf(file);
    recorder.watching(POINTS);
    recorder.watching([...POINTS]);
    recorder.watching([]);
    recorder.end();
    const { calls } = played(file).notes;
    assert.deepEqual(
      calls.map((call) => call.length > 20),
      [true, false],
    );
  });

  it('is written as it comes, in blocks that are bounded', () => {
    const file = newFile();
    const recorder = recorderOf(file);
    const cursor = new EventCursor(put.buffer.slice(0) as ArrayBuffer);
    const before = statSync(file).size;
    const count = Math.ceil((2.5 * FULL) / 120);
    for (let i = 0; i < count; i++) recorder.record(recordNumber(i, cursor));
    assert.ok(statSync(file).size > before, 'full blocks are in the file');
    assert.equal(statSync(file).size, recorder.bytes);
    recorder.end();
    const reader = new RecordingReader(file);
    const sizes: number[] = [];
    for (let block = reader.next(); block; block = reader.next()) sizes.push(block.raw.length);
    reader.close();
    assert.equal(sizes.length, 4, 'two full, one begun, the end mark');
    assert.ok(sizes.every((size) => size <= FULL));
    assert.equal(played(file).notes.records.length, count);
  });

  it('keeps who made it and where', () => {
    const file = newFile();
    recordScenario(file, oneLifecycle);
    const reader = new RecordingReader(file);
    assert.deepEqual(reader.header, HEADER);
    reader.close();
  });

  it('shows no text that could steer a terminal', () => {
    const file = newFile();
    recordScenario(file, oneLifecycle, { kernel: '6.12\u001b[2J' });
    const reader = new RecordingReader(file);
    assert.equal(reader.header.kernel, '6.12?[2J');
    reader.close();
  });

  it('of an older agent, which knew fewer points, can be read', () => {
    const file = newFile();
    const { KVM_PUT: _, ...points } = HEADER.wire.points;
    recordScenario(file, oneLifecycle, { wire: { ...HEADER.wire, points } });
    assert.equal(played(file).problem, undefined);
  });

  it('is for nobody else to read', () => {
    const file = newFile();
    recordScenario(file, oneLifecycle);
    assert.equal(statSync(file).mode & 0o777, 0o600);
  });
});

describe('a recorder', () => {
  it('allocates nothing for a record', () => {
    const recorder = recorderOf('/dev/null');
    const cursor = new EventCursor(put.buffer.slice(0) as ArrayBuffer);
    const some = (count: number) => {
      for (let i = 0; i < count; i++) recorder.record(recordNumber(i, cursor));
    };
    some(200_000);
    const before = process.memoryUsage().heapUsed;
    some(2000);
    const grown = process.memoryUsage().heapUsed - before;
    recorder.end();
    assert.ok(grown < 2000 * 8, `${grown} bytes for 2000 records`);
  });

  it('does not replace a file unless asked to', () => {
    const file = newFile();
    writeFileSync(file, 'precious');
    const make = () => overwrite(file);
    assert.throws(make, (error) => {
      assert.ok(error instanceof UserProblem);
      assert.match(error.message, /is there already$/);
      assert.match(error.next, /--force/);
      return true;
    });
    assert.equal(readFileSync(file, 'utf8'), 'precious');
  });

  for (const [path, what] of [
    ['/no/such/directory/x', /cannot write .*: ENOENT/],
    [directory, /cannot write .*: EISDIR/],
    ['/dev/full', /cannot write \/dev\/full: ENOSPC/],
  ] as const) {
    it(`says why it cannot write ${path}`, () => {
      assert.throws(
        () => recorderOf(path),
        (error) => {
          assert.ok(error instanceof UserProblem);
          assert.match(error.message, what);
          return true;
        },
      );
    });
  }

  it('stops when its disk is full, says so once, and leaves whole blocks', async () => {
    const file = newFile();
    // A limit of the shell stands for a small disk: 200 KiB.
    const { code, out } = await child(
      `
      process.on('SIGXFSZ', () => {});
      let reported = 0;
      const recorder = recorderOf(${JSON.stringify(file)});
      recorder.onProblem = ({ message }) => { reported++; console.log(message); };
      for (let i = 0; i < 2e5; i++) recorder.record(recordNumber(i, cursor));
      recorder.end();
      console.log(reported, recorder.problem !== undefined);
      `,
      'ulimit -f 400; ',
    );
    assert.equal(code, 0, out);
    assert.match(
      out,
      /cannot write .*\.vfr: EFBIG; the recording stopped after \d+ bytes\n1 true\n$/,
    );
    const { notes, problem } = played(file);
    assert.ok(notes.records.length > 0);
    assert.match(problem?.message ?? '', /ends without an end mark/);
  });
});

describe('a recorder that is killed', () => {
  it('leaves all blocks that it wrote', async () => {
    const file = newFile();
    const running = spawnChild(`
      const recorder = recorderOf(${JSON.stringify(file)});
      for (let i = 0; ; i++) {
        recorder.record(recordNumber(i, cursor));
        if (i === 100_000) console.log('writing');
      }
    `);
    await once(running.stdout, 'data');
    running.kill('SIGKILL');
    await once(running, 'exit');
    assert.ok(existsSync(file));
    const { notes, problem } = played(file);
    assert.match(problem?.message ?? '', /ends without an end mark at byte \d+.*; \d+ records/);
    const expected = new Notes();
    const cursor = new EventCursor(put.buffer.slice(0) as ArrayBuffer);
    assert.ok(notes.records.length > 90_000);
    for (let i = 0; i < notes.records.length; i += 997) {
      expected.record(recordNumber(i, cursor));
      assert.equal(notes.records[i], expected.calls.at(-1));
    }
  });
});

function overwrite(file: string): void {
  new Recorder({ path: file, header: HEADER, overwrite: false });
}

/** Runs lines in a process of their own, with a record at hand. */
function spawnChild(lines: string, shell = '') {
  const program = `
    import { EventCursor } from ${url('../events/cursor.ts')};
    import { recorderOf, recordNumber } from ${url('../../test/kit/recorded.ts')};
    const cursor = new EventCursor(new Uint8Array(${JSON.stringify([...put])}).buffer);
    ${lines}`;
  const words = ['-c', `${shell}exec "$0" --input-type=module -e "$1"`, process.execPath, program];
  return spawn('/bin/sh', words, { stdio: ['ignore', 'pipe', 'inherit'] });
}

async function child(lines: string, shell: string): Promise<{ code: number; out: string }> {
  const running = spawnChild(lines, shell);
  let out = '';
  running.stdout.on('data', (text) => {
    out += text;
  });
  const [code] = await once(running, 'close');
  return { code, out };
}

function url(path: string): string {
  return JSON.stringify(new URL(path, import.meta.url).href);
}
