/** Which points the programs tell of: attaching takes a while, and all of it is to begin at one moment. */
import { POINTS, type PointName } from '../lifecycle/points.ts';
import { Mapping, PAGE_SIZE } from './os.ts';

export class WatchedPoints {
  readonly #mapping: Mapping;
  readonly #bits: BigUint64Array;

  /** @param fd the `watched` map */
  constructor(fd: number) {
    this.#mapping = new Mapping('the points that are watched', fd, 0, PAGE_SIZE, true);
    this.#bits = new BigUint64Array(this.#mapping.buffer, 0, 1);
  }

  /** These and no others, from now on. One store, so that no program finds half of it. */
  set(points: readonly PointName[]): void {
    this.#bits[0] = points.reduce((bits, point) => bits | (1n << BigInt(POINTS[point])), 0n);
  }

  close(): void {
    this.#mapping.unmap();
  }
}
