/** A real ring buffer of the running kernel, and BPF programs that tests can run to fill it. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import koffi from 'koffi';
import { CpuCounters } from '../../src/kernel/cpu-counters.ts';
import { errnoText, Libbpf } from '../../src/kernel/libbpf.ts';
import { Mapping, PAGE_SIZE } from '../../src/kernel/os.ts';
import { ProbeObject } from '../../src/kernel/probe-object.ts';
import { WatchedPoints } from '../../src/kernel/watched-points.ts';

const HEADERS = new URL('../../bpf', import.meta.url).pathname;
/** Bytes of the record that `large` writes: big enough to get beyond 4 GiB in no time. */
export const LARGE = 1 << 18;

/** Records are written by the code of the probes, where it has a word for them. */
const SOURCE = `
#include "common.h"

SEC("socket") int plain(struct __sk_buff *packet)
{
	struct call call = { .group_id = -1, .dev = 7 };

	return emit(KVM_PUT, &call);
}

SEC("socket") int one(struct __sk_buff *packet)
{
	struct call call = { .group_id = -1 };

	return single(KVM_PUT, &call);
}

SEC("socket") int highest(struct __sk_buff *packet)
{
	struct call call = { .group_id = -1 };

	return single(POINT_LIMIT - 1, &call);
}

SEC("socket") int began(struct __sk_buff *packet)
{
	struct call call = { .group_id = -1 };

	return begin(KVM_GET_SAFE, &call);
}

SEC("socket") int ended(struct __sk_buff *packet)
{
	return end(KVM_GET_SAFE, 0);
}

SEC("socket") int named(struct __sk_buff *packet)
{
	struct named_event *named = named_event(MODULE_LOAD);

	if (named) {
		__builtin_memcpy(named->names.device, "vfio", 5);
		submit(named);
	}
	return 0;
}

SEC("socket") int discarded(struct __sk_buff *packet)
{
	struct event *event = plain_event(KVM_GET);

	if (event)
		bpf_ringbuf_discard(event, 0);
	return 0;
}

/* Not a multiple of 8 either, so that the kernel pads it. */
SEC("socket") int shorter(struct __sk_buff *packet)
{
	__u64 *record = bpf_ringbuf_reserve(&events, sizeof(struct event) - 12, 0);

	if (record) {
		*record = -1;
		submit(record);
	}
	return 0;
}

SEC("socket") int large(struct __sk_buff *packet)
{
	struct event *event = reserve(KVM_GET, 0, ${LARGE});

	if (event)
		submit(event);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
`;

const testRunOptions = koffi.struct({
  sz: 'size_t',
  data_in: 'const uint8_t *',
  data_out: 'void *',
  data_size_in: 'uint32_t',
  data_size_out: 'uint32_t',
  ctx_in: 'void *',
  ctx_out: 'void *',
  ctx_size_in: 'uint32_t',
  ctx_size_out: 'uint32_t',
  retval: 'uint32_t',
  repeat: 'int',
  duration: 'uint32_t',
  flags: 'uint32_t',
  cpu: 'uint32_t',
  batch_size: 'uint32_t',
});
const EINTR = 4;

export type WriterProgram =
  | 'plain'
  | 'one'
  | 'highest'
  | 'began'
  | 'ended'
  | 'named'
  | 'discarded'
  | 'shorter'
  | 'large';

export class RingWriter {
  readonly fd: number;
  readonly bytes: number;
  readonly cpuCounters: CpuCounters;
  /** None at first. */
  readonly watched: WatchedPoints;
  /** The kernel's own view of both positions, in bytes. */
  readonly positions: { readonly consumer: BigUint64Array; readonly producer: BigUint64Array };
  readonly #object: ProbeObject;
  readonly #run: (fd: number, options: object) => number;

  /** @param object from {@link compileWriter} */
  constructor(object: string, bytes: number) {
    const { calls } = Libbpf.get();
    const cpus = calls.possibleCpus();
    this.#object = ProbeObject.open(object);
    this.#object.setMaxEntries('events', bytes);
    this.#object.setMaxEntries('cpu_counters', cpus);
    this.#object.load();
    this.fd = this.#object.mapFd('events');
    this.bytes = bytes;
    this.cpuCounters = new CpuCounters(this.#object.mapFd('cpu_counters'), cpus);
    this.watched = new WatchedPoints(this.#object.mapFd('watched'));
    this.positions = {
      consumer: new BigUint64Array(this.#page(0, true), 0, 1),
      producer: new BigUint64Array(this.#page(PAGE_SIZE, false), 0, 1),
    };
    this.#run = koffi
      .load('libbpf.so.1')
      .func('bpf_prog_test_run_opts', 'int', ['int', koffi.pointer(testRunOptions)]);
  }

  /** Runs a program once, or several times. */
  write(program: WriterProgram, times = 1): void {
    const fd = Libbpf.get().calls.programFd(this.#object.program(program));
    const packet = new Uint8Array(64);
    const options = { sz: koffi.sizeof(testRunOptions), data_in: packet, data_size_in: 64 };
    // A signal cuts a long run short without a word about how far it got, so runs are single.
    for (let i = 0; i < times; i++) {
      let result = this.#run(fd, { ...options, repeat: 1 });
      while (result === -EINTR) result = this.#run(fd, { ...options, repeat: 1 });
      if (result < 0) throw new Error(`BPF_PROG_TEST_RUN: ${errnoText(-result)}`);
    }
  }

  /** Of the maps that all probes share. */
  mapFd(name: string): number {
    return this.#object.mapFd(name);
  }

  attempts(): number {
    return this.cpuCounters.counts().reduce((sum, counters) => sum + counters.attempts, 0);
  }

  dropped(): number {
    return this.cpuCounters.counts().reduce((sum, counters) => sum + counters.dropped, 0);
  }

  close(): void {
    this.cpuCounters.close();
    this.watched.close();
    this.#object.close();
  }

  #page(offset: number, writable: boolean): ArrayBuffer {
    return new Mapping('the positions', this.fd, offset, PAGE_SIZE, writable).buffer;
  }
}

/** @returns the path of an object in a directory of its own, and how to remove that */
export function compileWriter(): { readonly object: string; remove(): void } {
  const directory = mkdtempSync(join(tmpdir(), 'vfioscope-ring-'));
  const [source, object] = ['writer.bpf.c', 'writer.bpf.o'].map((name) => join(directory, name));
  writeFileSync(source, SOURCE);
  const machine = execFileSync('uname', ['-m'], { encoding: 'utf8' }).trim();
  const flags = ['-target', 'bpf', '-O2', '-g', '-mcpu=v3', '-std=gnu11', `-I${HEADERS}`];
  const system = `-I/usr/include/${machine}-linux-gnu`;
  execFileSync('clang', [...flags, system, '-c', source, '-o', object], { stdio: 'inherit' });
  return { object, remove: () => rmSync(directory, { recursive: true }) };
}
