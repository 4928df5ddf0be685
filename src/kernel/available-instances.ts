/**
 * How many more mdevs parents offer. Their drivers answer, and may take their time, so they are
 * asked in the background.
 */
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
  /** By parent; of one that is gone, until another has its name. */
  readonly #asked = new Map<string, Asked>();

  constructor(root = '') {
    this.#root = root;
  }

  /**
   * What a parent offers at some moment since then. Asks its driver if that was not done since, and
   * tells the answer when it is there.
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
    const directory = `${this.#root}/sys/class/mdev_bus/${parent}/mdev_supported_types`;
    ask(directory)
      .then((offer) => {
        asked.offer = offer;
      })
      // To be denied is not to know; whatever else reads sysfs has told it.
      .catch(() => {})
      .finally(() => {
        asked.isAsking = false;
      });
    return undefined;
  }

  /**
   * What a parent was last known to offer, for who asks now and then: a driver that is slow is not
   * asked again before it has answered, and one that did not answer in time at the next occasion.
   */
  lately(parent: string, notBefore: number): Offer | undefined {
    const last = this.#asked.get(parent);
    const isKnown = last?.offer !== undefined && last.at >= notBefore;
    if (!isKnown && last?.isAsking !== true) this.of(parent, bootTime());
    const { offer, before } = this.#asked.get(parent) ?? {};
    return offer ?? before;
  }
}

async function ask(directory: string): Promise<Offer | undefined> {
  const types = list(directory);
  if (!types) return undefined;
  const offer = new Map<string, number>();
  for (const type of types) {
    const file = `${directory}/${type}/available_instances`;
    const said = await answer(file);
    // To ask on would take one more thread for each type.
    if (isUnanswered(file)) return undefined;
    const count = Number.parseInt(said ?? '', 10);
    if (!Number.isNaN(count)) offer.set(type, count);
  }
  return offer;
}
