import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { BTF_KIND, BtfWriter } from '../../test/kit/btf-writer.ts';
import { lacks } from '../../test/kit/needs.ts';
import { cases } from '../../test/kit/random.ts';
import { Btf } from './btf.ts';
import { ProbeObject } from './probe-object.ts';

const skip = lacks('build', 'libbpf');

function sample(): Uint8Array {
  const writer = new BtfWriter();
  const u8 = writer.int('unsigned char', 1);
  const u32 = writer.int('unsigned int', 4);
  const qualified = writer.type(BTF_KIND.const, '', writer.type(BTF_KIND.volatile, '', u32));
  const typedef = writer.type(BTF_KIND.typedef, '__u32', qualified);
  const pointer = writer.type(BTF_KIND.pointer, '', u8);
  const inner = writer.struct('inner', 8, [
    ['a', typedef, 0],
    ['b', u32, 4],
  ]);
  const innerAlias = writer.type(BTF_KIND.typedef, 'inner_t', inner);
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
      assert.throws(() => readAll(bytes), /^Error: .*BTF/, `${less} bytes less`);
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
    const writer = new BtfWriter();
    const first = writer.type(BTF_KIND.typedef, 'a', 2);
    writer.type(BTF_KIND.typedef, 'b', first);
    writer.struct('loop', 4, [['x', first, 0]]);
    assert.throws(() => new Btf(writer.bytes()).struct('loop'), /^Error: .*BTF/);
  });

  it('does not unfold a struct or an array that contains itself', () => {
    const writer = new BtfWriter();
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
      [80, { name: 'argument', offset: 72, size: 8, signed: false }],
    );
    assert.equal(btf.enum('wire')?.get('POINT_LIMIT'), 256);
    assert.equal(btf.struct('no_such_struct'), undefined);
    object.close();
  });

  it('finds functions, and fields through unions and anonymous members', () => {
    const writer = new BtfWriter();
    const u32 = writer.int('unsigned int', 4);
    const kprobe = writer.struct('', 8, [
      ['addr', u32, 0],
      ['missed', u32, 4],
    ]);
    const event = writer.struct('', 12, [
      ['type', u32, 0],
      ['', writer.union(8, [['kprobe', kprobe, 0]]), 4],
    ]);
    writer.struct('info', 12, [['', writer.union(12, [['event', event, 0]]), 0]]);
    writer.type(BTF_KIND.function, 'open', 0);
    const btf = new Btf(writer.bytes());
    const has = (path: string) => btf.hasField('info', path);
    assert.deepEqual(
      [has('event.kprobe.missed'), has('event.kprobe.other'), has('event.addr'), has('missed')],
      [true, false, false, false],
    );
    assert.equal(btf.hasField('other', 'event'), undefined);
    assert.deepEqual([btf.hasFunction('open'), btf.hasFunction('info')], [true, false]);
    assert.deepEqual([btf.hasStruct('info'), btf.hasStruct('open')], [true, false]);
  });

  it('of a module adds to that of the kernel', () => {
    const kernel = new BtfWriter();
    const u32 = kernel.int('unsigned int', 4);
    const device = kernel.struct('device', 4, [['id', u32, 0]]);
    const module = new BtfWriter(kernel);
    const own = module.int('own', 8);
    module.struct('vfio_device', 12, [
      ['dev', device, 0],
      ['kvm', own, 4],
    ]);
    const btf = new Btf(module.bytes(), new Btf(kernel.bytes()));
    assert.deepEqual(
      ['dev.id', 'kvm', 'id'].map((path) => btf.hasField('vfio_device', path)),
      [true, true, false],
    );
    assert.equal(btf.hasField('device', 'id'), true, 'a struct of the kernel');
    assert.deepEqual(
      btf.struct('vfio_device')?.fields.map(({ name, offset, size }) => [name, offset, size]),
      [
        ['id', 0, 4],
        ['kvm', 4, 8],
      ],
    );
  });
});

function readAll(bytes: Uint8Array): void {
  const btf = new Btf(bytes);
  for (const name of ['outer', 'inner', 'what is not there']) {
    btf.struct(name);
    btf.hasField(name, 'a');
  }
  btf.enum('colour');
}
