// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import test from 'node:test';

import { encodeFrame, encodeRun, FrameDecoder, MAX_PAYLOAD } from './frames.ts';

test('frames survive any split of the stream', () => {
  const stream = Buffer.concat([
    encodeFrame('O', 7, Buffer.from('hello')),
    encodeFrame('I', 0xfffffffe),
    encodeFrame('E', 8, Buffer.alloc(1000, 1)),
  ]);
  for (const size of [1, 2, 8, 9, 10, 14, 500, stream.length]) {
    const decoder = new FrameDecoder();
    const frames = [];
    for (let offset = 0; offset < stream.length; offset += size) {
      frames.push(...decoder.push(stream.subarray(offset, offset + size)));
    }
    assert.deepEqual(
      frames.map(({ type, id, payload }) => [type, id, payload.length]),
      [
        ['O', 7, 5],
        ['I', 0xfffffffe, 0],
        ['E', 8, 1000],
      ],
      `chunks of ${size}`,
    );
    assert.equal(frames[0]?.payload.toString(), 'hello');
  }
});

test('a payload that the runner would refuse is refused here', () => {
  assert.throws(() => encodeFrame('I', 1, Buffer.alloc(MAX_PAYLOAD + 1)), RangeError);
});

test('a run request lists its strings, each ended by NUL', () => {
  const request = { command: ['echo', ''], cwd: '/tmp', env: { A: 'b' }, tty: false };
  assert.equal(encodeRun(request).toString(), '\0/tmp\x002\0echo\0\0A=b\0');
  assert.equal(
    encodeRun({ ...request, tty: true })
      .toString()
      .split('\0')[0],
    'tty',
  );
});

test('a NUL inside a string is refused', () => {
  const request = { command: ['echo', 'a\0b'], cwd: '/', env: {}, tty: false };
  assert.throws(() => encodeRun(request), RangeError);
});
