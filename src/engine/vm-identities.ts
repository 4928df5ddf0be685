/** Asks the host how the operator knows each VM, once when it appears, and one VM after the other. */
import type { Host, VmCreator, VmIdentity } from '../events/host.ts';
import type { Vm } from '../lifecycle/objects.ts';
import type { Transition } from '../lifecycle/transition.ts';
import type { Sink } from './sink.ts';

/** VMs that wait to be asked about: whoever creates more at once leaves the others without a name. */
const MOST_WAITING = 1000;

const PENDING: VmIdentity = { commandLine: 'pending' };
const NO_ANSWER: VmIdentity = { commandLine: 'no_answer' };

export class VmIdentities implements Sink {
  readonly #identify: ((creator: VmCreator) => Promise<VmIdentity>) | undefined;
  readonly #identified: (vm: Vm) => void;
  readonly #waiting: { readonly vm: Vm; readonly creator: VmCreator }[] = [];
  #isAsking = false;

  /** @param identified is called for each VM when the answer is there, also when that knows nothing */
  constructor(host: Pick<Host, 'identifyVm'>, identified: (vm: Vm) => void = () => {}) {
    this.#identify = host.identifyVm?.bind(host);
    this.#identified = identified;
  }

  event({ vm, event }: Transition): void {
    if (vm === undefined || vm.identity !== undefined) return;
    const { task, creatorTid } = vm;
    const pid = task?.pid ?? creatorTid;
    if (pid === 0 || vm.isOver || !this.#identify) return;
    if (this.#waiting.length >= MOST_WAITING) {
      vm.identity = NO_ANSWER;
      return;
    }
    vm.identity = PENDING;
    this.#waiting.push({ vm, creator: { pid, task, at: event.time } });
    if (!this.#isAsking) this.#ask(this.#identify);
  }

  async #ask(identify: (creator: VmCreator) => Promise<VmIdentity>): Promise<void> {
    this.#isAsking = true;
    // The rest of the batch of events is processed first.
    await undefined;
    for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) {
      const { vm, creator } = next;
      vm.identity = await identify(creator).catch(() => NO_ANSWER);
      this.#identified(vm);
    }
    this.#isAsking = false;
  }
}
