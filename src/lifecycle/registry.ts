/**
 * The tracked objects of one kind: live objects with indexes by kernel key and by name, and the
 * objects that ended most recently.
 *
 * A kernel key is an opaque address, and the kernel may reuse an address at once. If an event gives
 * the key of a live object to another object, the end of the live one was missed, and the registry
 * supersedes it: it ends the object without an event of its end. The same holds for a name where names
 * are unique, see {@link TrackedObject.isReplacedBy}.
 */
import type { EventCursor } from '../events/cursor.ts';
import { KeyTable } from './key-table.ts';
import { LiveList } from './live-list.ts';
import type { TrackedObject } from './tracked-object.ts';

/** After so many deletions, and two for each name that is left, the map of names is made again. */
const MOST_DELETED_NAMES = 64;

export interface RegistryOptions<T> {
  /** How many ended objects are kept for queries; 0 by default. */
  readonly keepEnded?: number;
  /**
   * Called when an object ends, before it is added to the ended ones, to remove its relations to other
   * objects.
   */
  readonly onEnd?: (object: T) => void;
  /** Called for each ended object that is dropped because the limit is exceeded. */
  readonly onForget?: (object: T) => void;
}

export class Registry<T extends TrackedObject> implements Iterable<T> {
  /** The objects that ended most recently. */
  readonly ended: EndedObjects<T>;
  readonly #live = new LiveList<T>();
  readonly #keys = new KeyTable<T>();
  #names = new Map<string, T>();
  /** Names that were deleted since the map was made. */
  #deletedNames = 0;
  readonly #onEnd: (object: T) => void;

  constructor({ keepEnded = 0, onEnd = () => {}, onForget }: RegistryOptions<T> = {}) {
    this.ended = new EndedObjects(keepEnded, onForget);
    this.#onEnd = onEnd;
  }

  /** The number of live objects. */
  get size(): number {
    return this.#live.size;
  }

  /** The number of entries in both indexes. Tests check that none is left without a live object. */
  get indexed(): number {
    return this.#keys.size + this.#names.size;
  }

  [Symbol.iterator](): IterableIterator<T> {
    return this.#live[Symbol.iterator]();
  }

  has(object: T): boolean {
    return this.#live.has(object);
  }

  /** The live object with the key at that word of the event's record. */
  find(event: EventCursor, word: number): T | undefined {
    return this.#keys.find(event.words, event.word + word);
  }

  withKey(low: number, high: number): T | undefined {
    return this.#keys.get(low, high);
  }

  /** The live object of that name; if several have it, the one added last. */
  named(name: string): T | undefined {
    return this.#names.get(name);
  }

  names(): IterableIterator<string> {
    return this.#names.keys();
  }

  /**
   * The live object of that name, if its key is unknown or unsure, see {@link TrackedObject.isKeyUnsure}.
   */
  namedWithoutKey(name: string): T | undefined {
    const found = this.#names.get(name);
    return found?.isKeyUnsure ? found : undefined;
  }

  /** Adds a live object, which events can then find by its name. */
  add(object: T): void {
    this.#live.add(object);
    if (object.name === '') return;
    const namesake = this.#names.get(object.name);
    if (namesake && namesake !== object && namesake.isReplacedBy(object)) this.supersede(namesake);
    this.#names.set(object.name, object);
  }

  /** Adds a live object under the key at that word of the event's record. */
  addWithKey(object: T, event: EventCursor, word: number): void {
    this.setKey(object, event, word);
    this.add(object);
  }

  /**
   * Gives a live object the key at that word of the event's record, and supersedes the object that had the
   * key.
   */
  setKey(object: T, event: EventCursor, word: number): void {
    const earlier = this.find(event, word);
    if (earlier && earlier !== object) this.supersede(earlier);
    this.forgetKey(object);
    object.keyLow = event.words[event.word + word];
    object.keyHigh = event.words[event.word + word + 1];
    this.#keys.set(object.keyLow, object.keyHigh, object);
  }

  /**
   * Removes the object from the index by key, because the kernel may reuse the address from now on. The
   * object keeps the value of its key.
   */
  forgetKey(object: T): void {
    this.#keys.delete(object.keyLow, object.keyHigh, object);
  }

  /** Ends an object whose end was observed; the caller has set its final state. */
  end(object: T): void {
    this.drop(object);
    this.#onEnd(object);
    this.ended.add(object);
  }

  /** Ends an object whose end was missed, because its key or name belongs to another object now. */
  supersede(object: T): void {
    object.endUnobserved();
    this.end(object);
  }

  /** Removes an object that turned out never to have existed, so it is not added to the ended ones. */
  drop(object: T): void {
    this.#live.delete(object);
    this.forgetKey(object);
    if (this.#names.get(object.name) === object) this.#deleteName(object.name);
  }

  /** A map that changes for long keeps objects that ended in memory, see live-list.ts: it is made again. */
  #deleteName(name: string): void {
    this.#names.delete(name);
    this.#deletedNames++;
    if (this.#deletedNames < MOST_DELETED_NAMES + this.#names.size * 2) return;
    this.#names = new Map(this.#names);
    this.#deletedNames = 0;
  }
}

/**
 * The `limit` objects that ended most recently. The array may grow by an eighth of the limit before the
 * oldest are dropped at once, so that adding an object does not move all others.
 */
export class EndedObjects<T> {
  readonly limit: number;
  readonly #forget: (object: T) => void;
  readonly #objects: T[] = [];
  /** The number of objects that ever ended. */
  total = 0;

  /** @param forget called for each object that is dropped because the limit is exceeded */
  constructor(limit: number, forget: (object: T) => void = () => {}) {
    this.limit = limit;
    this.#forget = forget;
  }

  add(object: T): void {
    this.total++;
    if (this.limit === 0) {
      this.#forget(object);
      return;
    }
    this.#objects.push(object);
    if (this.#objects.length < this.limit * 1.125) return;
    for (const old of this.#objects.splice(0, this.#objects.length - this.limit)) this.#forget(old);
  }

  /** Oldest first. */
  list(): readonly T[] {
    return this.limit === 0 ? [] : this.#objects.slice(-this.limit);
  }

  /** The objects that ended since {@link total} had this value, as far as they are kept. */
  since(total: number): readonly T[] {
    const count = Math.min(this.total - total, this.limit);
    return count === 0 ? [] : this.#objects.slice(-count);
  }
}
