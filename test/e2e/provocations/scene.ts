// SPDX-License-Identifier: Apache-2.0
/** The stage of one provocation, with the faults of the driver in test/kmod, and what is told of it. */
import { randomUUID } from 'node:crypto';
import { RULES } from '../../../src/rules/catalogue.ts';
import { isPossible, type KernelVersion } from '../../../src/rules/rule.ts';
import type { Vmm } from '../../lab/vmm.ts';
import { AgentInVm } from '../agent.ts';
import type { ExpectedViolation, Stage } from '../stage.ts';
import { type ApiViolation, missingEvidence, subjectOf } from './account.ts';
import type { Subject, Told } from './provocation.ts';

export const SETTINGS = 'test/e2e/provocations/settings.yaml';
const PARAMETERS = '/sys/module/faulty/parameters';
const PLATFORM_DRIVER = '/sys/bus/platform/drivers/faulty';
const LATE_PORT = 10056;
/** A process that has to write, and be known by its name. */
const ADMIN = 'admin';

export const FIRST = 'faulty.0';
export const SECOND = 'faulty.1';

/** The agent of the stage, or another beside it. */
type Teller = Pick<Stage, 'api'>;

export class Scene {
  readonly stage: Stage;
  readonly kernel: KernelVersion;
  readonly #module: string;
  /** What was expected and told, with all that belongs to it. */
  readonly told: ExpectedViolation[] = [];
  #vmms: Vmm[] = [];

  /** @param module where the driver's .ko file is */
  constructor(stage: Stage, kernel: KernelVersion, module: string) {
    this.stage = stage;
    this.kernel = kernel;
    this.#module = module;
  }

  /** Whether the kernel is at least of that version. */
  since(major: number, minor: number): boolean {
    return this.kernel[0] > major || (this.kernel[0] === major && this.kernel[1] >= minor);
  }

  /** Waits until the agent has told it, with all that belongs to it. Where it cannot be, nothing is expected. */
  async expect(
    rule: string,
    about: Subject,
    told: Told,
    agent: Teller = this.stage,
  ): Promise<void> {
    const known = RULES.find(({ id }) => id === rule);
    if (!known) throw new Error(`there is no rule ${rule}`);
    if (!isPossible(known, this.kernel)) return;
    const subject = subjectOf(about);
    const expected = { rule, severity: told.severity, device: subject };
    // What others tell is not in the account of the stage's own agent.
    if (agent === this.stage) this.stage.violations.push(expected);
    let lacks = ['anything'];
    const isTold = async () => {
      const found = await this.#told(agent, rule, subject);
      // A parent that was withdrawn and offered again has one for each of its lives.
      lacks = found.map((one) => lacking(one, told)).reduce(fewer, ['anything']);
      return lacks.length === 0;
    };
    await this.stage.until(`${rule} is told of ${subject}`, isTold).catch((error: Error) => {
      throw new Error(`${error.message}; it lacks ${lacks.join(', ')}`);
    });
    this.told.push(expected);
  }

  /** Whether the rule has spoken of it already. */
  async isTold(rule: string, about: Subject): Promise<boolean> {
    return (await this.#told(this.stage, rule, subjectOf(about))).length > 0;
  }

  sh(command: string): Promise<string> {
    return this.stage.sh(command);
  }

  /** Runs a shell command by a process of its own name, for which the agent has to know it. */
  by(comm: string, command: string): Promise<string> {
    return this.sh(`printf ${comm} > /proc/self/comm; ${command}`);
  }

  /** What the driver does wrong while `during` runs. */
  async faulty<T>(faults: Readonly<Record<string, number>>, during: () => Promise<T>): Promise<T> {
    const set = (value: (given: number) => number) =>
      this.sh(
        Object.entries(faults)
          .map(([name, given]) => `echo ${value(given)} > ${PARAMETERS}/${name}`)
          .join(' && '),
      );
    await set((given) => given);
    try {
      return await during();
    } finally {
      await set(() => 0);
    }
  }

  /** The driver puts all that it leaked. */
  async putRight(): Promise<void> {
    await this.sh(`echo 1 > ${PARAMETERS}/put`);
  }

  async load(parameters = ''): Promise<void> {
    await this.sh(`insmod ${this.#module} ${parameters}`);
  }

  unload(): Promise<string> {
    return this.by(ADMIN, 'exec rmmod faulty');
  }

  /** Withdraws a parent with all its devices; ends when they have gone. */
  withdraw(parent: string): Promise<string> {
    return this.by(ADMIN, `echo ${parent} > ${PLATFORM_DRIVER}/unbind`);
  }

  async offer(parent: string): Promise<void> {
    await this.sh(`echo ${parent} > ${PLATFORM_DRIVER}/bind`);
  }

  /** In the parent's own directory: the link in that of its class goes as soon as it is withdrawn. */
  typeOf(parent: string, type = 'single'): string {
    return `/sys/devices/platform/${parent}/mdev_supported_types/faulty-${type}`;
  }

  /** @returns the device's UUID */
  async create(parent = FIRST, uuid: string = randomUUID()): Promise<string> {
    await this.by(ADMIN, `echo ${uuid} > ${this.typeOf(parent)}/create`);
    return uuid;
  }

  /** A create that the kernel must refuse. @returns the UUID that it was to have */
  async createRefused(parent = FIRST, uuid: string = randomUUID()): Promise<string> {
    const file = `${this.typeOf(parent)}/create`;
    await this.by(ADMIN, `[ -w ${file} ] && ! echo ${uuid} > ${file}`);
    return uuid;
  }

  /** Ends when the device has gone. */
  remove(uuid: string): Promise<string> {
    return this.by(ADMIN, `echo 1 > /sys/bus/mdev/devices/${uuid}/remove`);
  }

  vmm(comm: string): Vmm {
    const vmm = this.stage.vmm(comm);
    this.#vmms.push(vmm);
    return vmm;
  }

  rest(seconds: number): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  }

  /** After a provocation that failed halfway: the next one finds the driver as if nothing had been. */
  async clearAway(): Promise<void> {
    await Promise.all(this.#vmms.splice(0).map((vmm) => vmm.kill()));
    await this.stage.try(`echo 1 > ${PARAMETERS}/put; rmmod faulty`);
    await this.load();
  }

  /** Another agent, which knows nothing of what was before. */
  lateAgent(...flags: string[]): Promise<AgentInVm> {
    return AgentInVm.startAt(this.stage.vm, LATE_PORT, '--config', SETTINGS, ...flags);
  }

  /** A VMM that has the device open for a VM, all in the right order. */
  async openFor(comm: string, uuid: string): Promise<Vmm> {
    const vmm = this.vmm(comm);
    await vmm.order(`start a ${uuid}`);
    return vmm;
  }

  /** A VMM that has the group of a device in a container. */
  async openGroup(comm: string, uuid: string): Promise<Vmm> {
    const vmm = this.vmm(comm);
    await inOrder(vmm, [
      'container open c',
      `group open g ${uuid}`,
      'group attach g c',
      'container iommu c',
    ]);
    return vmm;
  }

  /** Waits until a violation is no longer open. */
  async expectEnd(rule: string, about: Subject): Promise<void> {
    const known = RULES.find(({ id }) => id === rule);
    if (!known || !isPossible(known, this.kernel)) return;
    const subject = subjectOf(about);
    await this.stage.until(`${rule} of ${subject} is over`, async () =>
      (await this.#told(this.stage, rule, subject)).every(({ state }) => state !== 'open'),
    );
  }

  async #told(agent: Teller, rule: string, subject: string): Promise<ApiViolation[]> {
    const { violations } = await agent.api<{ violations: ApiViolation[] }>('/api/v1/violations');
    return violations.filter((one) => one.rule === rule && subjectOf(one) === subject);
  }
}

/** Where nothing was told, anything is better. */
function fewer(some: readonly string[], others: readonly string[]): string[] {
  const isBetter = some[0] === 'anything' || others.length < some.length;
  return [...(isBetter ? others : some)];
}

export async function inOrder(vmm: Vmm, orders: readonly string[]): Promise<void> {
  for (const order of orders) await vmm.order(order);
}

function lacking(found: ApiViolation, told: Told): string[] {
  const lacks: string[] = [];
  if (found.severity !== told.severity) lacks.push(`severity ${told.severity} (${found.severity})`);
  const quality = told.quality ?? 'observed';
  if (found.quality !== quality) lacks.push(`quality ${quality} (${found.quality})`);
  if (told.process && found.process?.comm !== told.process) {
    lacks.push(`process ${told.process} (${found.process?.comm})`);
  }
  if (told.blocked && found.blocked?.comm !== told.blocked) {
    lacks.push(`blocked task ${told.blocked} (${found.blocked?.comm})`);
  }
  for (const comm of told.holders ?? []) {
    if (!found.holders.some(({ process }) => process.comm === comm)) lacks.push(`holder ${comm}`);
  }
  const missing = missingEvidence(found, told.evidence);
  if (missing) lacks.push(missing);
  return lacks;
}
