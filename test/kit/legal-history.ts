/** Random legal scenarios, chosen step by step: several parents, devices, VMs and tasks at once. */
import assert from 'node:assert/strict';
import { RULES } from '../../src/catalogue.ts';
import type { ScenarioParent } from '../../src/scenario/types.ts';
import { type Assigned, type Guest, idle, isIdle } from './legal-objects.ts';
import { ScenarioRunner } from './scenario-runner.ts';

const EINVAL = 22;
/** Less than any rule's threshold. */
const PATIENCE = 4;

interface Source {
  readonly parent: ScenarioParent;
  unregistering: ReturnType<ScenarioRunner['scenario']['parentUnregisterBegins']> | undefined;
}

/** Which odd but legal steps may be taken. */
export interface Freedom {
  readonly openWithoutVm: boolean;
  readonly nestedOpen: boolean;
  /** Creates that are refused. */
  readonly refusals: boolean;
}

type Action = () => void;

export class LegalHistory {
  readonly runner = new ScenarioRunner({ rules: RULES });
  /** "rule device" → how often it really happened. */
  readonly contained = new Map<string, number>();
  readonly #freedom: Freedom;
  readonly #sources: Source[] = [];
  readonly #assigned: Assigned[] = [];
  readonly #guests: Guest[] = [];
  readonly #freeUuids: string[] = [];
  #pids = 1000;
  #patience = PATIENCE;
  /** Seconds for which calls have been in flight, without an instant at which none was. */
  #waitedInCalls = 0;

  /** Steps that the automata do not have: "vm: destroyed while running". */
  readonly illegal: string[] = [];

  constructor(freedom: Freedom) {
    this.#freedom = freedom;
    this.runner.sinks.push({
      event: ({ illegal }) => {
        if (illegal)
          this.illegal.push(`${illegal.automaton}: ${illegal.input} while ${illegal.from}`);
      },
    });
  }

  step(choice: number): void {
    const actions = this.#possible();
    actions[choice % actions.length]();
    this.runner.flush();
  }

  /** Lets everything come to its proper end. */
  finish(): void {
    for (const one of [...this.#assigned]) {
      if (one.creation && one.state === 'creating') this.#createEnds(one);
      if (one.opening) this.#openEnds(one);
      while (one.opens.length > 0) this.#close(one);
      if (one.state === 'ready' && !one.device.parent) this.#unbindBegins(one);
      if (one.state === 'ready' && !this.#sourceOf(one)?.unregistering) this.#removeBegins(one);
      if (one.state === 'removing') this.#removeEnds(one);
    }
    for (const source of [...this.#sources]) {
      if (!source.unregistering) this.#unregister(source);
      for (const one of this.#childrenOf(source)) this.#childRemoved(source, one);
      this.#unregistered(source);
    }
    for (const guest of this.#guests) if (!guest.closed) this.#closeVm(guest);
    this.runner.flush();
  }

  /** Lets what does not wait for others come to its end. */
  callsReturn(): void {
    for (const one of this.#assigned) {
      if (one.state === 'creating') this.#createEnds(one);
      if (one.opening) this.#openEnds(one);
    }
    this.runner.flush();
  }

  #actor(comm: string) {
    return { pid: this.#pids++, comm };
  }

  /** A thread makes one call at a time, and others of its process may make theirs meanwhile. */
  #threadOf({ vm }: Guest) {
    return { ...vm.task, tid: this.#pids++ };
  }

  #sourceOf({ device }: Assigned): Source | undefined {
    return this.#sources.find(({ parent }) => parent === device.parent);
  }

  #childrenOf({ parent }: Source): Assigned[] {
    return this.#assigned.filter(({ device }) => device.parent === parent);
  }

  #possible(): Action[] {
    const actions: Action[] = [() => this.#wait()];
    const add = (when: boolean, action: Action) => when && actions.push(action);
    add(this.#sources.length < 3, () => this.#register());
    add(this.#guests.length < 6, () => this.#createVm());
    add(this.#assigned.length < 8, () => this.#bindPci());
    for (const source of this.#sources) {
      const children = this.#childrenOf(source);
      const settled = children.every((one) => one.state === 'ready' && isIdle(one));
      add(!source.unregistering && this.#assigned.length < 8, () => this.#createBegins(source));
      add(!source.unregistering && this.#freedom.refusals, () => this.#createFails(source));
      add(!source.unregistering && settled, () => this.#unregister(source));
      if (!source.unregistering) continue;
      for (const one of children) add(true, () => this.#childRemoved(source, one));
      add(children.length === 0, () => this.#unregistered(source));
    }
    for (const guest of this.#guests) {
      // Its thread cannot be in two calls at once.
      const isOpening = this.#assigned.some((one) => one.opening && one.guest === guest);
      add(!guest.closed && !isOpening, () => this.#closeVm(guest));
    }
    for (const one of this.#assigned) this.#possibleWith(one, add);
    return actions;
  }

  #possibleWith(one: Assigned, add: (when: boolean, action: Action) => void): void {
    const usable = one.state !== 'removing' && !this.#sourceOf(one)?.unregistering;
    const mayOpen = usable && !one.opening && (one.opens.length === 0 || this.#freedom.nestedOpen);
    add(one.state === 'creating', () => this.#createEnds(one));
    for (const guest of this.#guests) {
      const fits = one.opens.length === 0 || one.guest === guest;
      const isBusy = this.#assigned.some((other) => other.opening && other.guest === guest);
      add(mayOpen && fits && !isBusy && !guest.closed, () => this.#openBegins(one, guest));
    }
    add(mayOpen && this.#freedom.openWithoutVm && one.opens.length === 0, () =>
      this.#openBegins(one, undefined),
    );
    add(one.opening !== undefined, () => this.#openEnds(one));
    add(one.opens.length > 0 && !one.opening, () => this.#close(one));
    const removable = one.state === 'ready' && usable && !one.opening;
    add(removable && one.device.parent !== undefined, () => this.#removeBegins(one));
    add(removable && one.device.parent === undefined, () => this.#unbindBegins(one));
    add(one.state === 'removing' && one.opens.length === 0, () => this.#removeEnds(one));
  }

  /** Time may pass, but not where somebody is kept waiting for too long. */
  #wait(): void {
    const { scenario } = this.runner;
    const isHeldUp = this.#assigned.some(({ state, opens, guest }) => {
      return state === 'removing' || (opens.length > 0 && guest?.closed);
    });
    const isTense = isHeldUp || this.#sources.some(({ unregistering }) => unregistering);
    if (this.#assigned.some(({ hurried }) => hurried) || this.#isCrowded()) return;
    const isInCall = this.#assigned.some(({ state, opening }) => state === 'creating' || opening);
    if (!isInCall) this.#waitedInCalls = 0;
    // A call that takes longer than that would be a stall.
    else if (this.#waitedInCalls >= 9) return;
    this.#waitedInCalls += 3;
    if (!isTense) scenario.wait(3);
    else if (this.#patience-- > 0) scenario.wait(1);
  }

  /** With several creations on one parent, their durations would look as if they waited for each other. */
  #isCrowded(): boolean {
    return this.#sources.some((source) => {
      return this.#childrenOf(source).filter(({ state }) => state === 'creating').length > 1;
    });
  }

  #register(): void {
    const name = `parent-${this.#pids++}`;
    this.#sources.push({ parent: this.runner.scenario.parent({ name }), unregistering: undefined });
  }

  #unregister(source: Source): void {
    source.unregistering = this.runner.scenario.parentUnregisterBegins(source.parent);
  }

  #unregistered(source: Source): void {
    assert.ok(source.unregistering);
    this.runner.scenario.parentUnregisterEnds(source.unregistering);
    this.#sources.splice(this.#sources.indexOf(source), 1);
  }

  #childRemoved({ unregistering }: Source, one: Assigned): void {
    assert.ok(unregistering);
    this.runner.scenario.childRemoved(unregistering, one.device);
    this.#gone(one);
  }

  #createBegins({ parent }: Source): void {
    const uuid = this.#freeUuids.shift();
    const options = { as: this.#actor('mdevctl'), ...(uuid ? { uuid } : {}) };
    const creation = this.runner.scenario.createBegins(parent, options);
    this.#assigned.push({ ...idle(creation.device), creation, state: 'creating' });
  }

  #createEnds(one: Assigned): void {
    assert.ok(one.creation);
    this.runner.scenario.createEnds(one.creation);
    one.state = 'ready';
  }

  #createFails({ parent }: Source): void {
    const uuid = `10000000-0000-4000-8000-${(this.#pids++).toString(16).padStart(12, '0')}`;
    this.runner.scenario.createFails(parent, EINVAL, { uuid, as: this.#actor('mdevctl') });
    this.contained.set(`create-failed ${uuid} ${uuid}`, 1);
  }

  #bindPci(): void {
    const address = `0000:00:${(this.#pids++).toString(16)}.0`;
    this.#assigned.push(idle(this.runner.scenario.bindPci(address)));
  }

  #createVm(): void {
    const vm = this.runner.scenario.createVm({ as: this.#actor('qemu') });
    this.#guests.push({ vm, closed: false });
  }

  /** In the order of an exit: groups are cleared first, devices closed right after. */
  #closeVm(guest: Guest): void {
    const { scenario } = this.runner;
    for (const one of this.#assigned) {
      if (one.device.groupVm !== guest.vm) continue;
      scenario.clearKvm(one.device, { as: guest.vm.task, exiting: true });
      one.hurried = one.opens.length > 0 || one.opening !== undefined;
    }
    scenario.closeVm(guest.vm, { as: this.#threadOf(guest) });
    scenario.exit(guest.vm.task);
    guest.closed = true;
  }

  #openBegins(one: Assigned, guest: Guest | undefined): void {
    const { scenario } = this.runner;
    const as = guest ? this.#threadOf(guest) : this.#actor('dpdk');
    if (one.device.groupVm && one.device.groupVm !== guest?.vm)
      scenario.clearKvm(one.device, { as });
    one.opening = scenario.openBegins(one.device, guest ? { vm: guest.vm, as } : { as });
    if (one.opens.length === 0) one.guest = guest;
  }

  #openEnds(one: Assigned): void {
    assert.ok(one.opening);
    one.opens.push(this.runner.scenario.openEnds(one.opening));
    one.opening = undefined;
    if (one.opens.length > 1) this.#contains('nested-open', one);
    else if (!one.guest) this.#contains('open-without-kvm', one);
  }

  #close(one: Assigned): void {
    const open = one.opens.pop();
    assert.ok(open);
    this.runner.scenario.close(open);
    if (one.opens.length === 0 && !one.opening) one.hurried = false;
  }

  #removeBegins(one: Assigned): void {
    one.removal = this.runner.scenario.removeBegins(one.device, { as: this.#actor('mdevctl') });
    one.state = 'removing';
  }

  #unbindBegins(one: Assigned): void {
    this.runner.scenario.unbindPciBegins(one.device);
    one.state = 'removing';
  }

  #removeEnds(one: Assigned): void {
    if (one.removal) {
      this.runner.scenario.removeEnds(one.removal);
      this.#freeUuids.push(one.device.uuid);
    } else {
      this.runner.scenario.unbindPciEnds(one.device);
    }
    this.#gone(one);
  }

  #gone(one: Assigned): void {
    this.#assigned.splice(this.#assigned.indexOf(one), 1);
  }

  #contains(rule: string, { device }: Assigned): void {
    const key = `${rule} ${device.key} ${device.uuid}`;
    this.contained.set(key, (this.contained.get(key) ?? 0) + 1);
  }
}
