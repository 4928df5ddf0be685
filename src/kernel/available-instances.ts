/**
 * How many more mdevs parents offer. Their drivers compute the answer, which may take long, so they
 * are asked in the background. One cache serves rules and metrics.
 */
import { fittingName } from '../events/long-name.ts';
import { bootTime } from './os.ts';
import { answer, isUnanswered, list } from './sysfs-files.ts';

/** How many more of each type, by the names of their directories. */
type Offer = ReadonlyMap<string, number>;

interface Asked {
  /** ns on the boot-time clock. */
  readonly at: number;
  /** Undefined until the driver has answered, and when the parent is gone. */
  offer: Offer | undefined;
  isAsking: boolean;
  /** What it answered the time before. */
  readonly before: Offer | undefined;
}

export class AvailableInstances {
  readonly #root: string;
  /** By the parent's name; a parent that is gone stays until another has its name. */
  readonly #asked = new Map<string, Asked>();

  constructor(root = '') {
    this.#root = root;
  }

  /**
   * What a parent offered at some time since `notBefore`. Asks its driver if that was not done since
   * then, and returns the answer once it is there.
   * @param notBefore ns on the boot-time clock
   */
  of(parent: string, notBefore: number): Offer | undefined {
    const last = this.#asked.get(parent);
    if (last && last.at >= notBefore) return last.offer;
    const asked: Asked = {
      ...{ at: bootTime(), offer: undefined, isAsking: true },
      before: last?.offer ?? last?.before,
    };
    this.#asked.set(parent, asked);
    ask(parent, `${this.#root}/sys/class/mdev_bus`)
      .then((offer) => {
        asked.offer = offer;
      })
      // Without permission the number is unknown; other readers of sysfs report the error.
      .catch(() => {})
      .finally(() => {
        asked.isAsking = false;
      });
    return undefined;
  }

  /**
   * What a parent was last known to offer, for periodic readers: a slow driver is not asked again
   * before it has answered, and one that did not answer in time is asked again by the next call.
   */
  lately(parent: string, notBefore: number): Offer | undefined {
    const last = this.#asked.get(parent);
    const isKnown = last?.offer !== undefined && last.at >= notBefore;
    if (!isKnown && last?.isAsking !== true) this.of(parent, bootTime());
    const { offer, before } = this.#asked.get(parent) ?? {};
    return offer ?? before;
  }
}

/** Where sysfs has the types of a parent, whose name in records may be a shortened one. */
function typesOf(parent: string, directory: string): string {
  const isShort = parent.includes('~');
  const name = isShort && list(directory)?.find((entry) => fittingName(entry) === parent);
  return `${directory}/${name || parent}/mdev_supported_types`;
}

async function ask(parent: string, parents: string): Promise<Offer | undefined> {
  const directory = typesOf(parent, parents);
  const types = list(directory);
  if (!types) return undefined;
  const offer = new Map<string, number>();
  for (const type of types) {
    const file = `${directory}/${type}/available_instances`;
    const said = await answer(file);
    // Each further question to a driver that does not answer would block one more thread.
    if (isUnanswered(file)) return undefined;
    const count = Number.parseInt(said ?? '', 10);
    if (!Number.isNaN(count)) offer.set(type, count);
  }
  return offer;
}
