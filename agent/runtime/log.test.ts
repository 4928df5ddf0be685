import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, fstatSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { pino } from 'pino';
import { isJournal, withPriority } from './log.ts';

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
      for (const level of ['debug', 'info', 'warn', 'error']) log[level]({ n: 1, error: new Error('why') }, 'two\\nlines');
      flush();
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
    assert.equal(lines.length, 4);
    for (const line of lines) {
      const { n, error } = JSON.parse(line) as { n: number; error: { message: string } };
      assert.deepEqual([n, error.message], [1, 'why']);
    }
  });

  it('have their priority before them for the journal of systemd, and behind it JSON', () => {
    const lines = written(true);
    const priorities: Record<number, string> = { 20: '<7>', 30: '<6>', 40: '<4>', 50: '<3>' };
    assert.equal(lines.length, 4);
    for (const line of lines) {
      const { level } = JSON.parse(line.slice(3)) as { level: number };
      assert.equal(line.slice(0, 3), priorities[level]);
    }
  });

  it('go to the journal only if this very descriptor does', () => {
    const { dev, ino } = fstatSync(0);
    assert.equal(isJournal(`${dev}:${ino}`, 0), true);
    assert.equal(isJournal(`${dev}:${ino + 1}`, 0), false);
    assert.equal(isJournal(undefined, 0), false);
  });

  it('have the priority of their own level', () => {
    const lines: string[] = [];
    const log = pino({}, withPriority({ write: (line) => lines.push(line) }));
    log.error('first');
    log.info('second');
    assert.deepEqual(
      lines.map((line) => line.slice(0, 3)),
      ['<3>', '<6>'],
    );
  });
});
