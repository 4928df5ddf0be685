/**
 * What all tracked objects have in common. A tracked object stands for one kernel object from its creation to
 * its end: when the kernel reuses an address or a name, that is a new tracked object.
 */

/**
 * How complete the history of an object is. observed: all of it was observed. partial: part of it is
 * missing, and a host snapshot or a later event has confirmed the state. unverified: events were lost,
 * and no host snapshot has been taken since.
 */
export type Quality = 'observed' | 'partial' | 'unverified';

let serials = 0;

/** What parents, devices, opens, cdevs, iommufd contexts and VMs have in common. */
export abstract class TrackedObject {
  /** Unique within this agent process; part of the ids in logs and API. */
  readonly serial = ++serials;
  /** Part of its history is missing: it existed before the agent, or events about it were lost. */
  adopted: boolean;
  /** When it was first observed. */
  readonly firstSeen: number;
  /** `World.losses` when it began, or when its state was last confirmed. More losses make it unverified. */
  lossesBefore: number;
  /** The number of the host snapshot that last found it, 0 for none; see `Snapshot.number`. */
  foundBy = 0;
  /** `World.losses` when it ended, -1 before that. Later losses do not concern it. */
  lossesAtEnd = -1;
  /** The two words of its kernel key, signed, see key-table.ts; both are 0 while it is unknown. */
  keyLow = 0;
  keyHigh = 0;
  /** Its slot among the live objects of its kind, see live-list.ts. */
  liveIndex = -1;
  /** Its name in the kernel, such as the UUID of an mdev; empty for objects without one. */
  name = '';

  /**
   * Whether its key is unknown or may be wrong. A host snapshot finds objects by their names, so after
   * a loss the object that it found may be a successor of the same name with another key.
   */
  get isKeyUnsure(): boolean {
    return (this.keyLow === 0 && this.keyHigh === 0) || (this.adopted && this.foundBy > 0);
  }

  /** Whether it has ended. */
  abstract get isOver(): boolean;

  /** When its lifecycle began, as far as that was observed: else, when it was first observed. */
  get began(): number {
    return this.firstSeen;
  }

  /** When it began to end, 0 if that was not observed, or nothing of its kind shows that. */
  get endBegan(): number {
    return 0;
  }

  /** Enters its final state because its end was missed. */
  abstract endUnobserved(): void;

  /** Whether a new object of the same name means that this one has ended. */
  isReplacedBy(_namesake: this): boolean {
    return false;
  }

  constructor(firstSeen: number, adopted: boolean, lossesBefore: number) {
    this.firstSeen = firstSeen;
    this.adopted = adopted;
    this.lossesBefore = lossesBefore;
  }
}
