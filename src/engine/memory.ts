/**
 * What rules remember of tracked objects. Rules are stateless and only read the world; what a rule
 * has to keep between two calls is kept by the engine, by rule and object, and dropped with the object.
 */
import type { TrackedObject } from '../lifecycle/tracked-object.ts';

/**
 * Declares a memory, as a constant of the rule's file: the declaration is the key under which each
 * engine keeps its own.
 */
export interface MemoryDeclaration<Subject extends TrackedObject, State> {
  /** What is remembered of an object until the rule changes it. */
  readonly initial: (object: Subject) => State;
}

/** The memory of one rule in one engine. */
export class ObjectMemory<Subject extends TrackedObject, State> {
  readonly #initial: (object: Subject) => State;
  readonly #states = new Map<Subject, State>();

  constructor({ initial }: MemoryDeclaration<Subject, State>) {
    this.#initial = initial;
  }

  /** What is remembered of an object; allocates when that is nothing yet. */
  of(object: Subject): State {
    let state = this.#states.get(object);
    if (state === undefined) {
      state = this.#initial(object);
      this.#states.set(object, state);
    }
    return state;
  }

  find(object: Subject): State | undefined {
    return this.#states.get(object);
  }

  forget(object: Subject): void {
    this.#states.delete(object);
  }

  entries(): Iterable<[Subject, State]> {
    return this.#states.entries();
  }

  /** Forgets the objects whose lifecycle has ended. */
  dropEnded(): void {
    for (const object of this.#states.keys()) if (object.isOver) this.#states.delete(object);
  }
}

/** All memories of one engine. */
export class Memories {
  readonly #byDeclaration = new Map<object, { dropEnded(): void }>();

  of<Subject extends TrackedObject, State>(
    declaration: MemoryDeclaration<Subject, State>,
  ): ObjectMemory<Subject, State> {
    const known = this.#byDeclaration.get(declaration);
    // Only this method fills the map, so a memory has the types of its declaration.
    if (known) return known as ObjectMemory<Subject, State>;
    const memory = new ObjectMemory(declaration);
    this.#byDeclaration.set(declaration, memory);
    return memory;
  }

  dropEnded(): void {
    for (const memory of this.#byDeclaration.values()) memory.dropEnded();
  }
}
