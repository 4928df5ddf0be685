/** The ring reader on a ring buffer of the running kernel. */
import assert from 'node:assert/strict';
import { needing } from '../../test/kit/needs.ts';
import { compileWriter, LARGE, RingWriter } from '../../test/kit/ring-writer.ts';
import { SequenceCheck } from '../events/sequence.ts';
import { EVENT, POINT, WIRE } from '../events/wire.gen.ts';
import { RingReader } from './ring.ts';

const { after, before, describe, it } = needing('root', 'libbpf', 'clang');

const SMALL = 1 << 14;
const PLAIN = WIRE.eventSize + 8;
const NAMED = WIRE.namedSize + 8;

describe('RingReader', () => {
  let compiled: ReturnType<typeof compileWriter>;
  before(() => {
    compiled = compileWriter();
  });
  after(() => compiled.remove());

  function withRing(bytes: number, use: (writer: RingWriter, reader: RingReader) => void): void {
    const writer = new RingWriter(compiled.object, bytes);
    const reader = new RingReader(writer.fd, bytes);
    try {
      use(writer, reader);
    } finally {
      reader.close();
      writer.close();
    }
  }

  function count(reader: RingReader): number {
    return reader.drain(1e9, () => {});
  }

  it('hands over nothing when there is nothing', () => {
    withRing(SMALL, (_, reader) => {
      assert.equal(count(reader), 0);
      assert.equal(reader.backlog, 0);
    });
  });

  it('hands over what the kernel wrote', () => {
    withRing(SMALL, (writer, reader) => {
      writer.write('plain');
      writer.write('named');
      assert.equal(reader.backlog, PLAIN + NAMED);
      const seen: unknown[] = [];
      const read = reader.drain(10, (event) => {
        seen.push([event.point, event.pid, event.isNamed, event.isNamed && event.name('device')]);
        assert.equal(event.has(EVENT.dev), !event.isNamed);
      });
      assert.equal(read, 2);
      assert.deepEqual(seen, [
        [POINT.KVM_PUT, process.pid, false, false],
        [POINT.MODULE_LOAD, process.pid, true, 'vfio'],
      ]);
      assert.equal(reader.backlog, 0);
    });
  });

  it('stops at its budget and resumes there', () => {
    withRing(SMALL, (writer, reader) => {
      writer.write('plain', 5);
      const drained = [2, 2, 2].map((budget) => reader.drain(budget, () => {}));
      assert.deepEqual(drained, [2, 2, 1]);
    });
  });

  it('reads whole records across the end of the ring, many times round', () => {
    withRing(SMALL, (writer, reader) => {
      const sequence = new SequenceCheck();
      let last = 0;
      for (let round = 0; round < 400; round++) {
        writer.write('plain', 1 + (round % 3));
        writer.write('named');
        reader.drain(100, (event) => {
          assert.equal(sequence.observe(event), 0);
          assert.ok(event.time >= last);
          last = event.time;
          if (event.isNamed) assert.equal(event.name('device'), 'vfio');
          else assert.equal(event.point, POINT.KVM_PUT);
        });
      }
      assert.ok(writer.positions.producer[0] > 10n * BigInt(SMALL));
      assert.equal(writer.positions.consumer[0], writer.positions.producer[0]);
      assert.deepEqual([writer.dropped(), sequence.lost, reader.malformed], [0, 0, 0]);
    });
  });

  it('gives room back beyond 4 GiB as it does before', () => {
    withRing(1 << 20, (writer, reader) => {
      const limit = 2n ** 32n;
      const { consumer, producer } = writer.positions;
      while (producer[0] + 2n * BigInt(LARGE) < limit) {
        writer.write('large');
        count(reader);
      }
      assert.ok(consumer[0] < limit);
      for (let i = 0; consumer[0] < limit + 2n * BigInt(LARGE); i++) {
        writer.write('plain', 100);
        writer.write('large');
        assert.equal(reader.backlog, 100 * PLAIN + LARGE + 8);
        assert.equal(count(reader), 101);
        assert.equal(consumer[0], producer[0]);
        assert.ok(i < 100, 'it goes round and round');
      }
      assert.deepEqual([writer.dropped(), reader.malformed], [0, 0]);
    });
  });

  it('resumes where the reader before it stopped, beyond 4 GiB too', () => {
    withRing(1 << 20, (writer, reader) => {
      const { consumer, producer } = writer.positions;
      while (producer[0] < 2n ** 32n) {
        writer.write('large', 2);
        count(reader);
      }
      writer.write('plain', 3);
      const second = new RingReader(writer.fd, writer.bytes);
      assert.equal(count(second), 3);
      assert.equal(consumer[0], producer[0]);
      second.close();
    });
  });

  it('skips and counts records that are too short for an event', () => {
    withRing(SMALL, (writer, reader) => {
      writer.write('plain');
      writer.write('shorter', 2);
      writer.write('plain');
      let events = 0;
      reader.drain(10, () => events++);
      assert.deepEqual([events, reader.malformed, reader.backlog], [2, 2, 0]);
    });
  });

  it('skips what the kernel took back, without a word', () => {
    withRing(SMALL, (writer, reader) => {
      writer.write('discarded', 3);
      writer.write('plain');
      writer.write('discarded');
      assert.equal(count(reader), 1);
      assert.deepEqual([reader.malformed, reader.backlog], [0, 0]);
    });
  });

  it('agrees to the record with the writers about what a full ring dropped', () => {
    withRing(1 << 12, (writer, reader) => {
      const sequence = new SequenceCheck();
      let read = 0;
      for (let round = 0; round < 20; round++) {
        writer.write('plain', 60);
        read += reader.drain(1000, (event) => sequence.observe(event));
      }
      const dropped = writer.dropped();
      assert.equal(writer.attempts(), 1200);
      assert.ok(dropped > 300, `${dropped}`);
      assert.equal(read, 1200 - dropped);
      // The last drops of each CPU show in no record yet.
      for (const { cpu, attempts } of writer.cpuCounters.counts()) sequence.settle(cpu, attempts);
      assert.equal(sequence.lost, dropped);
      for (const counters of writer.cpuCounters.counts()) {
        assert.equal(sequence.byCpu()[counters.cpu] ?? 0, counters.dropped, `cpu ${counters.cpu}`);
      }
    });
  });
});
