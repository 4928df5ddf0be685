import assert from 'node:assert/strict';
import { chmodSync, existsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, mock } from 'node:test';
import type { SourceListener } from '../../src/events/source.ts';
import { UserProblem } from '../../src/problem.ts';
import { LINUX_6_12 } from '../../src/scenario/kernels.ts';
import { Scenario } from '../../src/scenario/scenario.ts';
import { POINTS, played, playTo, scratch } from '../../test/kit/recorded.ts';
import { output } from './output.ts';
import { record, type Source } from './record.ts';

const directory = scratch();
const file = join(directory, 'taken.vfr');

const RECORDS = shortScenario().steps.filter((step) => step instanceof Uint8Array).length;

function shortScenario(scenario = new Scenario()): Scenario {
  scenario.remove(scenario.create(scenario.parent()));
  return scenario;
}

/** Emits a short scenario, then calls back. */
class ShortSource implements Source {
  /** How it was stopped, call by call. */
  readonly ends: string[] = [];
  readonly traits = { values: { ...LINUX_6_12, namesAreIndexed: undefined } };
  readonly #after: () => void;

  constructor(after: () => void) {
    this.#after = after;
  }

  points() {
    return POINTS;
  }

  start(listener: SourceListener): void {
    playTo(listener, shortScenario);
    listener.lost('probe_missed', 4);
    setImmediate(this.#after);
  }

  async stop(): Promise<void> {
    this.ends.push('stop');
  }

  close(): void {
    this.ends.push('close');
  }
}

async function run(path: string, source: Source, force = false): Promise<string> {
  const lines: string[] = [];
  const note = (text: string) => {
    lines.push(text);
  };
  const mocks = (['print', 'complain'] as const).map((name) => mock.method(output, name, note));
  try {
    await record({ file: path, force, ringBytes: 4096 }, () => source);
  } catch (error) {
    throw Object.assign(error as Error, { printed: lines.join('\n') });
  } finally {
    for (const one of mocks) one.mock.restore();
  }
  return lines.join('\n');
}

describe('vfioscope record', () => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    it(`records until ${signal}, and reports how much was recorded and lost`, async () => {
      const source = new ShortSource(() => process.emit(signal));
      const out = await run(file, source, true);
      const { size } = statSync(file);
      assert.match(out, /^recording 1 of 2 points \(vfioscope doctor says why\) to .*taken\.vfr/);
      assert.match(
        out,
        new RegExp(`\\nrecorded ${RECORDS} records in 0\\.\\d s: ${size} bytes in `),
      );
      assert.match(out, /\nlost events: 4 \(probe_missed\)$/);
      assert.deepEqual(source.ends, ['stop', 'close']);
      const { notes, problem } = played(file);
      assert.equal(problem, undefined);
      assert.equal(notes.records.length, RECORDS);
    });
  }

  it('detaches the probes when the file cannot be created', async () => {
    writeFileSync(file, 'precious');
    const source = new ShortSource(() => {});
    await assert.rejects(run(file, source), { name: 'UserProblem', message: /is there already/ });
    assert.deepEqual(source.ends, ['close']);
  });

  it('does not write to standard output, and creates no file of that name', async () => {
    await assert.rejects(run('-', new ShortSource(() => {})), { message: /standard output/ });
    assert.equal(existsSync('-'), false);
  });

  it('keeps a file that it replaces to itself', async () => {
    const path = join(directory, 'public.vfr');
    writeFileSync(path, 'old', { mode: 0o666 });
    chmodSync(path, 0o666);
    await run(path, new ShortSource(() => process.emit('SIGINT')), true);
    assert.equal(statSync(path).mode & 0o777, 0o600);
  });

  it('stops at once at a signal that came while probes were attached', async () => {
    const source = new ShortSource(() => {});
    const running = record({ file, force: true, ringBytes: 4096 }, () => {
      process.emit('SIGINT');
      return source;
    });
    const print = mock.method(output, 'print', () => {});
    await running;
    print.mock.restore();
    assert.deepEqual(source.ends, ['stop', 'close']);
  });

  it('closes everything when its first line cannot be printed', async () => {
    const source = new ShortSource(() => {});
    const print = mock.method(output, 'print', () => {
      throw new UserProblem('output.unwritable', 'no', 'nothing');
    });
    const running = record({ file, force: true, ringBytes: 4096 }, () => source);
    await assert.rejects(running, { code: 'output.unwritable' });
    print.mock.restore();
    assert.deepEqual(source.ends, ['stop', 'close']);
    assert.equal(played(file).problem, undefined);
  });

  it('stops when writing fails', async () => {
    const source = new ShortSource(() => {});
    await assert.rejects(run('/dev/full', source, true), {
      name: 'UserProblem',
      message: /cannot write \/dev\/full: ENOSPC \(no space left\)/,
    });
    assert.deepEqual(source.ends, ['close']);
  });
});
