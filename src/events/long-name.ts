/** Names of parents that are longer than a record has room for: bpf/layout.h cuts them in the same way. */
import { plain } from '../plain.ts';
import { WIRE } from './wire.gen.ts';

/** Of the field, its terminating NUL included. */
const ROOM = WIRE.names.find(({ name }) => name === 'parent')?.size ?? 0;
/** A name is read in so many parts of so many bytes. */
const PARTS = 4;
const PART = 31;
/** What is left of it, before a mark and the hash. */
const LEFT = 30;
const MULTIPLIER = 0xd6e8feb86659fd93n;

/** The bytes of a name that fits: one that is too long ends in a hash of all of it. */
export function fittingBytes(name: string): Buffer {
  const bytes = Buffer.from(name);
  if (bytes.length < ROOM) return bytes;
  let hash = 0n;
  for (let part = 0; part < PARTS; part++) {
    const words = Buffer.alloc(PART + 1);
    const read = bytes.copy(words, 0, part * PART, (part + 1) * PART);
    for (let at = 0; at < words.length; at += 8) {
      hash = BigInt.asUintN(64, (hash ^ words.readBigUInt64LE(at)) * MULTIPLIER);
    }
    if (read < PART) break;
  }
  const digits = (hash >> 32n).toString(16).padStart(8, '0');
  return Buffer.concat([bytes.subarray(0, LEFT), Buffer.from(`~${digits}`)]);
}

/** A name as records have it. */
export function fittingName(name: string): string {
  return plain(fittingBytes(name).toString());
}
