import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { pino } from 'pino';
import { lacks } from '../../test/kit/needs.ts';
import { isJournal, Lines, withPriority } from './log.ts';

const ROOT = new URL('../..', import.meta.url).pathname;

describe('log lines', () => {
  let directory: string;
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'vfioscope-log-'));
  });
  after(() => rmSync(directory, { recursive: true }));

  /** What a program that logs writes to a file. @param journal whether that passes for the journal */
  function written(journal: boolean): string[] {
    const file = join(directory, `log-${journal}`);
    const fd = openSync(file, 'w');
    const { dev, ino } = fstatSync(fd);
    const program = `
      const { createLog } = await import('./agent/runtime/log.ts');
      const { log, flush } = await createLog({ level: 'debug', format: 'auto' });
      for (const level of ['debug', 'info', 'warn', 'error', 'fatal']) log[level]({ n: 1, error: new Error('why') }, 'two\\nlines');
      await flush(10_000);
    `;
    const { PATH } = process.env;
    const env = journal
      ? { PATH, JOURNAL_STREAM: `${dev}:${ino}` }
      : { PATH, JOURNAL_STREAM: '1:2' };
    execFileSync(process.execPath, ['--input-type=module', '-e', program], {
      env,
      stdio: ['ignore', fd, 'inherit'],
    });
    closeSync(fd);
    return readFileSync(file, 'utf8').trimEnd().split('\n');
  }

  it('are JSON and nothing else for a container, one line each', () => {
    const lines = written(false);
    assert.equal(lines.length, 5);
    for (const line of lines) {
      const { n, error } = JSON.parse(line) as { n: number; error: { message: string } };
      assert.deepEqual([n, error.message], [1, 'why']);
    }
  });

  it('have their priority before them for the journal of systemd, and behind it JSON', () => {
    const lines = written(true);
    const priorities: Record<number, string> = {
      ...{ 20: '<7>', 30: '<6>', 40: '<4>', 50: '<3>', 60: '<2>' },
    };
    assert.equal(lines.length, 5);
    for (const line of lines) {
      const { level } = JSON.parse(line.slice(3)) as { level: number };
      assert.equal(line.slice(0, 3), priorities[level]);
    }
  });

  for (const [what, env, isColoured] of [
    ['are coloured on a terminal', { TERM: 'xterm-256color' }, true],
    ['are not coloured under NO_COLOR', { TERM: 'xterm-256color', NO_COLOR: '1' }, false],
    ['are not coloured on a terminal that cannot', { TERM: 'dumb' }, false],
  ] as const) {
    it(what, { skip: lacks('script') }, () => {
      const program = join(directory, 'log.mjs');
      writeFileSync(
        program,
        `const { createLog } = await import('${ROOT}agent/runtime/log.ts');
        const { log, flush } = await createLog({ level: 'info', format: 'auto' });
        log.error('an error');
        await flush(10_000);`,
      );
      const command = `${process.execPath} ${program}`;
      const { PATH } = process.env;
      const text = execFileSync('script', ['-qec', command, '/dev/null'], {
        env: { PATH, ...env },
        stdio: ['ignore', 'pipe', 'inherit'],
        encoding: 'utf8',
      });
      assert.match(text, /an error/);
      assert.equal(text.includes('\u001b['), isColoured, JSON.stringify(text));
    });
  }

  it('go to the journal only if this very descriptor does', () => {
    const { dev, ino } = fstatSync(0);
    assert.equal(isJournal(`${dev}:${ino}`, 0), true);
    assert.equal(isJournal(`${dev}:${ino + 1}`, 0), false);
    assert.equal(isJournal(undefined, 0), false);
  });

  it('have the priority of their own level', () => {
    const lines: string[] = [];
    const log = pino({}, new Lines({ write: (line) => lines.push(line) }, withPriority));
    log.error('first');
    log.info('second');
    assert.deepEqual(
      lines.map((line) => line.slice(0, 3)),
      ['<3>', '<6>'],
    );
  });

  it('are important when they warn or report a violation', () => {
    const important: boolean[] = [];
    const write = (_: string, isImportant = false) => important.push(isImportant);
    const log = pino({}, new Lines({ write }, withPriority));
    log.info({ event: 'violation.raised' }, 'a violation of severity info');
    log.info({ event: 'device.created' }, 'a device');
    log.info('no fields');
    log.child({ a: 1 }).info({ event: 'violation.resolved' }, 'of a child');
    log.warn({ event: 'agent.late' }, 'a warning');
    assert.deepEqual(important, [true, false, false, true, true]);
  });
});
