/** Three hosts that have something to show on every panel: stories told to agents that are scraped. */
import { Served } from '../src/http/served.ts';
import { type Host, SECOND } from '../src/rules/rule.ts';
import type { Story } from '../src/rules/story.ts';
import type { Actor, Opening, ToldParent } from '../src/rules/told.ts';
import type { MeasuredOptions } from '../src/telemetry/measured.ts';
import type { MetricsSource } from '../src/telemetry/metrics/metric.ts';
import type { Target } from '../test/time-series.ts';

/** The device whose removal waits, and whose life the dashboard of a device shows. */
export const STUCK = 'aaaabbbb-cccc-4ddd-8eee-ffff00001111';
const TRACE = '0af7651916cd43dd8448eb211c80319c';
const QEMU: Actor = { pid: 4711, comm: 'qemu-system-x86', cgroup: 1 };
const FORGETFUL: Actor = { pid: 4712, comm: 'vmm-leaky', cgroup: 2 };
const UNITS = ['', 'machine-qemu-7-guest.scope', 'vmm-leaky.service'];
const ENOSPC = 28;
/** Once only. */
const EACCES = 13;
/** Devices that come and go. */
const AT_ONCE = 4;
/** Story seconds that pass before the scene is shown. */
const BEFORE = 90;
/** Of the story's clock when it begins. */
const STORY_BEGINS = 1000;

export class Scene {
  /** A removal waits, a VM is left behind, a parent is being withdrawn. */
  readonly #stuck = served();
  /** Loses events. */
  readonly #blind = served({ source: this.#trouble(), maxDevices: 5 });
  /** Answers at first, and then no more. */
  readonly #leaving = served();
  #parent!: ToldParent;
  #addresses: readonly string[] = [];
  /** Devices that come and go, with their VMs. */
  readonly #used: Opening[] = [];
  #beats = 0;

  /** Of an agent that cannot keep up. */
  #trouble(): Partial<MetricsSource> {
    return {
      lanes: () => [{ cpu: 0, attempts: 1000 * this.#beats, dropped: 3 * this.#beats }],
      ring: () => ({ bytes: 1 << 20, backlog: 700_000 }),
      now: () => this.#blind.world.now + 2.5 * SECOND,
      probes: () => [
        { point: 'kvm.vm.create', state: 'attached', method: 'kprobe', missed: this.#beats },
        { point: 'mdev.create', state: 'failed', missed: 0 },
      ],
      logLinesDropped: () => 7 * this.#beats,
    };
  }

  get targets(): Target[] {
    return this.#addresses.map((address, i) => ({
      address,
      labels: { cluster: 'lab', instance: `kvm0${i + 1}:10055` },
    }));
  }

  async begin(): Promise<void> {
    this.#parent = this.#stuck.tell((story) => {
      const parent = story.parent({ name: 'gpu0', driver: 'nvidia' });
      const leaky = story.createVm({ as: FORGETFUL });
      story.open(story.create(parent), { vm: leaky, as: FORGETFUL });
      story.closeVm(leaky);
      const device = story.create(parent, { uuid: STUCK });
      story.open(device, { vm: story.createVm({ as: QEMU }), as: QEMU });
      story.bindPci('0000:3b:00.0');
      story.parentUnregisterBegins(story.parent({ name: 'nic0', driver: 'mlx5' }));
      story.wait(BEFORE - 15);
      story.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
      story.wait(15);
      return parent;
    });
    this.#addresses = await Promise.all(
      [this.#stuck, this.#blind, this.#leaving].map(async ({ server }) =>
        (await server.listen({ host: '127.0.0.1', port: 0 })).slice('http://'.length),
      ),
    );
  }

  /** Something happens on every host that still answers. */
  beat(): void {
    const as: Actor = { pid: 5000 + this.#beats++, comm: 'qemu-system-x86' };
    this.#stuck.tell((story) => {
      const vm = story.createVm({ as });
      const creation = story.createBegins(this.#parent);
      if (this.#beats % 3 === 0) story.wait(1);
      this.#used.push(story.open(story.createEnds(creation), { vm, as }));
      const oldest = this.#used.length > AT_ONCE && this.#used.shift();
      if (oldest) giveBack(story, oldest);
      story.createFails(this.#parent, ENOSPC);
      if (this.#beats === 10) story.createFails(this.#parent, EACCES);
      // A driver that forgets to withdraw its device: the kernel may crash.
      const forgotten = story.create(this.#parent);
      story.unbindWithoutUnregister(story.removeBegins(forgotten, { idle: true }));
      story.freeMdev(forgotten);
    });
    this.#blind.tell((story) => {
      const vm = story.createVm({ as });
      story.getKvm(vm);
      story.steps.push('loss');
      story.closeVm(vm);
      story.exit(as);
      story.wait(9);
    });
    this.#blind.lost.ring_full += 3;
    this.#blind.looks.count('loss', Date.now() / 1000, 0.02);
  }

  async leave(): Promise<void> {
    await this.#leaving.server.close();
  }

  async end(): Promise<void> {
    await Promise.all(
      [this.#stuck, this.#blind, this.#leaving].map(({ server }) => server.close()),
    );
  }
}

/** Its VMM exits, and the device is removed, which takes a second. */
function giveBack(story: Story, opening: Opening): void {
  const { device, task } = opening;
  const { vm } = device;
  story.close(opening);
  if (vm) story.closeVm(vm, { as: task });
  const removal = story.removeBegins(device);
  story.wait(1);
  story.removeEnds(removal);
}

function served(options: MeasuredOptions = {}): Served {
  const booted = Date.now() / 1000 - STORY_BEGINS - BEFORE;
  const host: Host = {
    kernel: [6, 12],
    pidsWithKvmFiles: () => telling.story.kvmPids,
    availableInstances: () => new Map([['gpu0-1', 3]]),
    controlGroup: ({ cgroup }) => ({ path: `/${UNITS[cgroup]}`, unit: UNITS[cgroup] }),
  };
  const source = { sinceEpoch: (at: number) => booted + at / SECOND, ...options.source };
  const telling = new Served({ ...options, host, source, traceIdOf: () => TRACE });
  return telling;
}
