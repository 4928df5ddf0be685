import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EventCursor } from './cursor.ts';
import { encodeRecord } from './encoder.ts';
import { fittingName } from './long-name.ts';
import { POINT } from './wire.gen.ts';

const LONG = 'a-parent-with-a-name-of-more-than-39-letters';

function written(parent: string): string {
  const base = { time: 0, seq: 0, pid: 1, tid: 1, comm: '', point: POINT.SNAPSHOT_PARENT };
  const bytes = encodeRecord({ ...base, names: { parent } });
  return new EventCursor(bytes.buffer as ArrayBuffer).name('parent');
}

describe('the name of a parent', () => {
  it('is left as it is when it fits', () => {
    for (const name of ['mtty', '0000:00:02.0', LONG.slice(0, 39)]) {
      assert.equal(fittingName(name), name);
      assert.equal(written(name), name);
    }
  });

  it('ends in a hash when it is too long, so that two that begin alike are two', () => {
    const [one, other] = [written(`${LONG}-1`), written(`${LONG}-2`)];
    assert.match(one, /^a-parent-with-a-name-of-more-t~[0-9a-f]{8}$/);
    assert.notEqual(one, other);
    assert.equal(one, fittingName(`${LONG}-1`));
  });

  it('is distinguished by its first 124 bytes', () => {
    const start = 'x'.repeat(123);
    assert.notEqual(fittingName(`${start}1`), fittingName(`${start}2`));
    assert.equal(fittingName(`${start}11`), fittingName(`${start}12`));
  });
});
