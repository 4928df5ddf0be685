/**
 * The files of groups, devices and VMs that processes hold, found by a BPF
 * iterator (bpf/files.bpf.c) as records of the wire format.
 */
import { closeSync, read } from 'node:fs';
import { promisify } from 'node:util';
import { WIRE } from '../events/wire.gen.ts';
import { Libbpf, type Pointer } from './libbpf.ts';

/** The program of the iterator. */
export const FILES_PROGRAM = 'snapshot_files';

const readFile = promisify(read);

/** Enough for what one read of the iterator yields at most: eight pages. */
const READ_BYTES = 1 << 16;

export class SnapshotFiles {
  readonly #link: Pointer;

  private constructor(link: Pointer) {
    this.#link = link;
  }

  /** @throws {LibbpfError} */
  static attach(program: Pointer): SnapshotFiles {
    return new SnapshotFiles(
      Libbpf.get().checkPointer('cannot iterate over files', (calls) =>
        calls.attachIter(program, null),
      ),
    );
  }

  /** Walks the files of all processes once. @returns whole records, one behind the other */
  async records(): Promise<Uint8Array> {
    const fd = Libbpf.get().check('cannot iterate over files', (calls) =>
      calls.iterCreate(calls.linkFd(this.#link)),
    );
    const chunks: Buffer[] = [];
    try {
      for (;;) {
        const buffer = Buffer.allocUnsafe(READ_BYTES);
        const { bytesRead } = await readFile(fd, buffer, 0, buffer.length, null);
        if (bytesRead === 0) break;
        chunks.push(buffer.subarray(0, bytesRead));
      }
    } finally {
      closeSync(fd);
    }
    // A copy of its own, aligned as the cursor wants it.
    const all = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
    let at = 0;
    for (const chunk of chunks) {
      all.set(chunk, at);
      at += chunk.length;
    }
    if (all.length % WIRE.namedSize !== 0) {
      throw new Error(`the iterator over files yielded ${all.length} bytes, which are no records`);
    }
    return all;
  }

  close(): void {
    Libbpf.get().calls.linkDestroy(this.#link);
  }
}
