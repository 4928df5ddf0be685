/** The names that the kernel and its modules have, by /proc/kallsyms. */
import { readFileSync } from 'node:fs';

export const KALLSYMS = '/proc/kallsyms';

export class KernelSymbols {
  readonly #core: string;
  readonly #ofModules: string;

  /**
   * @param text lines as "address type name", followed by a tab and [module] where it is of
   * one; those of modules last
   */
  constructor(text: string) {
    const end = text.lastIndexOf('\n', text.indexOf('\t[')) + 1;
    [this.#core, this.#ofModules] = end > 0 ? [text.slice(0, end), text.slice(end)] : [text, ''];
  }

  /** Takes some 100 ms. @throws when it cannot be read */
  static read(root = ''): KernelSymbols {
    return new KernelSymbols(readFileSync(`${root}${KALLSYMS}`, 'latin1'));
  }

  /**
   * The address of a name in hexadecimal, all zeros where addresses are hidden; undefined where there is no
   * such name.
   * @param module left out for a name of the kernel image
   */
  address(name: string, module?: string): string | undefined {
    const text = module === undefined ? this.#core : this.#ofModules;
    const at = text.indexOf(module === undefined ? ` ${name}\n` : ` ${name}\t[${module}]\n`);
    if (at < 0) return undefined;
    return text.slice(text.lastIndexOf('\n', at) + 1, at).split(' ', 1)[0];
  }

  /** Whether the compiler has made a name longer, as in "name.isra.0". @param isCore as of {@link address} */
  isExtended(name: string, isCore: boolean): boolean {
    return (isCore ? this.#core : this.#ofModules).includes(` ${name}.`);
  }
}
