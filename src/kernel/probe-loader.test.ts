import assert from 'node:assert/strict';
import { closeSync, openSync, readdirSync } from 'node:fs';
import { constants } from 'node:os';
import { describe, it } from 'node:test';
import { NO_TRAITS } from '../events/traits.ts';
import { LibbpfError } from './libbpf.ts';
import { ProbeLoader, type Unit } from './probe-loader.ts';
import { OpaqueKeys, type ProbeObject } from './probe-object.ts';

const { EMFILE, EINVAL } = constants.errno;
const openFiles = () => readdirSync('/proc/self/fd').length;

/** Stands for the kernel: every object takes descriptors until it is closed. */
class Objects {
  opened = 0;
  /** What refuses an object with these programs. */
  refusal: (programs: ReadonlySet<string>) => Error | undefined = () => undefined;

  readonly open = (): ProbeObject => {
    const fds: number[] = [];
    const take = () => {
      const fd = openSync('/dev/null', 'r');
      fds.push(fd);
      return fd;
    };
    this.opened++;
    const object: Partial<ProbeObject> = {
      reuseMap() {},
      setMaxEntries() {},
      mapFd: take,
      load: (programs = new Set()) => {
        const refusal = this.refusal(programs);
        if (refusal) throw refusal;
        for (const _ of programs) take();
      },
      close() {
        for (const fd of fds.splice(0)) closeSync(fd);
      },
    };
    return object as ProbeObject;
  };

  loader(): ProbeLoader {
    const options = { directory: '', ringBytes: 4096, moduleBtf: true };
    const shared = { keys: new OpaqueKeys(), cpus: 1, maps: undefined, traits: () => NO_TRAITS };
    return new ProbeLoader(options, shared, () => {}, this.open);
  }
}

/** Notes what becomes of it. */
function unit(program: string, notes: string[] = []): Unit {
  return {
    programs: [program],
    attach: () => notes.push(`${program} attached`),
    refused: (error) => notes.push(`${program} refused: ${(error as Error).message}`),
  };
}

const refused = (errno: number) => new LibbpfError('the kernel refused it', errno, [], 'load');

describe('the loader', () => {
  it('keeps only the shared maps, however often modules come and go', () => {
    const before = openFiles();
    const objects = new Objects();
    const loader = objects.loader();
    loader.load([unit('a'), unit('b')]);
    const first = openFiles();
    assert.equal(first - before, loader.maps.size);
    for (let i = 0; i < 200; i++) loader.load([unit('a'), unit('b')]);
    assert.deepEqual([openFiles(), objects.opened], [first, 201]);
    loader.close();
    assert.equal(openFiles(), before);
  });

  it('keeps nothing of what was refused', () => {
    const objects = new Objects();
    const loader = objects.loader();
    loader.load([unit('a')]);
    const first = openFiles();
    objects.refusal = () => refused(EINVAL);
    for (let i = 0; i < 20; i++) loader.load([unit('a'), unit('b')]);
    assert.equal(openFiles(), first);
    loader.close();
  });

  it('tries parts of what the kernel refuses', () => {
    const objects = new Objects();
    const loader = objects.loader();
    const notes: string[] = [];
    loader.load([unit('first', notes)]);
    objects.refusal = (programs) => (programs.has('bad') ? refused(EINVAL) : undefined);
    loader.load([unit('a', notes), unit('bad', notes), unit('b', notes)]);
    assert.deepEqual(notes.filter((note) => note.endsWith('attached')).sort(), [
      ...['a attached', 'b attached', 'first attached'],
    ]);
    assert.match(notes.find((note) => note.startsWith('bad')) ?? '', /^bad refused/);
    loader.close();
  });

  it('tries no parts where descriptors are short', () => {
    const objects = new Objects();
    const loader = objects.loader();
    loader.load([unit('first')]);
    objects.refusal = () => refused(EMFILE);
    const notes: string[] = [];
    loader.load([unit('a', notes), unit('b', notes)]);
    assert.equal(objects.opened, 2);
    assert.equal(notes.length, 2);
    for (const note of notes) assert.match(note, /refused: the kernel refused it: Too many open/);
    loader.close();
  });

  it('reports a file that cannot be opened as a refusal, once there are probes', () => {
    const objects = new Objects();
    const loader = objects.loader();
    const { open } = objects;
    let isThere = true;
    const broken = new ProbeLoader(
      { directory: '', ringBytes: 4096, moduleBtf: true },
      { keys: new OpaqueKeys(), cpus: 1, maps: undefined, traits: () => NO_TRAITS },
      () => {},
      () => {
        if (isThere) return open();
        throw new LibbpfError('cannot read probe object', EMFILE, [], 'open');
      },
    );
    broken.load([unit('first')]);
    isThere = false;
    const notes: string[] = [];
    broken.load([unit('a', notes)]);
    assert.match(notes.join(), /^a refused: cannot read probe object/);
    broken.close();
    loader.close();
  });

  it('throws where nothing at all was accepted', () => {
    const objects = new Objects();
    objects.refusal = () => refused(EINVAL);
    assert.throws(() => objects.loader().load([unit('a'), unit('b')]), LibbpfError);
  });
});
