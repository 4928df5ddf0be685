import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe } from 'node:test';
import { lacks, needing } from '../../test/kit/needs.ts';
import { WIRE } from '../events/wire.gen.ts';
import { wireDifference } from '../events/wire-description.ts';
import { describeWire } from './describe-wire.ts';
import { LibbpfError } from './libbpf.ts';
import { OpaqueKeys, ProbeObject } from './probe-object.ts';

const NEEDS = ['build', 'libbpf', 'clang', 'llvm-strip', 'make'];
const { it } = needing(...NEEDS);
const BUILT = new URL('../../dist/bpf', import.meta.url).pathname;
const VERSION = `WIRE_VERSION = ${WIRE.version}`;
const SOURCES = new URL('../../bpf', import.meta.url).pathname;

let directory: string;
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'vfioscope-object-'));
});
after(() => rmSync(directory, { recursive: true }));

/** Puts `content` into a file of its own. @returns its path */
function file(name: string, content: string | Uint8Array): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

/** Builds vfioscope.bpf.o from sources in which `from` is replaced. @returns its path */
function variant(name: string, from: string, to: string): string {
  const sources = join(directory, name);
  cpSync(SOURCES, sources, { recursive: true });
  const header = join(sources, 'event.h');
  const text = readFileSync(header, 'utf8');
  assert.ok(text.includes(from), from);
  writeFileSync(header, text.replace(from, to));
  const out = join(sources, 'out');
  execFileSync('make', ['-s', '-C', sources, `OUT=${out}`, `${out}/vfioscope.bpf.o`], {
    stdio: 'inherit',
  });
  return join(out, 'vfioscope.bpf.o');
}

function differenceOf(path: string): string | undefined {
  const object = ProbeObject.open(path);
  try {
    return wireDifference(WIRE, describeWire(object.btf()));
  } finally {
    object.close();
  }
}

describe('opening a probe object', () => {
  it('names the file that is missing', () => {
    const path = join(directory, 'no-such.bpf.o');
    assert.throws(
      () => ProbeObject.open(path),
      (error) =>
        error instanceof LibbpfError &&
        error.errno === 2 &&
        error.message.startsWith(`cannot read probe object ${path}: No such file or directory`),
    );
  });

  for (const [title, content] of [
    ['text', 'this is no ELF file, but it is long enough to look at'],
    ['empty', ''],
    ['zeros', new Uint8Array(10_000)],
    [
      'cut short',
      lacks(...NEEDS) ? '' : readFileSync(`${BUILT}/vfioscope.bpf.o`).subarray(0, 1000),
    ],
  ] as const) {
    it(`refuses a file that is ${title}, by name`, () => {
      const path = file(`${title.replace(' ', '-')}.bpf.o`, content);
      assert.throws(
        () => ProbeObject.open(path),
        (error) => error instanceof LibbpfError && error.message.includes(path),
      );
    });
  }

  it('says of an object without BTF that it has none', () => {
    const source = file('bare.bpf.c', 'int value __attribute__((section(".data"))) = 1;\n');
    const path = join(directory, 'bare.bpf.o');
    execFileSync('clang', ['-target', 'bpf', '-O2', '-c', source, '-o', path]);
    const object = ProbeObject.open(path);
    assert.throws(() => object.btf(), /bare\.bpf\.o has no BTF: it was not built by/);
    object.close();
  });

  it('says of a map or program that is not there which one and where', () => {
    const object = ProbeObject.open(`${BUILT}/vfioscope.bpf.o`);
    assert.throws(() => object.setMaxEntries('nothing', 1), /vfioscope\.bpf\.o has no map nothing/);
    assert.throws(() => object.program('nothing'), /vfioscope\.bpf\.o has no program nothing/);
    assert.throws(() => object.mapFd('events'), /map events/, 'not before it is loaded');
    object.close();
  });

  it('says of an object of another program that it has no preset', () => {
    const source = file('other.bpf.c', 'int value __attribute__((section(".data"))) = 1;\n');
    const path = join(directory, 'other.bpf.o');
    execFileSync('clang', ['-target', 'bpf', '-O2', '-g', '-c', source, '-o', path]);
    const object = ProbeObject.open(path);
    assert.throws(() => object.preset(new OpaqueKeys()), /has no map \.rodata\.preset/);
    assert.throws(() => describeWire(object.btf()), /does not describe the vfioscope wire format/);
    object.close();
  });
});

describe('an object built from another event.h', () => {
  it('is the same when nothing differs', () => {
    assert.equal(differenceOf(variant('same', VERSION, VERSION)), undefined);
  });

  it('is recognised by its version', () => {
    assert.equal(
      differenceOf(variant('version', VERSION, `WIRE_VERSION = ${WIRE.version + 1}`)),
      `wire format version ${WIRE.version + 1}, this agent reads version ${WIRE.version}`,
    );
  });

  it('is recognised by a field that moved', () => {
    const path = variant('moved', '__u64 cgroup;', '__u64 extra;\n\t__u64 cgroup;');
    assert.match(differenceOf(path) ?? '', /^event field 17 is extra .*, expected cgroup/);
  });

  it('is recognised by a point that got another number', () => {
    const path = variant('renumbered', 'KVM_PUT = 38', 'KVM_PUT = 39');
    assert.equal(differenceOf(path), 'KVM_PUT is 39, expected 38');
  });
});

describe('the secret of opaque ids', () => {
  it('differs each time, and multiplies by an odd number', () => {
    const keys = Array.from({ length: 20 }, () => new OpaqueKeys().bytes);
    assert.equal(new Set(keys.map((bytes) => Buffer.from(bytes).toString('hex'))).size, 20);
    assert.ok(keys.every((bytes) => bytes.length === 16 && bytes[8] % 2 === 1));
  });
});
