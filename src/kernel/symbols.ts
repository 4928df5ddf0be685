/**
 * Where functions are. A kernel whose names are not indexed finds one by reading all that it has, several
 * times for each probe: there all names are read once, and probes are asked for by address.
 */
import { constants } from 'node:os';
import type { Traits } from '../events/traits.ts';
import { isInImage, isLoadedModule } from './kernel-modules.ts';
import { KALLSYMS, type KernelSymbols } from './kernel-symbols.ts';
import { SystemError } from './os.ts';
import type { Hook } from './probe-point.ts';
import { PROBE_MODULES } from './probe-table.ts';

const HIDDEN = /^0+$/;

/** The function of a hook, as the kernel takes it: a name, or an address as 0x…. @throws with code ENOENT */
export type Naming = (module: string, hook: Hook) => string;

/** "module:function", because static ones of several modules may share a name. */
export const byName: Naming = (module, { symbol, core, of = module }) =>
  core ? symbol : `${of}:${symbol}`;

/**
 * What is quicker on this kernel. Addresses hold as long as the modules stay loaded; with a
 * module that is loaded again its points are opened again, so they are never kept.
 * @param readSymbols gives undefined where they cannot be read
 */
export function naming(
  { namesAreIndexed }: Pick<Traits, 'namesAreIndexed'>,
  readSymbols: () => KernelSymbols | undefined,
): Naming {
  const symbols = namesAreIndexed ? undefined : readSymbols();
  const name = symbols ? byAddress(symbols) : byName;
  // What is built in is found where the kernel's own functions are.
  const builtIn = new Set<string>(PROBE_MODULES.filter((module) => isInImage(module)));
  return (module, hook) => {
    const isBuiltIn = hook.of ? !isLoadedModule(hook.of) : builtIn.has(module);
    return name(module, isBuiltIn ? { ...hook, core: true } : hook);
  };
}

export function byAddress(symbols: KernelSymbols): Naming {
  return (module, hook) => {
    const { symbol, core = false, of = module } = hook;
    const address = symbols.address(symbol, core ? undefined : of);
    if (address !== undefined) return HIDDEN.test(address) ? byName(module, hook) : `0x${address}`;
    // A compiler may have added to the name what the kernel leaves out when it compares.
    if (symbols.isExtended(symbol, core)) return byName(module, hook);
    throw new SystemError(`${symbol} is not in ${KALLSYMS}`, constants.errno.ENOENT);
  };
}
