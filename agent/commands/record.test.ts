import assert from 'node:assert/strict';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, mock } from 'node:test';
import { POINTS, played, scratch, tellTo } from '../../src/capture/taped.ts';
import type { SourceListener } from '../../src/events/source.ts';
import { Story } from '../../src/rules/story.ts';
import { record, type Source } from './record.ts';

const directory = scratch();
const file = join(directory, 'taken.vfr');

const RECORDS = shortStory().steps.filter((step) => step instanceof Uint8Array).length;

function shortStory(story = new Story()): Story {
  story.remove(story.create(story.parent()));
  return story;
}

/** Tells a short story, then something happens to the process. */
class Told implements Source {
  /** How it was ended. */
  readonly ends: string[] = [];
  readonly #after: () => void;

  constructor(after: () => void) {
    this.#after = after;
  }

  points() {
    return POINTS;
  }

  start(listener: SourceListener): void {
    tellTo(listener, shortStory);
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
  const log = mock.method(console, 'log', (line: string) => lines.push(line));
  try {
    await record({ file: path, force, ringBytes: 4096 }, () => source);
  } finally {
    log.mock.restore();
  }
  return lines.join('\n');
}

describe('vfioscope record', () => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    it(`records until ${signal}, and says how much was recorded and lost`, async () => {
      const source = new Told(() => process.emit(signal));
      const out = await run(file, source, true);
      const { size } = statSync(file);
      assert.match(out, /^recording 1 of 2 points \(vfioscope doctor tells more\) to .*taken\.vfr/);
      assert.match(
        out,
        new RegExp(`\\nrecorded ${RECORDS} records in 0\\.\\d s: ${size} bytes in `),
      );
      assert.match(out, /\nlost 4 \(probe_missed\)$/);
      assert.deepEqual(source.ends, ['stop', 'close']);
      const { notes, problem } = played(file);
      assert.equal(problem, undefined);
      assert.equal(notes.records.length, RECORDS);
    });
  }

  it('lets go of the probes when the file cannot be made', async () => {
    writeFileSync(file, 'precious');
    const source = new Told(() => {});
    await assert.rejects(run(file, source), { name: 'UserProblem', message: /is there already/ });
    assert.deepEqual(source.ends, ['close']);
  });

  it('does not write to standard output, and makes no file of that name', async () => {
    await assert.rejects(run('-', new Told(() => {})), { message: /standard output/ });
    assert.equal(existsSync('-'), false);
  });

  it('stops when nothing can be written any more', async () => {
    const source = new Told(() => {});
    await assert.rejects(run('/dev/full', source, true), {
      name: 'UserProblem',
      message: /cannot write \/dev\/full: ENOSPC \(no space left\)/,
    });
    assert.deepEqual(source.ends, ['close']);
  });
});
