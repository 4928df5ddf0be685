// SPDX-License-Identifier: Apache-2.0
/**
 * An agent on a host that is made up: stories told to the real pipeline, rules, metrics and server, at
 * the pace of the clock. Devices come and go all the time, and now and then something goes wrong.
 */
import { randomUUID } from 'node:crypto';
import { Served } from '../../../src/http/served.ts';
import { POINT_NAMES } from '../../../src/lifecycle/points.ts';
import { RULES } from '../../../src/rules/catalogue.ts';
import { SECOND } from '../../../src/rules/rule.ts';
import type { Story } from '../../../src/rules/story.ts';
import type { Actor, Opening, Removal, ToldDevice, ToldParent } from '../../../src/rules/told.ts';
import { type Random, seeded } from '../../e2e/calm/random.ts';

export const DEVICES_OF_PARENT = 16;
/** A device lives so long on average, s. */
export const LIFE = 3600;
/** A mistake is made so often on each host, s. */
export const MISTAKE = 600;
/** Of ten devices so many are open, each by a VM of its own. */
const IN_USE = 0.8;
/** How long a removal hangs that goes wrong, s: rules speak of it after two. */
const HANGS = 30;
/** Each has counters of its own. */
const CPUS = 64;
/** mdev types that each parent offers. */
const TYPES = ['nvidia-63', 'nvidia-64', 'nvidia-65', 'nvidia-66'];
const ENOSPC = 28;
/** Where a story's clock begins, s. */
const STORY_BEGINS = 1000;

interface Life {
  readonly device: ToldDevice;
  readonly opening: Opening | undefined;
}

interface Hanging {
  readonly life: Life;
  readonly removal: Removal;
  /** Beats until it goes on. */
  left: number;
}

export class SimulatedHost {
  readonly served: Served;
  readonly #random: Random;
  readonly #parents: readonly ToldParent[];
  readonly #lives: Life[] = [];
  readonly #hanging: Hanging[] = [];
  #pids = 2000;

  /** @param seed hosts of different seeds do different things */
  constructor(devices: number, seed: number) {
    this.#random = seeded(seed);
    const booted = Date.now() / 1000 - STORY_BEGINS;
    const room = new Map(TYPES.map((type, i) => [type, i]));
    this.served = new Served({
      maxDevices: Math.max(1000, devices),
      host: {
        kernel: [6, 12],
        pidsWithKvmFiles: () => this.served.story.kvmPids,
        availableInstances: () => room,
      },
      source: {
        sinceEpoch: (at) => booted + at / SECOND,
        now: () => this.served.world.now,
        probes: () => PROBES,
        ruleStates: () => ACTIVE,
        lanes: () => Array.from({ length: CPUS }, (_, cpu) => ({ cpu, attempts: 0, dropped: 0 })),
        sequenceGaps: () => new Array(CPUS).fill(0),
        pinned: () => undefined,
        logLinesHeldBack: new Map(),
      },
    });
    this.#parents = this.served.tell((story) =>
      Array.from({ length: Math.ceil(devices / DEVICES_OF_PARENT) }, (_, i) =>
        story.parent({ name: `0000:${hex(0x10 + i)}:00.0`, driver: 'nvidia', type: TYPES[0] }),
      ),
    );
    this.served.tell((story) => {
      for (let i = 0; i < devices; i++) this.#begin(story, this.#parents[i % this.#parents.length]);
    });
  }

  /** A second passes. */
  beat(): void {
    this.served.tell((story) => {
      story.wait(1);
      for (const hanging of this.#hanging) hanging.left--;
      while (this.#hanging[0]?.left === 0) this.#release(story, this.#hanging.shift() as Hanging);
      if (this.#random() < this.#lives.length / LIFE) this.#replace(story);
      if (this.#random() < 1 / MISTAKE) this.#mistake(story);
    });
  }

  #begin(story: Story, parent: ToldParent): void {
    const device = story.create(parent, { uuid: randomUUID() });
    if (this.#random() >= IN_USE) {
      this.#lives.push({ device, opening: undefined });
      return;
    }
    const as: Actor = { pid: this.#pids++, comm: 'qemu-system-x86' };
    this.#lives.push({ device, opening: story.open(device, { vm: story.createVm({ as }), as }) });
  }

  #replace(story: Story): void {
    const { device, opening } = this.#any();
    if (opening) closeAll(story, opening);
    story.remove(device);
    if (device.parent) this.#begin(story, device.parent);
  }

  /** A parent that is full is asked for more, or a device is removed while it is open. */
  #mistake(story: Story): void {
    story.createFails(this.#parents[0], ENOSPC, { uuid: randomUUID() });
    const life = this.#any();
    const removal = story.removeBegins(life.device);
    this.#hanging.push({ life, removal, left: HANGS });
  }

  #release(story: Story, { life, removal }: Hanging): void {
    if (life.opening) closeAll(story, life.opening);
    story.removeEnds(removal);
    if (life.device.parent) this.#begin(story, life.device.parent);
  }

  /** Takes one of those that live. */
  #any(): Life {
    const [life] = this.#lives.splice(Math.floor(this.#random() * this.#lives.length), 1);
    return life;
  }
}

const PROBES = POINT_NAMES.map((point) => ({
  ...{ point, state: 'attached' as const, method: 'kprobe+kretprobe', missed: 0 },
  symbol: point.replaceAll('.', '_'),
}));
const ACTIVE = RULES.map(({ id }) => ({ id, active: true }));

/** The VMM ends. */
function closeAll(story: Story, opening: Opening): void {
  const { device, task } = opening;
  const { vm } = device;
  story.close(opening);
  if (vm) story.closeVm(vm, { as: task });
  story.exit(task);
}

function hex(number: number): string {
  return number.toString(16).padStart(2, '0');
}
