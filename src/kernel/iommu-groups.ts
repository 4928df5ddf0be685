/** The devices of IOMMU groups and their drivers, from sysfs, which asks no driver. */
import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import type { GroupMember } from '../events/host.ts';
import { bootTime } from './os.ts';
import { unlessGone } from './proc.ts';

/** How long an answer may be used again, ns: several rules ask about the same event. */
const FRESH = 1e8;

export class IommuGroups {
  readonly #root: string;
  #group = -1;
  #members: readonly GroupMember[] | undefined;
  #readAt = Number.NEGATIVE_INFINITY;

  constructor(root = '') {
    this.#root = root;
  }

  /** Undefined when there is no such group, or it must not be read. */
  membersOf(group: number): readonly GroupMember[] | undefined {
    const now = bootTime();
    if (group === this.#group && now - this.#readAt < FRESH) return this.#members;
    this.#group = group;
    this.#members = read(`${this.#root}/sys/kernel/iommu_groups/${group}/devices`);
    this.#readAt = now;
    return this.#members;
  }

  /** Undefined when there is no such device. */
  hasGroup(bus: string, device: string): boolean | undefined {
    const directory = `${this.#root}/sys/bus/${bus}/devices/${device}`;
    return existsSync(directory) ? existsSync(`${directory}/iommu_group`) : undefined;
  }
}

function read(directory: string): readonly GroupMember[] | undefined {
  try {
    return readdirSync(directory)
      .sort()
      .map((name) => {
        const link = unlessGone(() => readlinkSync(`${directory}/${name}/driver`), '');
        return { name, driver: link === '' ? undefined : basename(link) };
      });
  } catch {
    return undefined;
  }
}
