// SPDX-License-Identifier: Apache-2.0
/**
 * Reads from the sources of a kernel what the tables of the agent ask for, and writes it to a file of kernels/.
 *
 *     node test/kernel-sources/read.ts test/kernel-sources/kernels/el-9.6.json PATH/TO/GIT
 *
 * The file exists already, with the fields of SourceName written by hand; all others are replaced.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { type CSymbol, findSymbol, hasField, stripped } from './c-source.ts';
import { type SourceKernel, type SourceName, searchedNames } from './source-kernel.ts';

/** The files of each module. Other modules in drivers/vfio have functions of the same names. */
const FILES: Readonly<Record<string, RegExp>> = {
  mdev: /^(drivers\/vfio\/mdev\/\w+\.[ch]|include\/linux\/mdev\.h)$/,
  vfio: /^(drivers\/vfio\/(?!vfio_iommu_|vfio_spapr)\w+\.[ch]|include\/linux\/vfio\.h)$/,
  kvm: /^(virt\/kvm\/kvm_main\.c|arch\/x86\/kvm\/x86\.c)$/,
  iommufd: /^drivers\/iommu\/iommufd\/main\.c$/,
  vmlinux:
    /^(kernel\/(kallsyms|notifier|module|module\/main|bpf\/syscall)\.c|include\/uapi\/linux\/bpf\.h)$/,
};
const DIRECTORIES = [
  'drivers/vfio',
  'drivers/iommu',
  'include',
  'kernel',
  'lib',
  'virt',
  'arch/x86/kvm',
];

const [file, repository] = process.argv.slice(2);
const {
  system,
  short,
  release,
  repository: url,
  commit,
} = JSON.parse(readFileSync(file, 'utf8')) as SourceName;
const git = (...argv: readonly string[]) =>
  execFileSync('git', ['-C', repository, ...argv], { encoding: 'utf8', maxBuffer: 1 << 28 });
const names = git('ls-tree', '-r', '--name-only', commit, ...DIRECTORIES).split('\n');
const read = (name: string) => git('show', `${commit}:${name}`);
const sources = new Map(
  Object.entries(FILES).map(([module, pattern]) => [
    module,
    names
      .filter((name) => pattern.test(name))
      .map((name) => ({ name, text: stripped(read(name)) })),
  ]),
);
const searched = searchedNames();
const kernel: SourceKernel = {
  ...{ system, short, release, repository: url, commit },
  ringBuffer: /\bBPF_MAP_TYPE_RINGBUF\b/.test(read('include/uapi/linux/bpf.h')),
  moduleBtf: /^config DEBUG_INFO_BTF_MODULES$/m.test(read('lib/Kconfig.debug')),
  symbols: lookUp(searched.symbols, searchSymbol),
  types: lookUp(searched.types, (module, name) => {
    const [struct, ...path] = name.split('.');
    return hasField(texts(module), struct, path.join('.'));
  }),
};
writeFileSync(file, `${JSON.stringify(kernel, null, 2)}\n`);

function lookUp<T>(
  wanted: ReadonlyMap<string, ReadonlySet<string>>,
  find: (module: string, name: string) => T,
): Record<string, Record<string, T>> {
  const modules = [...wanted].map(([module, all]) => {
    const found = [...all].sort().map((name) => [name, find(module, name)] as const);
    return [module, Object.fromEntries(found)] as const;
  });
  return Object.fromEntries(modules);
}

/** @param pattern of the files, all where it is left out */
function texts(module: string, pattern = /./): string[] {
  const files = sources.get(module) ?? [];
  return files.filter(({ name }) => pattern.test(name)).map(({ text }) => text);
}

function searchSymbol(module: string, name: string): CSymbol | null {
  const code = texts(module, /\.c$/);
  const call = /^__x64_sys_(\w+)$/.exec(name)?.[1];
  if (call === undefined) return findSymbol(code, name) ?? null;
  // arch/x86/include/asm/syscall_wrapper.h defines it, for x86-64.
  const isDefined = code.some((text) =>
    new RegExp(`^SYSCALL_DEFINE\\d\\(${call},`, 'm').test(text),
  );
  return isDefined ? { parameters: ['struct pt_regs *'], kept: true } : null;
}
