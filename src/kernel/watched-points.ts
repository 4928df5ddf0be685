/**
 * Which points the programs emit. Attaching takes a while, and all points that are attached
 * together start at one instant.
 */
import { POINT_LIMIT } from '../events/wire.gen.ts';
import { Mapping, PAGE_SIZE } from './os.ts';

/** `struct watched_points` of bpf/common.h in 32-bit words: the bank in use, then the bits of both banks. */
const BANK = 0;
const BITS = 2;
const BANK_WORDS = POINT_LIMIT / 32;

export class WatchedPoints {
  readonly #mapping: Mapping;
  readonly #words: Uint32Array;

  /** @param fd the `watched` map */
  constructor(fd: number) {
    this.#mapping = new Mapping('the points that are watched', fd, 0, PAGE_SIZE, true);
    this.#words = new Uint32Array(this.#mapping.buffer, 0, BITS + 2 * BANK_WORDS);
  }

  /**
   * These and no others, from now on: programs read the other bank until the last store.
   * @param points their numbers, values of `POINT`
   * @throws {RangeError} for a number that the map has no bit for
   */
  set(points: readonly number[]): void {
    const next = 1 - (this.#words[BANK] & 1);
    const bits = bitsOf(points);
    this.#words.set(bits, BITS + next * BANK_WORDS);
    Atomics.store(this.#words, BANK, next);
  }

  close(): void {
    this.#mapping.unmap();
  }
}

function bitsOf(points: readonly number[]): Uint32Array {
  const bits = new Uint32Array(BANK_WORDS);
  for (const point of points) {
    if (point >= POINT_LIMIT) {
      throw new RangeError(`point ${point} cannot be watched: numbers are below ${POINT_LIMIT}`);
    }
    bits[point >> 5] |= 1 << (point & 31);
  }
  return bits;
}
