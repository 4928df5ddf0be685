// SPDX-License-Identifier: Apache-2.0
//
// The language spoken over the virtio-serial port between the host (guest.ts)
// and PID 1 of the VM (runner/). Every frame is
//
//   type u8 | id u32 LE | length u32 LE | payload (length bytes)
//
// The id names a command; the host chooses it. Kernel messages and the greeting have id 0.
//
//   to the guest
//   R  run      mode NUL cwd NUL argc NUL argv… NUL env… NUL, mode is "tty" or ""
//   I  input    bytes for stdin; an empty payload ends stdin
//   S  signal   number u8, sent to the command's process group
//   W  window   rows u16 LE, columns u16 LE
//   P  ping     answered by P after all kernel messages logged so far
//
//   to the host
//   H  hello    the kernel release: the VM is ready
//   O  stdout   bytes
//   E  stderr   bytes
//   X  exit     exit code u8, signal u8 (0: none); the last frame of a command
//   F  failed   errno u8, the step that failed; the only frame of a command that could not start
//   K  kernel   one record of /dev/kmsg
//   P  pong

const HEADER_BYTES = 9;
/** The runner refuses longer payloads. */
export const MAX_PAYLOAD = 1024 * 1024;

export interface Frame {
  type: string;
  id: number;
  payload: Buffer;
}

/** The bytes of one frame. */
export function encodeFrame(type: string, id: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  if (payload.length > MAX_PAYLOAD) {
    throw new RangeError(`frame payload of ${payload.length} bytes; the limit is ${MAX_PAYLOAD}`);
  }
  const header = Buffer.alloc(HEADER_BYTES);
  header.write(type, 0, 1, 'latin1');
  header.writeUInt32LE(id, 1);
  header.writeUInt32LE(payload.length, 5);
  return Buffer.concat([header, payload]);
}

export interface RunRequest {
  command: readonly string[];
  cwd: string;
  env: Readonly<Record<string, string>>;
  tty: boolean;
}

/** The payload of a run frame. */
export function encodeRun({ command, cwd, env, tty }: RunRequest): Buffer {
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const words = [tty ? 'tty' : '', cwd, String(command.length), ...command, ...variables];
  const nul = words.find((word) => word.includes('\0'));
  if (nul !== undefined) {
    throw new RangeError(`a command word contains a NUL byte: ${JSON.stringify(nul)}`);
  }
  return Buffer.from(words.map((word) => `${word}\0`).join(''));
}

/** Cuts a byte stream into frames, however the stream is split into chunks. */
export class FrameDecoder {
  #chunks: Buffer[] = [];
  #buffered = 0;

  /** Takes the next bytes and returns the frames that are now complete. */
  push(chunk: Buffer): Frame[] {
    this.#chunks.push(chunk);
    this.#buffered += chunk.length;
    const frames: Frame[] = [];
    for (;;) {
      const length = this.#frameLength();
      if (length === undefined || this.#buffered < length) {
        return frames;
      }
      const bytes = this.#joined();
      frames.push({
        type: bytes.toString('latin1', 0, 1),
        id: bytes.readUInt32LE(1),
        payload: bytes.subarray(HEADER_BYTES, length),
      });
      this.#chunks = [bytes.subarray(length)];
      this.#buffered -= length;
    }
  }

  #frameLength(): number | undefined {
    return this.#buffered < HEADER_BYTES
      ? undefined
      : HEADER_BYTES + this.#joinedHeader().readUInt32LE(5);
  }

  // Joining all chunks for each reading of the header would make long frames quadratic.
  #joinedHeader(): Buffer {
    const first = this.#chunks[0];
    return first !== undefined && first.length >= HEADER_BYTES ? first : this.#joined();
  }

  #joined(): Buffer {
    const bytes = this.#chunks.length === 1 ? this.#chunks[0] : undefined;
    if (bytes !== undefined) {
      return bytes;
    }
    const joined = Buffer.concat(this.#chunks);
    this.#chunks = [joined];
    return joined;
  }
}
