/** Derives the traits of the running kernel from its symbols and its BTF: the table is in src/events/traits.ts. */
import { readFileSync } from 'node:fs';
import { messageOf } from '../errors.ts';
import {
  type DerivedTrait,
  deriveTrait,
  deriveTraits,
  type Evidence,
  type KernelContents,
  NO_TRAITS,
  TRAITS,
  type TraitModule,
  type Traits,
  traitsOf,
  valuesOf,
} from '../events/traits.ts';
import { Btf } from './btf.ts';
import { isInImage, isInTransit, isLoadedModule } from './kernel-modules.ts';
import { KALLSYMS, KernelSymbols } from './kernel-symbols.ts';

const BTF = '/sys/kernel/btf';

/** The running kernel. What it has is read when it is asked for, and once. */
export class RunningKernel implements KernelContents {
  readonly #moduleBtf: boolean;
  readonly #root: string;
  #symbols: KernelSymbols | Error | undefined;
  readonly #btf = new Map<TraitModule, Btf | undefined>();

  /** @param moduleBtf whether BTF of modules may be used */
  constructor(moduleBtf: boolean, root = '') {
    this.#moduleBtf = moduleBtf;
    this.#root = root;
  }

  unknown(module: TraitModule): string | undefined {
    if (module === 'vmlinux') return undefined;
    const isThere = isLoadedModule(module, this.#root) || isInImage(module, this.#root);
    if (!isThere || isInTransit(module, this.#root)) return `the module ${module} is not loaded`;
    const symbols = this.#readSymbols();
    return symbols instanceof Error ? messageOf(symbols) : undefined;
  }

  shows(module: TraitModule, evidence: Evidence): boolean {
    switch (evidence.kind) {
      case 'symbol':
        return this.#hasSymbol(module, evidence.name) === evidence.exists;
      case 'struct':
        return this.#btfOf(module)?.hasStruct(evidence.name) === evidence.exists;
      case 'field':
        return this.#btfOf(module)?.hasField(evidence.struct, evidence.path) === evidence.exists;
      case 'noBtf':
        return this.#btfOf(module) === undefined;
    }
  }

  /** @returns undefined where that cannot be read */
  #hasSymbol(module: TraitModule, name: string): boolean | undefined {
    // All names of the kernel are many, and its BTF is read anyway.
    if (module === 'vmlinux') return this.#btfOf(module)?.hasFunction(name);
    const symbols = this.#readSymbols();
    if (symbols instanceof Error) return undefined;
    const of = isInImage(module, this.#root) ? undefined : module;
    return symbols.address(name, of) !== undefined;
  }

  #readSymbols(): KernelSymbols | Error {
    this.#symbols ??= attempt(() => KernelSymbols.read(this.#root));
    return this.#symbols;
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
  readonly #moduleBtf: boolean;
  #from: readonly (number | undefined)[] = [];

  /** @param moduleBtf whether BTF of modules may be used */
  constructor(moduleBtf: boolean) {
    this.#moduleBtf = moduleBtf;
  }

  /** Reads all names of the kernel where that is needed. @param loading which loading of each module there is */
  update(loading: readonly (number | undefined)[]): void {
    const isSame = loading.every((one, i) => one === this.#from[i]);
    if (isSame && this.derived.length > 0) return;
    this.#from = loading;
    this.derived = deriveTraits(new RunningKernel(this.#moduleBtf));
    this.values = valuesOf(this.derived);
  }
}

let ofImage: Traits | undefined;

/** The traits of the running kernel itself, which no module changes; all others are undefined here. */
export function imageTraits(): Traits {
  if (!ofImage) {
    const kernel = new RunningKernel(false);
    ofImage = traitsOf((name) =>
      TRAITS[name].module === 'vmlinux' ? deriveTrait(name, kernel).value : undefined,
    );
  }
  return ofImage;
}

function attempt<T>(read: () => T): T | Error {
  try {
    return read();
  } catch (error) {
    return new Error(`cannot read ${KALLSYMS}: ${messageOf(error)}`, { cause: error });
  }
}
