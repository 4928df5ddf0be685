/**
 * Where functions are. Kernels before 6.2 find a name by reading all that they have, several
 * times for each probe (6.1 later learned better): on those all names are read once, and
 * probes are asked for by address.
 */
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { isSince } from './host.ts';
import { isInImage, isLoadedModule } from './kernel-modules.ts';
import { SystemError } from './os.ts';
import type { Hook } from './probe-point.ts';
import { PROBE_MODULES } from './probe-table.ts';

const SYMBOLS = '/proc/kallsyms';
const HIDDEN = /^0+$/;

/** The function of a hook, as the kernel takes it: a name, or an address as 0x…. @throws with code ENOENT */
export type Naming = (module: string, hook: Hook) => string;

/** "module:function", because static ones of several modules may share a name. */
export const byName: Naming = (module, { symbol, core, of = module }) =>
  core ? symbol : `${of}:${symbol}`;

/**
 * What is quicker on this kernel. Addresses hold as long as the modules stay loaded; with a
 * module that is loaded again its points are opened again, so they are never kept.
 */
export function naming(): Naming {
  const name = quickest();
  // What is built in is found where the kernel's own functions are.
  const builtIn = new Set<string>(PROBE_MODULES.filter((module) => isInImage(module)));
  return (module, hook) => {
    const isBuiltIn = hook.of ? !isLoadedModule(hook.of) : builtIn.has(module);
    return name(module, isBuiltIn ? { ...hook, core: true } : hook);
  };
}

function quickest(): Naming {
  if (isSince([6, 1])) return byName;
  try {
    return byAddress(readFileSync(SYMBOLS, 'latin1'));
  } catch {
    return byName;
  }
}

/**
 * @param symbols lines as "address type name", followed by a tab and [module] where it is of
 * one; those of modules last
 */
export function byAddress(symbols: string): Naming {
  const [core, ofModules] = split(symbols, symbols.lastIndexOf('\n', symbols.indexOf('\t[')));
  return (module, hook) => {
    const { symbol, of = module } = hook;
    const text = hook.core ? core : ofModules;
    const at = text.indexOf(hook.core ? ` ${symbol}\n` : ` ${symbol}\t[${of}]\n`);
    if (at >= 0) {
      const address = text.slice(text.lastIndexOf('\n', at) + 1, at).split(' ', 1)[0];
      return HIDDEN.test(address) ? byName(module, hook) : `0x${address}`;
    }
    // A compiler may have added to the name what the kernel leaves out when it compares.
    if (text.includes(` ${symbol}.`)) return byName(module, hook);
    throw new SystemError(`${symbol} is not in ${SYMBOLS}`, constants.errno.ENOENT);
  };
}

function split(text: string, at: number): [string, string] {
  return at < 0 ? [text, ''] : [text.slice(0, at + 1), text.slice(at)];
}
