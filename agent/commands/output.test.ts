import assert from 'node:assert/strict';
import { describe, it, mock } from 'node:test';
import { jsonLines, output, printLines } from './output.ts';

describe('a document in lines', () => {
  for (const [title, value] of [
    ['with nothing in it', {}],
    [
      'with values of all kinds',
      { a: 1, b: 'x\ny', c: null, d: undefined, e: { f: [1, { g: 2 }] } },
    ],
    ['with lists', { none: [], one: [1], more: [{ a: [1, 2] }, [], 'x', undefined], z: true }],
  ] as const) {
    it(`is the document that JSON.stringify() makes: ${title}`, () => {
      assert.equal(
        [...jsonLines(value)].join('\n'),
        JSON.stringify(value, null, 2).replace(/^\{\}$/, '{\n}'),
      );
    });
  }

  it('takes the elements of a list one by one', () => {
    function* elements() {
      yield { a: 1 };
      yield 2;
    }
    assert.equal(
      [...jsonLines({ list: elements() })].join('\n'),
      JSON.stringify({ list: [{ a: 1 }, 2] }, null, 2),
    );
  });
});

describe('lines', () => {
  it('are written in pieces, all of them and in order', () => {
    const pieces: string[] = [];
    const print = mock.method(output, 'print', (text: string) => pieces.push(text));
    const lines = Array.from({ length: 3000 }, (_, i) => `${i} ${'x'.repeat(100)}`);
    printLines(lines);
    print.mock.restore();
    assert.ok(pieces.length > 3);
    assert.deepEqual(pieces.join('\n').split('\n'), lines);
  });
});
