/** Pinned maps of the running kernel, and readers that are killed. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, statSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as later } from 'node:timers/promises';
import { lacks, needing } from '../../test/kit/needs.ts';
import { compileWriter, RingWriter } from '../../test/kit/ring-writer.ts';
import { POINT, WIRE } from '../events/wire.gen.ts';
import { Libbpf } from './libbpf.ts';
import { type Cleared, clear, Pins, SHARED_MAPS } from './pins.ts';
import { isPinned, PinDirectory } from './pins-directory.ts';
import { type Description, Session } from './pins-session.ts';
import { RingReader } from './ring.ts';

const NEEDS = ['root', 'bpffs', 'libbpf', 'clang'] as const;
const { after, before, describe, it } = needing(...NEEDS);

const RING = 1 << 14;
const PLAIN = WIRE.eventSize + 8;
const PUT = POINT.KVM_PUT * 2;

const description: Description = {
  agent: '1.2.3',
  wire: WIRE,
  keys: '00'.repeat(16),
  moduleBtf: true,
  loaded: {},
  points: {},
};

describe('pins', () => {
  const cpus = lacks(...NEEDS) ? 0 : Libbpf.get().calls.possibleCpus();
  const base = `/sys/fs/bpf/vfioscope-test-${process.pid}`;
  let compiled: ReturnType<typeof compileWriter>;
  let made = 0;
  before(() => {
    compiled = compileWriter();
  });
  after(() => compiled.remove());

  /** A ring with a writer in this process, pinned in a directory that is gone afterwards. */
  async function withPinned(
    use: (writer: RingWriter, directory: string) => unknown,
    described: Partial<Description> = {},
    bytes = RING,
  ): Promise<void> {
    const directory = `${base}-${made++}`;
    const writer = new RingWriter(compiled.object, bytes);
    try {
      const pins = new Pins({ directory, agent: '1.2.3' }, cpus);
      assert.equal(pins.report.state, 'new');
      const maps = new Map(SHARED_MAPS.map((name) => [name as string, writer.mapFd(name)]));
      pins.begin(maps, { ...description, ...described });
      pins.release();
      await use(writer, directory);
    } finally {
      if (existsSync(directory)) remove(directory);
      writer.close();
    }
  }

  function remove(path: string): Cleared {
    const directory = PinDirectory.own(path);
    assert.ok(directory, 'it is owned');
    const cleared = clear(directory, cpus);
    directory.remove();
    directory.release();
    return cleared;
  }

  function taken(directory: string): Pins {
    const pins = new Pins({ directory, agent: '1.2.4' }, cpus);
    assert.equal(pins.report.state, 'continued', JSON.stringify(pins.report));
    return pins;
  }

  /** Reads all there is, as an agent would. */
  function readAll(pins: Pins): RingReader {
    const { kept, session } = pins;
    assert.ok(kept);
    const ring = new RingReader(
      kept.maps.get('events') as number,
      kept.ringBytes,
      session.progress,
    );
    ring.drain(1e9, () => {});
    return ring;
  }

  it('hands over to the next where the last stopped', async () => {
    await withPinned((writer, directory) => {
      writer.write('plain', 5);
      const first = taken(directory);
      readAll(first);
      first.release();
      writer.write('plain', 3);
      const second = taken(directory);
      assert.deepEqual(second.report, {
        ...{ state: 'continued', directory, agent: '1.2.3', records: 5, lost: 0 },
        ...{ unread: 3 * PLAIN, ringBytes: RING, moduleBtf: true },
      });
      readAll(second);
      assert.equal(second.session.progress.records, 8);
      assert.equal(second.session.progress.counts[PUT], 8);
      second.release();
    });
  });

  it('is for root only', async () => {
    await withPinned((_, directory) => {
      for (const path of ['', '/maps', '/links']) {
        assert.equal(statSync(directory + path).mode & 0o777, 0o700);
      }
      assert.equal(statSync(`${directory}/maps/session`).mode & 0o077, 0);
    });
  });

  it('has one owner at a time, whom it names', async () => {
    await withPinned((_, directory) => {
      const first = taken(directory);
      assert.throws(() => new Pins({ directory, agent: '1' }, cpus), {
        message: `a running agent reads the probes pinned in ${directory} (pid ${process.pid})`,
      });
      first.release();
      taken(directory).release();
    });
  });

  it('keeps its position whenever its reader is killed', {
    timeout: 300_000,
  }, async () => {
    await withPinned(async (writer, directory) => {
      const reader = new URL('../../test/kit/pins-reader.ts', import.meta.url).pathname;
      let dropped = 0;
      for (let kill = 0; kill < 12; kill++) {
        const child = spawn(process.execPath, [reader, directory], {
          stdio: ['ignore', 'pipe', 'inherit'],
        });
        await once(child.stdout, 'data');
        const end = performance.now() + 20 + 100 * Math.random();
        // A bit more than is read in time, now and then; on a busy machine not less than that.
        for (let written = 0; written < 120 || performance.now() < end; written += 40) {
          writer.write('plain', 40);
          if (Math.random() < 0.3) await later(1);
        }
        child.kill('SIGKILL');
        writer.write('plain', 20);
        await once(child, 'exit');
        dropped = writer.dropped();
      }
      const last = taken(directory);
      readAll(last);
      const { progress } = last.session;
      for (const { cpu, attempts } of writer.cpuCounters.counts()) progress.settle(cpu, attempts);
      assert.ok(progress.records > 1000, `${progress.records}`);
      assert.equal(progress.records + progress.lost, writer.attempts());
      assert.equal(progress.lost, dropped);
      assert.equal(progress.counts[PUT], progress.records);
      last.release();
    });
  });

  it('counts what a full ring lost while nobody read, once', async () => {
    await withPinned((writer, directory) => {
      writer.write('plain', 500);
      const dropped = writer.dropped();
      assert.ok(dropped > 300);
      for (let i = 0; i < 2; i++) {
        const pins = taken(directory);
        readAll(pins);
        for (const { cpu, attempts } of writer.cpuCounters.counts()) {
          pins.session.progress.settle(cpu, attempts);
        }
        assert.equal(pins.session.progress.lost, dropped);
        pins.release();
      }
    });
  });

  it('replaces what has another wire format, and counts what is lost by it', async () => {
    const wire = { ...WIRE, version: WIRE.version + 1 };
    await withPinned(
      (writer, directory) => {
        writer.write('plain', 4);
        const pins = new Pins({ directory, agent: '1.2.4' }, cpus);
        assert.deepEqual(pins.report, {
          ...{ state: 'replaced', directory, unread: 4 * PLAIN, records: 4 },
          why: `wire format version ${WIRE.version + 1}, this agent reads version ${WIRE.version}`,
        });
        assert.ok(!isPinned(directory));
        pins.release();
      },
      { wire },
    );
  });

  it('names the version of what was pinned before the maps had their names', async () => {
    await withPinned(
      (_, directory) => {
        unlinkSync(join(directory, 'maps', 'cpu_counters'));
        const pins = new Pins({ directory, agent: '1.2.4' }, cpus);
        const why = pins.report.state === 'replaced' ? pins.report.why : pins.report.state;
        assert.equal(why, `wire format version 3, this agent reads version ${WIRE.version}`);
        pins.release();
      },
      { wire: { ...WIRE, version: 3 } },
    );
  });

  it('reads what an agent wrote that knew fewer points and flags', async () => {
    const { MDEV_CREATE: _, ...points } = WIRE.points;
    const { EVENT_SNAPSHOT: __, ...flags } = WIRE.flags;
    await withPinned((___, directory) => taken(directory).release(), {
      wire: { ...WIRE, points, flags },
    });
  });

  it('replaces what was never completed', () => {
    const path = `${base}-bare`;
    const directory = PinDirectory.own(path);
    const session = Session.create(cpus);
    directory?.keepMap('session', session.fd);
    directory?.release();
    const pins = new Pins({ directory: path, agent: '1' }, cpus);
    assert.equal(pins.report.state, 'replaced');
    assert.match(pins.report.state === 'replaced' ? pins.report.why : '', /not complete/);
    pins.release();
    remove(path);
  });

  it('keeps a description of the one before, or of the one after, and no mixture', () => {
    const session = Session.create(cpus);
    assert.throws(() => Session.open(session.fd, cpus), /never completed/);
    for (const agent of ['1', '2', '3']) {
      session.describe({ ...description, agent });
      assert.equal(Session.open(session.fd, cpus).description.agent, agent);
    }
    session.close();
  });

  it('says what was removed', async () => {
    await withPinned((writer, directory) => {
      writer.write('plain', 2);
      const pins = taken(directory);
      readAll(pins);
      pins.release();
      writer.write('plain', 500);
      const { account, records, unread } = remove(directory);
      assert.deepEqual(account, { records: 2, lost: 0 });
      assert.equal(records, 500);
      assert.ok(unread < RING && unread > RING - 2 * PLAIN);
      assert.equal(statSync(directory, { throwIfNoEntry: false }), undefined);
    });
  });

  it('needs a BPF file system', () => {
    const path = `/tmp/vfioscope-pins-${process.pid}`;
    assert.throws(() => new Pins({ directory: path, agent: '1' }, cpus), {
      message: `nothing can be pinned in ${path}: it is not in a BPF file system`,
    });
  });

  it('commits a record that its listener failed at, so that the next agent does not too', async () => {
    await withPinned((writer, directory) => {
      writer.write('plain', 3);
      const first = taken(directory);
      const { kept, session } = first;
      assert.ok(kept);
      const ring = new RingReader(kept.maps.get('events') as number, RING, session.progress);
      const fail = () => {
        throw new Error('a bug');
      };
      assert.throws(() => ring.drain(10, fail), /a bug/);
      assert.equal(session.progress.records, 1);
      assert.equal(ring.backlog, 2 * PLAIN);
      first.release();
    });
  });
});
