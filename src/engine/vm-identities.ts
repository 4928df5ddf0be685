/** Asks the host how the operator knows each VM, once when it appears, and one VM after the other. */
import type { Host, VmCreator, VmIdentity } from '../events/host.ts';
import type { Vm } from '../lifecycle/objects.ts';
import type { Transition } from '../lifecycle/transition.ts';
import { OneByOne } from './one-by-one.ts';
import type { Sink } from './sink.ts';

/** VMs that wait to be asked about: whoever creates more at once leaves the others without a name. */
const MOST_WAITING = 1000;

const PENDING: VmIdentity = { commandLine: 'pending' };
const NO_ANSWER: VmIdentity = { commandLine: 'no_answer' };

export class VmIdentities implements Sink {
  readonly #identify: ((creator: VmCreator) => Promise<VmIdentity>) | undefined;
  readonly #identified: (vm: Vm) => void;
  readonly #queue = new OneByOne(MOST_WAITING);

  /** @param identified is called for each VM when the answer is there, also when that knows nothing */
  constructor(host: Pick<Host, 'identifyVm'>, identified: (vm: Vm) => void = () => {}) {
    this.#identify = host.identifyVm?.bind(host);
    this.#identified = identified;
  }

  event({ vm, event }: Transition): void {
    if (vm === undefined || vm.identity !== undefined || !this.#identify) return;
    const { task, creatorTid } = vm;
    const pid = task?.pid ?? creatorTid;
    if (pid === 0 || vm.isOver) return;
    this.#add(vm, { pid, task, at: event.time }, this.#identify);
  }

  #add(vm: Vm, creator: VmCreator, identify: (creator: VmCreator) => Promise<VmIdentity>): void {
    const isAsked = this.#queue.add(async () => {
      vm.identity = await identify(creator).catch(() => NO_ANSWER);
      this.#identified(vm);
    });
    vm.identity = isAsked ? PENDING : NO_ANSWER;
  }
}
