import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { lacks } from '../../test/kit/needs.ts';
import { cases } from '../../test/kit/random.ts';
import { Btf } from './btf.ts';
import { ProbeObject } from './probe-object.ts';

const skip = lacks('build', 'libbpf');

const KIND = {
  int: 1,
  pointer: 2,
  array: 3,
  struct: 4,
  enum: 6,
  typedef: 8,
  volatile: 9,
  const: 10,
};
const HEADER = 24;

/** Writes BTF as a compiler would: types are numbered from 1 in the order in which they are added. */
class Writer {
  readonly #words: number[] = [];
  #strings = '\0';
  #types = 0;

  type(kind: number, name: string, sizeOrType: number, length = 0, data: number[] = []): number {
    this.#words.push(this.#string(name), (kind << 24) | length, sizeOrType, ...data);
    return ++this.#types;
  }

  int(name: string, size: number): number {
    return this.type(KIND.int, name, size, 0, [size * 8]);
  }

  array(element: number, count: number): number {
    return this.type(KIND.array, '', 0, 0, [element, element, count]);
  }

  /** @param members [name, type, byte offset] */
  struct(
    name: string,
    size: number,
    members: readonly (readonly [string, number, number])[],
  ): number {
    const data = members.flatMap(([member, type, at]) => [this.#string(member), type, at * 8]);
    return this.type(KIND.struct, name, size, members.length, data);
  }

  enum(name: string, members: Readonly<Record<string, number>>): number {
    const entries = Object.entries(members);
    const data = entries.flatMap(([member, value]) => [this.#string(member), value]);
    return this.type(KIND.enum, name, 4, entries.length, data);
  }

  bytes(): Uint8Array {
    const strings = Buffer.from(this.#strings);
    const bytes = new Uint8Array(HEADER + this.#words.length * 4 + strings.length);
    const view = new DataView(bytes.buffer);
    view.setUint16(0, 0xeb9f, true);
    view.setUint8(2, 1);
    const header = [HEADER, 0, this.#words.length * 4, this.#words.length * 4, strings.length];
    for (const [i, word] of [...header, ...this.#words].entries()) {
      view.setInt32(4 + i * 4, word | 0, true);
    }
    bytes.set(strings, HEADER + this.#words.length * 4);
    return bytes;
  }

  #string(text: string): number {
    if (text === '') return 0;
    const at = this.#strings.length;
    this.#strings += `${text}\0`;
    return at;
  }
}

function sample(): Uint8Array {
  const writer = new Writer();
  const u8 = writer.int('unsigned char', 1);
  const u32 = writer.int('unsigned int', 4);
  const qualified = writer.type(KIND.const, '', writer.type(KIND.volatile, '', u32));
  const typedef = writer.type(KIND.typedef, '__u32', qualified);
  const pointer = writer.type(KIND.pointer, '', u8);
  const inner = writer.struct('inner', 8, [
    ['a', typedef, 0],
    ['b', u32, 4],
  ]);
  const innerAlias = writer.type(KIND.typedef, 'inner_t', inner);
  const grid = writer.array(writer.array(typedef, 3), 2);
  writer.struct('outer', 72, [
    ['first', u8, 0],
    ['nested', inner, 8],
    ['again', innerAlias, 16],
    ['text', writer.array(u8, 16), 24],
    ['grid', grid, 40],
    ['pointer', pointer, 64],
    ['none', writer.array(u32, 0), 72],
  ]);
  writer.enum('colour', { RED: 0, GREEN: 7, NEGATIVE: -1 });
  return writer.bytes();
}

describe('Btf', () => {
  it('lays out a struct with nested structs, arrays, typedefs and pointers', () => {
    assert.deepEqual(new Btf(sample()).struct('outer'), {
      name: 'outer',
      size: 72,
      fields: [
        { name: 'first', offset: 0, size: 1, signed: false },
        { name: 'a', offset: 8, size: 4, signed: false },
        { name: 'b', offset: 12, size: 4, signed: false },
        { name: 'a', offset: 16, size: 4, signed: false },
        { name: 'b', offset: 20, size: 4, signed: false },
        { name: 'text', offset: 24, size: 16, signed: false },
        { name: 'grid', offset: 40, size: 24, signed: false },
        { name: 'pointer', offset: 64, size: 8, signed: false },
        { name: 'none', offset: 72, size: 0, signed: false },
      ],
    });
  });

  it('lists an enum with its values, negative ones too', () => {
    const members = new Btf(sample()).enum('colour');
    assert.deepEqual(
      [...(members ?? [])],
      [
        ['RED', 0],
        ['GREEN', 7],
        ['NEGATIVE', -1],
      ],
    );
  });

  it('knows no struct or enum that is not there, nor one of the other kind', () => {
    const btf = new Btf(sample());
    assert.equal(btf.struct('nothing'), undefined);
    assert.equal(btf.enum('nothing'), undefined);
    assert.equal(btf.struct('colour'), undefined);
    assert.equal(btf.enum('outer'), undefined);
  });

  it('reads bytes that lie inside a larger buffer', () => {
    const bytes = sample();
    const padded = new Uint8Array(bytes.length + 64);
    padded.set(bytes, 13);
    assert.equal(new Btf(padded.subarray(13, 13 + bytes.length)).struct('inner')?.size, 8);
  });

  it('says of other bytes that they are not BTF', () => {
    for (const bytes of [
      new Uint8Array(),
      new Uint8Array(100),
      Buffer.from('\x7fELF'.repeat(20)),
    ]) {
      assert.throws(() => new Btf(bytes), /not BTF/);
    }
  });

  it('says of BTF that was cut anywhere that it is damaged', () => {
    const bytes = sample();
    for (let length = 0; length < bytes.length; length++) {
      assert.throws(
        () => readAll(bytes.subarray(0, length)),
        (error) =>
          error instanceof Error && !(error instanceof RangeError) && /BTF/.test(error.message),
        `${length} of ${bytes.length} bytes`,
      );
    }
  });

  it('says of BTF whose last type is cut that it is damaged', () => {
    const bytes = sample();
    const view = new DataView(bytes.buffer);
    const length = view.getUint32(12, true);
    for (const less of [4, 8, 20, 32]) {
      view.setUint32(12, length - less, true);
      assert.throws(() => new Btf(bytes), /^Error: .*BTF/, `${less} bytes less`);
    }
  });

  it('neither hangs nor fails without words on any damaged byte', () => {
    const bytes = sample();
    const damage = fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), {
      minLength: 1,
      maxLength: 4,
    });
    fc.assert(
      fc.property(damage, (changes) => {
        const damaged = bytes.slice();
        for (const [at, value] of changes) damaged[at] = value;
        try {
          readAll(damaged);
        } catch (error) {
          assert.match(String(error), /^Error: .*BTF/);
        }
      }),
      cases(3000),
    );
  });

  it('does not follow a typedef of itself for ever', () => {
    const writer = new Writer();
    const first = writer.type(KIND.typedef, 'a', 2);
    writer.type(KIND.typedef, 'b', first);
    writer.struct('loop', 4, [['x', first, 0]]);
    assert.throws(() => new Btf(writer.bytes()).struct('loop'), /^Error: .*BTF/);
  });

  it('does not unfold a struct or an array that contains itself', () => {
    const writer = new Writer();
    writer.struct('loop', 8, [['self', 1, 0]]);
    const array = writer.array(2, 4);
    writer.struct('deep', 8, [['x', array, 0]]);
    const btf = new Btf(writer.bytes());
    assert.throws(() => btf.struct('loop'), /^Error: .*BTF/);
    assert.throws(() => btf.struct('deep'), /^Error: .*BTF/);
  });

  it('reads what the compiler wrote into the probe object', { skip }, () => {
    const path = new URL('../../dist/bpf/vfioscope.bpf.o', import.meta.url).pathname;
    const object = ProbeObject.open(path);
    const btf = object.btf();
    const call = btf.struct('call');
    assert.deepEqual(
      [call?.size, call?.fields.at(-1)],
      [72, { name: 'sample_kvm', offset: 64, size: 8, signed: false }],
    );
    assert.equal(btf.enum('wire')?.get('POINT_LIMIT'), 256);
    assert.equal(btf.struct('no_such_struct'), undefined);
    object.close();
  });
});

function readAll(bytes: Uint8Array): void {
  const btf = new Btf(bytes);
  for (const name of ['outer', 'inner']) btf.struct(name);
  btf.enum('colour');
}
