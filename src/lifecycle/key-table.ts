/**
 * A hash table from 64-bit keys to objects that allocates nothing for a lookup. A key is compared as
 * two 32-bit words, which are read from a record in place, since a BigInt or a string would have to be
 * allocated. Records give them as signed words, because V8 would allocate memory for each larger number
 * that an object keeps; the table takes both. Collisions are resolved by linear probing. Keys are already
 * well mixed (opaque() in bpf/common.h), so their low bits serve as the hash.
 */
export class KeyTable<T> {
  size = 0;
  #low = new Int32Array(64);
  #high = new Int32Array(64);
  #values: (T | undefined)[] = new Array(64).fill(undefined);
  #mask = 63;

  /** The object whose key is at `words[at]` (low) and `words[at + 1]` (high). */
  find(words: Int32Array, at: number): T | undefined {
    return this.#values[this.#slot(words[at], words[at + 1])];
  }

  /** The object with that key. */
  get(low: number, high: number): T | undefined {
    return this.#values[this.#slot(low, high)];
  }

  /** All objects, in no order. The table may not change meanwhile. */
  *values(): Generator<T> {
    for (const value of this.#values) if (value !== undefined) yield value;
  }

  set(low: number, high: number, value: T): void {
    const slot = this.#slot(low, high);
    if (this.#values[slot] === undefined) {
      this.size++;
      this.#low[slot] = low;
      this.#high[slot] = high;
    }
    this.#values[slot] = value;
    if (this.size * 2 > this.#mask) this.#grow();
  }

  /**
   * Deletes a key, and moves later entries into the gap so that linear probing still finds them.
   * @param value the key is deleted only if it still belongs to this object, because the kernel may have
   *   given the address to another object since
   */
  delete(low: number, high: number, value: T): void {
    let gap = this.#slot(low, high);
    if (this.#values[gap] !== value) return;
    this.size--;
    for (let next = (gap + 1) & this.#mask; ; next = (next + 1) & this.#mask) {
      if (this.#values[next] === undefined) break;
      const home = this.#low[next] & this.#mask;
      if (((next - home) & this.#mask) < ((next - gap) & this.#mask)) continue;
      this.#low[gap] = this.#low[next];
      this.#high[gap] = this.#high[next];
      this.#values[gap] = this.#values[next];
      gap = next;
    }
    this.#values[gap] = undefined;
  }

  /** The slot of the key, or the free slot that it would get. */
  #slot(low: number, high: number): number {
    let slot = low & this.#mask;
    while (
      this.#values[slot] !== undefined &&
      ((this.#low[slot] ^ low) | (this.#high[slot] ^ high)) !== 0
    ) {
      slot = (slot + 1) & this.#mask;
    }
    return slot;
  }

  #grow(): void {
    const [low, high, values] = [this.#low, this.#high, this.#values];
    const length = values.length * 2;
    this.#low = new Int32Array(length);
    this.#high = new Int32Array(length);
    this.#values = new Array(length).fill(undefined);
    this.#mask = length - 1;
    for (const [i, value] of values.entries()) {
      if (value === undefined) continue;
      const slot = this.#slot(low[i], high[i]);
      this.#low[slot] = low[i];
      this.#high[slot] = high[i];
      this.#values[slot] = value;
    }
  }
}
