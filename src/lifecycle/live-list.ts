/**
 * The live objects of one kind, in the order in which they were added.
 *
 * A Set would do the same, but when a Set or Map grows or shrinks, V8 lets its former table point to the
 * next one. Once a table is in the old generation and dead, all later tables, and the objects in them,
 * survive every young collection until the next full one.
 */

/** What an object must have to be in a list. */
export interface Listed {
  /** The slot of the object; -1 while it is in no list. */
  liveIndex: number;
}

/** A list with fewer slots is never compacted. */
const LEAST_SLOTS = 64;

export class LiveList<T extends Listed> implements Iterable<T> {
  /** The number of objects in the list. */
  size = 0;
  /** Undefined where an object was deleted. Only the first {@link #used} slots count. */
  readonly #slots: (T | undefined)[] = [];
  #used = 0;
  /** Iterations in progress, which rely on objects staying in their slots. */
  #iterations = 0;

  add(object: T): void {
    if (this.has(object)) return;
    object.liveIndex = this.#used;
    this.#slots[this.#used++] = object;
    this.size++;
  }

  has(object: T): boolean {
    return object.liveIndex >= 0 && this.#slots[object.liveIndex] === object;
  }

  delete(object: T): void {
    if (!this.has(object)) return;
    this.#slots[object.liveIndex] = undefined;
    object.liveIndex = -1;
    this.size--;
    if (this.#used >= LEAST_SLOTS && this.#used > this.size * 4) this.#compact();
  }

  /** Also yields objects that are added meanwhile, and skips those that are deleted, as a Set does. */
  *[Symbol.iterator](): Generator<T> {
    this.#iterations++;
    try {
      for (let i = 0; i < this.#used; i++) {
        const object = this.#slots[i];
        if (object) yield object;
      }
    } finally {
      this.#iterations--;
    }
  }

  #compact(): void {
    if (this.#iterations > 0) return;
    let next = 0;
    for (let i = 0; i < this.#used; i++) {
      const object = this.#slots[i];
      if (!object) continue;
      this.#slots[i] = undefined;
      this.#slots[next] = object;
      object.liveIndex = next++;
    }
    this.#used = next;
  }
}
