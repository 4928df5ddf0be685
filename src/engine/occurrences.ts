/** What is said of one occurrence of a violation: the objects, the process, the quality, the evidence. */
import type { Host } from '../events/host.ts';
import type { Device, Vm } from '../lifecycle/objects.ts';
import type { TimelineEntry } from '../lifecycle/timeline.ts';
import type { Quality } from '../lifecycle/tracked-object.ts';
import type { World } from '../lifecycle/world.ts';
import type { Attributor } from './attribution.ts';
import { kernelLines } from './kernel-lines.ts';
import type { Finding } from './rule.ts';
import type { Attribution, Occurrence } from './violation.ts';
import { waiterSentences } from './waiter-words.ts';
import { vmReference } from './words.ts';

/** The message of a finding, with those who wait behind its call. @param now ns on the boot-time clock */
export function messageOf(finding: Finding, attribution: Attribution, now: number): string {
  const { message, blocked } = finding;
  const text = typeof message === 'string' ? message : message(attribution);
  return blocked ? text + waiterSentences(attribution.waiters, now) : text;
}

export class Occurrences {
  readonly #world: World;
  readonly #host: Host;
  readonly #attributor: Attributor;
  readonly #traceIdOf: (object: Device | Vm) => string | undefined;

  constructor(
    world: World,
    host: Host,
    attributor: Attributor,
    traceIdOf: (object: Device | Vm) => string | undefined,
  ) {
    this.#world = world;
    this.#host = host;
    this.#attributor = attributor;
    this.#traceIdOf = traceIdOf;
  }

  of(finding: Finding, quality: Quality, attribution: Attribution): Occurrence {
    const { device, vm, parent, task } = finding;
    const traced = device ?? vm;
    return {
      incarnation: device?.serial,
      trace: traced && this.#traceIdOf(traced),
      traceBegan: traced?.began ?? 0,
      device: device?.name,
      parent: device?.parentName ?? parent?.name,
      type: device?.type,
      vm: vm && vmReference(vm),
      process: task && this.#attributor.party(task),
      quality,
      message: messageOf(finding, attribution, this.#world.now),
      kernelLog: this.kernelLog(finding, this.#world.now),
      evidence: this.evidence(finding),
    };
  }

  /** @param firstSeen when the violation was found, ns on the boot-time clock */
  kernelLog(finding: Finding, firstSeen: number): readonly string[] | undefined {
    return kernelLines(finding, this.#host, firstSeen);
  }

  /** The worst quality of the objects that it is about. */
  quality(finding: Finding): Quality {
    let worst: Quality = 'observed';
    for (const object of [finding.device, finding.vm, finding.parent]) {
      const quality = object ? this.#world.qualityOf(object) : 'observed';
      if (quality === 'unverified') return 'unverified';
      if (quality === 'partial') worst = 'partial';
    }
    return worst;
  }

  /** The events of all objects concerned, in order, each once. */
  evidence(finding: Finding): TimelineEntry[] {
    const { device, vm, parent, others = [] } = finding;
    const objects = [device, device?.holder, vm, parent, ...others];
    const known = new Set<string>();
    return objects
      .flatMap((object) => object?.timeline.entries() ?? [])
      .filter((entry) => {
        const key = `${entry.time} ${entry.tid} ${entry.point} ${entry.flags}`;
        return !known.has(key) && known.add(key);
      })
      .sort((a, b) => a.time - b.time);
  }
}
