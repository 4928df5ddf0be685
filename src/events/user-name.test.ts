import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EventCursor } from './cursor.ts';
import { encodeRecord } from './encoder.ts';
import { cutUserName } from './user-name.ts';
import { NAMES, POINT } from './wire.gen.ts';

const TOKEN = '8f3a5c1e-77aa-4b10-9d2c-0123456789ab';

/** A record with that name, cut. */
function cut(device: string, point: number = POINT.VFIO_DEVICE_GET_FD) {
  const record = encodeRecord({
    time: 1,
    seq: 2,
    point,
    pid: 3,
    tid: 4,
    comm: 'qemu',
    names: { device },
  });
  // It lies somewhere among others.
  const bytes = new Uint8Array(48 + record.length);
  bytes.set(record, 48);
  cutUserName(bytes, 48);
  return { event: new EventCursor(bytes.buffer, 48), bytes: Buffer.from(bytes) };
}

describe('a name that a process passed to the kernel', () => {
  it('is kept up to its first blank, and nothing behind it', () => {
    for (const blank of [' ', '   ', '\t', '\n', ' \u0001']) {
      const { event, bytes } = cut(`0000:02:00.1${blank}vf_token=${TOKEN}`);
      assert.deepEqual([event.name('device'), event.hasOptions], ['0000:02:00.1', true]);
      const field = bytes.subarray(48 + NAMES.device + 12, 48 + NAMES.bus);
      assert.deepEqual(field, Buffer.alloc(field.length), JSON.stringify(blank));
    }
  });

  it('has no options if only blanks follow, or nothing', () => {
    for (const name of ['0000:02:00.1', '0000:02:00.1  ', '', 'x'.repeat(39)]) {
      const { event } = cut(name);
      assert.deepEqual([event.name('device'), event.hasOptions], [name.trimEnd(), false]);
    }
  });

  it('has options also where the field ends behind its blank', () => {
    const name = '00112233-4455-6677-8899-aabbccddeeff';
    const { event } = cut(`${name} vf_token=${TOKEN}`);
    assert.deepEqual([event.name('device'), event.hasOptions], [name, true]);
  });

  it('ends at the first "=", which only what is no name has', () => {
    for (const text of [`vf_token=${TOKEN} 0000:02:00.1`, `vf_token=${TOKEN}`]) {
      const { event, bytes } = cut(text);
      assert.deepEqual([event.name('device'), event.hasOptions], ['vf_token', true]);
      assert.ok(!bytes.includes(TOKEN.slice(0, 8)));
    }
    const { event } = cut('vf_token=');
    assert.deepEqual([event.name('device'), event.hasOptions], ['vf_token', false]);
  });

  it('keeps letters of other languages', () => {
    assert.equal(cut('größe').event.name('device'), 'größe');
  });

  it('is also that of a module, and no other name', () => {
    assert.equal(cut('faulty key=1', POINT.MODULE_UNLOAD).event.name('device'), 'faulty');
    const { event } = cut('a b', POINT.VFIO_DEVICE_OPEN);
    assert.deepEqual([event.name('device'), event.hasOptions], ['a b', false]);
  });
});
