import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { PROBLEM_CODES } from './problem-codes.ts';

const ROOT = new URL('..', import.meta.url).pathname;
const CODES = Object.keys(PROBLEM_CODES);

/** The text of all modules that may report a problem; tests and the table itself may not. */
const SOURCES = globSync('{src,agent}/**/*.ts', { cwd: ROOT })
  .filter((path) => !path.endsWith('.test.ts') && path !== 'src/problem-codes.ts')
  .map((path) => ({ path, text: readFileSync(`${ROOT}${path}`, 'utf8') }));

/** What is given as the code, wherever a problem is made or described. */
function given(text: string): string[] {
  const made = text.matchAll(/new UserProblem\(\s*([^\s,]+)/g);
  const described = text.matchAll(/\bcode: ('[a-z]+\.[a-z-]+')/g);
  return [...made, ...described].map(([, code]) => code);
}

describe('the table of problem codes', () => {
  it('has each code once, in alphabetical order, with a cause and a remedy in full sentences', () => {
    assert.deepEqual(CODES, [...CODES].sort());
    for (const [code, { cause, remedy }] of Object.entries(PROBLEM_CODES)) {
      assert.match(code, /^[a-z]+\.[a-z]+(-[a-z]+)*$/);
      assert.match(cause, /^[A-Z`].*\.$/, code);
      assert.match(remedy, /^[A-Z`].*\.$/, code);
    }
  });

  it('has each code that a module gives', () => {
    const literals = SOURCES.flatMap(({ path, text }) =>
      given(text).flatMap((code) => (code.startsWith("'") ? [[path, code.slice(1, -1)]] : [])),
    );
    assert.ok(literals.length > 30);
    assert.deepEqual(
      literals.filter(([, code]) => !CODES.includes(code)),
      [],
    );
  });

  it('has no code that no module gives', () => {
    const used = (code: string) => SOURCES.some(({ text }) => text.includes(`'${code}'`));
    assert.deepEqual(
      CODES.filter((code) => !used(code)),
      [],
    );
  });
});
