import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { plain, plainLine } from './plain.ts';

describe('text that others have chosen', () => {
  for (const [what, text, expected] of [
    ['colours and titles', '\u001b[31mred\u001b]0;title\u0007', '?[31mred?]0;title?'],
    ['eight-bit control sequences', 'a\u009b2Jb\u007f', 'a?2Jb?'],
    ['the direction of text', 'user\u202egnp\u2066x\u2069\u200f\u061c', 'user?gnp?x???'],
    ['what does not show', 'qemu\u200b\u2060\ufeff\u00ad\u3164\u{e0041}\ufe0f', 'qemu???????'],
    ['line breaks of all kinds', 'a\nb\r\u2028c\u2029d\u0085', 'a?b??c?d?'],
    ['half a character', 'a\ud800b', 'a?b'],
  ] as const) {
    it(`loses ${what}`, () => assert.equal(plain(text), expected));
  }

  it('keeps names in other scripts', () => {
    for (const name of ['日本語', 'Ünïcödé', 'עברית', 'हिन्दी', '😀', 'a b-c_d\\x2d%']) {
      assert.equal(plain(name), name);
    }
  });

  it('is one line where lines count', () => {
    assert.equal(plainLine('one\n  two\r\nthree\u001b'), 'one two three?');
  });
});
