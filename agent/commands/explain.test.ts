import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { RULES } from '../../src/catalogue.ts';
import { UserProblem } from '../../src/problem.ts';
import { explain } from './explain.ts';
import { nearest } from './nearest.ts';

describe('vfioscope explain', () => {
  for (const { id, title, examples } of RULES) {
    it(`describes ${id} with all its examples`, () => {
      const text = explain(id, { colour: false });
      assert.ok(text.startsWith(`${id}\n${title}\n`));
      assert.doesNotMatch(text, /undefined|NaN|\[object/);
      const words = text.replaceAll(/\s+/g, ' ');
      for (const example of [...examples.fires, ...examples.doesNotFire]) {
        assert.ok(words.includes(` - ${example.title}`), example.title);
      }
      const [breaks, misses] = text.split('\nFires\n')[1].split('\nDoes not fire\n');
      assert.match(breaks, /^ {4}=> (info|warning|error|critical): /m);
      assert.doesNotMatch(misses, /=>/);
    });
  }

  it('fits its paragraphs into the terminal', () => {
    for (const width of [40, 60, 100]) {
      const [paragraphs] = explain('remove-stall', { width, colour: false }).split('\nFires\n');
      for (const line of paragraphs.split('\n').slice(2)) assert.ok(line.length <= width, line);
    }
  });

  it('has colours only where they are wanted, and the same words', () => {
    const plain = explain('remove-stall', { colour: false });
    const coloured = explain('remove-stall', { colour: true });
    assert.equal(plain, stripVTControlCharacters(plain));
    assert.notEqual(coloured, plain);
    assert.equal(stripVTControlCharacters(coloured), plain);
  });

  it('says which rule may have been meant', () => {
    assert.throws(
      () => explain('remove-stal', { colour: false }),
      (error) => {
        assert.ok(error instanceof UserProblem);
        assert.equal(error.message, 'there is no rule remove-stal');
        assert.match(
          error.next,
          /^did you mean .*remove-stall.*\? vfioscope rules lists them all$/,
        );
        return true;
      },
    );
  });

  it('guesses nothing when nothing is like it', () => {
    assert.throws(
      () => explain('xyzzy', { colour: false }),
      (error) => error instanceof UserProblem && error.next === 'vfioscope rules lists them all',
    );
  });
});

describe('the nearest names', () => {
  const names = ['remove-stall', 'remove-failed', 'open-failed', 'nested-open'];

  for (const [word, expected] of [
    ['stall', ['remove-stall']],
    ['Remove-Stall', ['remove-stall', 'remove-failed']],
    ['open-fialed', ['open-failed']],
    ['remove-file', ['remove-failed', 'remove-stall']],
    ['', []],
  ] as const) {
    it(`of "${word}"`, () => assert.deepEqual(nearest(word, names), expected));
  }
});
