// SPDX-License-Identifier: Apache-2.0
/** A lab session for provocations, with the faulty driver of test/kmod, and the violations that they expect. */

import { randomUUID } from 'node:crypto';
import { RULES } from '../../../src/catalogue.ts';
import { isPossible } from '../../../src/engine/rule.ts';
import type { Traits } from '../../../src/events/traits.ts';
import type { Vmm } from '../../lab/vmm.ts';
import { AgentInVm } from '../agent.ts';
import type { ExpectedViolation, LabSession } from '../lab-session.ts';
import { perDevice } from '../per-device.ts';
import { asRaised } from '../severity.ts';
import { type ApiViolation, missingEvidence, subjectOf } from './account.ts';
import type { Expectation, Subject } from './expectation.ts';

export const SETTINGS = 'test/e2e/provocations/settings.yaml';
const PARAMETERS = '/sys/module/faulty/parameters';
const LATE_PORT = 10056;
/** The name of the process that writes to sysfs. */
const ADMIN = 'admin';

export const FIRST = 'faulty.0';
export const SECOND = 'faulty.1';
/** The parents of a driver that is loaded with `long_names`. */
export const LONG_NAMED = [0, 1].map(
  (index) => `faulty-parent-with-a-name-of-more-than-39-bytes.${index}`,
);

/** The agent of the lab session, or another beside it. */
type Reporter = Pick<LabSession, 'api'>;

export class ProvocationSession {
  readonly lab: LabSession;
  readonly #module: string;
  /** Violations that were expected and reported with all details. */
  readonly reported: ExpectedViolation[] = [];
  #vmms: Vmm[] = [];

  /** @param module where the driver's .ko file is */
  constructor(lab: LabSession, module: string) {
    this.lab = lab;
    this.#module = module;
  }

  get traits(): Traits {
    return this.lab.traits;
  }

  /** Waits until the agent has reported a violation with all expected details. Does nothing on a kernel where it is impossible. */
  async expect(
    rule: string,
    about: Subject,
    expectation: Expectation,
    agent: Reporter = this.lab,
  ): Promise<void> {
    const known = RULES.find(({ id }) => id === rule);
    if (!known) throw new Error(`there is no rule ${rule}`);
    if (!isPossible(known, this.traits)) return;
    const subject = subjectOf(about);
    const expected = { rule, severity: expectation.severity, device: subject };
    // Violations of another agent are not in the API of the lab session's own one.
    if (agent === this.lab) this.lab.violations.push(expected);
    let lacks = ['anything'];
    const isReported = async () => {
      const found = await this.#reported(agent, rule, subject);
      // A parent that was registered again has one violation for each incarnation.
      lacks = found.map((one) => lacking(one, expectation)).reduce(fewer, ['anything']);
      return lacks.length === 0;
    };
    await this.lab.until(`${rule} is reported of ${subject}`, isReported).catch((error: Error) => {
      throw new Error(`${error.message}; it lacks ${lacks.join(', ')}`);
    });
    this.reported.push(expected);
  }

  /** Whether the rule has fired for it already. */
  async isReported(rule: string, about: Subject): Promise<boolean> {
    return (await this.#reported(this.lab, rule, subjectOf(about))).length > 0;
  }

  sh(command: string): Promise<string> {
    return this.lab.sh(command);
  }

  /** Runs a shell command in a process with that name, by which the agent has to report it. */
  by(comm: string, command: string): Promise<string> {
    return this.sh(`printf ${comm} > /proc/self/comm; ${command}`);
  }

  /** Switches faults of the driver on while `during` runs. */
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

  /** Makes the driver put all references that it leaked. */
  async putLeaked(): Promise<void> {
    await this.sh(`echo 1 > ${PARAMETERS}/put`);
  }

  async load(parameters = ''): Promise<void> {
    await this.sh(`insmod ${this.#module} ${parameters}`);
  }

  unload(): Promise<string> {
    return this.by(ADMIN, 'exec rmmod faulty');
  }

  /** Unregisters a parent with all its devices; settles when they are removed. */
  unregister(parent: string): Promise<string> {
    return this.by(ADMIN, `echo ${parent} > ${parentDriver(parent)}/unbind`);
  }

  async register(parent: string): Promise<void> {
    await this.sh(`echo ${parent} > ${parentDriver(parent)}/bind`);
  }

  /** The type's directory below the parent's own: the link of its class goes as soon as it is unregistered. */
  typeOf(parent: string, type = 'single'): string {
    return `/sys/devices/platform/${parent}/mdev_supported_types/${driverName(parent)}-${type}`;
  }

  /** @returns the device's UUID */
  async create(parent = FIRST, uuid: string = randomUUID()): Promise<string> {
    await this.by(ADMIN, `echo ${uuid} > ${this.typeOf(parent)}/create`);
    return uuid;
  }

  /** A create that the kernel must refuse. @returns the refused UUID */
  async createRefused(parent = FIRST, uuid: string = randomUUID()): Promise<string> {
    const file = `${this.typeOf(parent)}/create`;
    await this.by(ADMIN, `[ -w ${file} ] && ! echo ${uuid} > ${file}`);
    return uuid;
  }

  /** Removes a device; settles when it is removed. */
  remove(uuid: string): Promise<string> {
    return this.by(ADMIN, `echo 1 > /sys/bus/mdev/devices/${uuid}/remove`);
  }

  /** The directory of the driver of a device, whose link goes as soon as it is being unbound. */
  async driverOf(uuid: string): Promise<string> {
    return (await this.sh(`readlink -f /sys/bus/mdev/devices/${uuid}/driver`)).trim();
  }

  vmm(comm: string): Vmm {
    const vmm = this.lab.vmm(comm);
    this.#vmms.push(vmm);
    return vmm;
  }

  /** Waits until the removal of a device waits for those who have it open. */
  untilWaiting(uuid: string): Promise<void> {
    return this.lab.until(`the removal of ${uuid} waits`, async () => {
      const { device } = await this.lab.api<{ device?: { waitingForUsers: boolean } }>(
        `/api/v1/devices/${uuid}`,
      );
      return device?.waitingForUsers === true;
    });
  }

  /** Waits until the agent shows a device as being removed. */
  untilRemoving(uuid: string): Promise<void> {
    return this.lab.until(`${uuid} is being removed`, async () => {
      const { device } = await this.lab.api<{ device?: { state: string } }>(
        `/api/v1/devices/${uuid}`,
      );
      return device?.state === 'removing';
    });
  }

  /** Restores the driver after a provocation that failed halfway. */
  async clearAway(): Promise<void> {
    await Promise.all(this.#vmms.splice(0).map((vmm) => vmm.kill()));
    await this.lab.try(`echo 1 > ${PARAMETERS}/put; rmmod faulty`);
    await this.load();
  }

  /** Starts another agent, which did not observe what happened before. */
  lateAgent(...flags: string[]): Promise<AgentInVm> {
    return AgentInVm.startAt(this.lab.vm, LATE_PORT, '--config', SETTINGS, ...flags);
  }

  /** One more agent, with waits that are too short for what others do at the same time. */
  async impatientAgent(): Promise<AgentInVm> {
    const file = '/tmp/impatient.yaml';
    await this.sh(
      `printf 'rules:\\n  never_opened_seconds: 1\\n  vm_destroy_stall_seconds: 1\\n' > ${file}`,
    );
    return AgentInVm.startAt(this.lab.vm, LATE_PORT, '--config', file);
  }

  /** A VMM that has the device open for a VM, in the correct order. */
  async openFor(comm: string, uuid: string): Promise<Vmm> {
    const vmm = this.vmm(comm);
    await vmm.command(`start a ${uuid}`);
    return vmm;
  }

  /** A VMM that has the group of a device in a container. */
  async openGroup(comm: string, uuid: string): Promise<Vmm> {
    const vmm = this.vmm(comm);
    await vmm.openGroup(uuid);
    return vmm;
  }

  /** Waits until a violation is no longer open. */
  async expectEnd(rule: string, about: Subject): Promise<void> {
    const known = RULES.find(({ id }) => id === rule);
    if (!known || !isPossible(known, this.traits)) return;
    const subject = subjectOf(about);
    await this.lab.until(`${rule} of ${subject} is resolved`, async () =>
      (await this.#reported(this.lab, rule, subject)).every(({ state }) => state !== 'open'),
    );
  }

  async #reported(agent: Reporter, rule: string, subject: string): Promise<ApiViolation[]> {
    const { violations } = await agent.api<{ violations: ApiViolation[] }>('/api/v1/violations');
    return perDevice(violations)
      .map(asRaised)
      .filter((one) => one.rule === rule && subjectOf(one) === subject);
  }
}

/** A parent has the name of its driver, and a number. */
function driverName(parent: string): string {
  return parent.replace(/\.\d+$/, '');
}

function parentDriver(parent: string): string {
  return `/sys/bus/platform/drivers/${driverName(parent)}`;
}

/** The shorter list of missing details; any list is better than no violation at all. */
function fewer(some: readonly string[], others: readonly string[]): string[] {
  const isBetter = some[0] === 'anything' || others.length < some.length;
  return [...(isBetter ? others : some)];
}

export async function runCommands(vmm: Vmm, commands: readonly string[]): Promise<void> {
  for (const command of commands) await vmm.command(command);
}

function lacking(found: ApiViolation, expected: Expectation): string[] {
  const lacks: string[] = [];
  if (found.severity !== expected.severity)
    lacks.push(`severity ${expected.severity} (${found.severity})`);
  const quality = expected.quality ?? 'observed';
  if (found.quality !== quality) lacks.push(`quality ${quality} (${found.quality})`);
  if (expected.process && found.process?.comm !== expected.process) {
    lacks.push(`process ${expected.process} (${found.process?.comm})`);
  }
  if (expected.blocked && found.blocked?.comm !== expected.blocked) {
    lacks.push(`blocked task ${expected.blocked} (${found.blocked?.comm})`);
  }
  for (const [comm, how] of Object.entries(expected.waiters ?? {})) {
    const waiter = found.waiters?.tasks.find((task) => task.comm === comm);
    if (waiter?.how !== how) lacks.push(`waiter ${comm}, ${how} (${waiter?.how})`);
  }
  for (const comm of expected.holders ?? []) {
    if (!found.holders.some(({ process }) => process.comm === comm)) lacks.push(`holder ${comm}`);
  }
  if (expected.message && !expected.message.test(found.message)) {
    lacks.push(`${expected.message} in "${found.message}"`);
  }
  const { kernelLog } = expected;
  if (kernelLog && !found.kernelLog?.some((line) => kernelLog.test(line))) {
    lacks.push(`kernel log ${kernelLog} (${found.kernelLog?.join('; ')})`);
  }
  const missing = missingEvidence(found, expected.evidence);
  if (missing) lacks.push(missing);
  return lacks;
}
