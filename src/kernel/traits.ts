/** Derives the traits of the running kernel from its symbols and its BTF: the table is in src/events/traits.ts. */
import { readFileSync } from 'node:fs';
import { messageOf } from '../errors.ts';
import {
  type DerivedTrait,
  deriveTrait,
  type Evidence,
  type KernelContents,
  NO_TRAITS,
  TRAIT_NAMES,
  TRAITS,
  type TraitModule,
  type TraitName,
  type Traits,
  valuesOf,
} from '../events/traits.ts';
import { Btf } from './btf.ts';
import { isInImage, isInTransit, isLoadedModule } from './kernel-modules.ts';
import { KALLSYMS, KernelSymbols } from './kernel-symbols.ts';

const BTF = '/sys/kernel/btf';

/** The running kernel. What it has is read when it is asked for, and once. */
export class RunningKernel implements KernelContents {
  /** BTF is small; the symbols of a module are among all that the kernel has. */
  readonly ways = [this.#isDescribed.bind(this), this.#hasSymbol.bind(this)];
  readonly #moduleBtf: boolean;
  readonly #root: string;
  #symbols: KernelSymbols | undefined;
  #problem: string | undefined;
  readonly #btf = new Map<TraitModule, Btf | undefined>();

  /** @param moduleBtf whether BTF of modules may be used */
  constructor(moduleBtf: boolean, root = '') {
    this.#moduleBtf = moduleBtf;
    this.#root = root;
  }

  /** Why symbols could not be read. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** @returns undefined where they cannot be read */
  get symbols(): KernelSymbols | undefined {
    if (this.#symbols || this.#problem !== undefined) return this.#symbols;
    try {
      this.#symbols = KernelSymbols.read(this.#root);
    } catch (error) {
      this.#problem = `cannot read ${KALLSYMS}: ${messageOf(error)}`;
    }
    return this.#symbols;
  }

  unknown(module: TraitModule): string | undefined {
    if (module === 'vmlinux') return undefined;
    const isThere = isLoadedModule(module, this.#root) || isInImage(module, this.#root);
    const isUsable = isThere && !isInTransit(module, this.#root);
    return isUsable ? undefined : `the module ${module} is not loaded`;
  }

  #isDescribed(module: TraitModule, evidence: Evidence): boolean {
    const btf = this.#btfOf(module);
    switch (evidence.kind) {
      case 'symbol':
        // BTF of a module leaves out functions that the compiler has changed.
        return (
          (evidence.exists || module === 'vmlinux') &&
          btf?.hasFunction(evidence.name) === evidence.exists
        );
      case 'struct':
        return btf?.hasStruct(evidence.name) === evidence.exists;
      case 'field':
        return btf?.hasField(evidence.struct, evidence.path) === evidence.exists;
      case 'noBtf':
        return btf === undefined;
    }
  }

  #hasSymbol(module: TraitModule, evidence: Evidence): boolean {
    if (evidence.kind !== 'symbol' || module === 'vmlinux') return false;
    const of = isInImage(module, this.#root) ? undefined : module;
    const { symbols } = this;
    return (
      symbols !== undefined &&
      (symbols.address(evidence.name, of) !== undefined) === evidence.exists
    );
  }

  #btfOf(module: TraitModule): Btf | undefined {
    if (!this.#btf.has(module)) this.#btf.set(module, this.#readBtf(module));
    return this.#btf.get(module);
  }

  #readBtf(module: TraitModule): Btf | undefined {
    if (module === 'vmlinux') return readBtf(`${this.#root}${BTF}/vmlinux`);
    if (!this.#moduleBtf) return undefined;
    const vmlinux = this.#btfOf('vmlinux');
    if (isInImage(module, this.#root)) return vmlinux;
    return readBtf(`${this.#root}${BTF}/${module}`, vmlinux);
  }
}

/** @returns undefined where there is none, or none that can be read */
function readBtf(file: string, base?: Btf): Btf | undefined {
  try {
    return new Btf(readFileSync(file), base);
  } catch {
    return undefined;
  }
}

/** The traits of this host, derived again when a module is loaded or unloaded. */
export class HostTraits {
  derived: readonly DerivedTrait[] = [];
  values: Traits = NO_TRAITS;
  #from: readonly (number | undefined)[] = [];

  /** @param loading which loading of each module there is */
  update(loading: readonly (number | undefined)[], kernel: RunningKernel): void {
    const isSame = loading.every((one, i) => one === this.#from[i]);
    if (isSame && this.derived.length > 0) return;
    this.#from = loading;
    this.derived = derivedOn(kernel);
    this.values = valuesOf(this.derived);
  }
}

/** What shows each trait of the running kernel. */
export function derivedOn(kernel: RunningKernel): DerivedTrait[] {
  return TRAIT_NAMES.map((name) => ofImage(kernel).get(name) ?? deriveTrait(name, kernel));
}

/** Of the kernel itself: no module changes them, so they are derived once. */
let imageDerived: ReadonlyMap<TraitName, DerivedTrait> | undefined;

function ofImage(kernel = new RunningKernel(false)): ReadonlyMap<TraitName, DerivedTrait> {
  imageDerived ??= new Map(
    TRAIT_NAMES.filter((name) => TRAITS[name].module === 'vmlinux').map((name) => [
      name,
      deriveTrait(name, kernel),
    ]),
  );
  return imageDerived;
}

/** Whether the running kernel itself has a trait, whatever its modules are. */
export function imageHas(
  name: 'linksCanBePinned' | 'linksCountMisses' | 'namesAreIndexed',
): boolean | undefined {
  return ofImage().get(name)?.value;
}
