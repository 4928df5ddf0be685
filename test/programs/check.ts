// SPDX-License-Identifier: Apache-2.0
/**
 * Whether the packages that a fresh machine gets have all programs that scripts, tests and the lab
 * start. Needs no root and none of the programs: it reads the sources.
 *
 *     node test/programs/check.ts
 */
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { ALERTS } from '../../dashboards/alerts/catalogue.ts';
import { isRun, STAND_INS } from '../e2e/runbooks/stand-ins.ts';
import { programsOfMakefile } from './makefile.ts';
import { programsOfShell } from './shell.ts';
import { BASE, INITRAMFS, OTHERS, PROGRAMS, packages } from './table.ts';
import { programsOfTypeScript, type Started } from './typescript.ts';

const ROOT = path.join(import.meta.dirname, '../..');
const SOURCES = ['{.ci,agent,bpf,dashboards,src,test}/**/{*.ts,*.sh,Makefile,run}', 'package.json'];
/** Its examples name programs that are not started. */
const ITSELF = 'test/programs/';
/** What test/setup.sh installs before anything else is started. */
const SET_UP = ['test/packages.txt', 'test/lab/packages.txt'];

/** Where other packages are there than what {@link SET_UP} names. */
const PLACES: readonly { readonly files: RegExp; readonly lists: readonly string[] }[] = [
  { files: /^test\/fresh\.sh$/, lists: ['test/fresh/packages.txt'] },
  { files: /^dashboards\/pictures\//, lists: [...SET_UP, 'dashboards/pictures/packages.txt'] },
  { files: /^test\/image\.sh$/, lists: [...SET_UP, 'test/image/packages.txt'] },
  {
    files: /^test\/image\/in-lab\.sh$/,
    lists: [...SET_UP, 'test/image/packages.txt', 'test/image/packages-lab.txt'],
  },
];

/** The table that holds where a file runs. */
const TABLES: readonly {
  readonly files: RegExp;
  readonly name: string;
  readonly programs: ReadonlyMap<string, string>;
}[] = [
  { files: /^test\/lab\/init\.sh$/, name: 'INITRAMFS', programs: packages(INITRAMFS) },
  { files: /./, name: 'PROGRAMS', programs: PROGRAMS },
];

/** A file that starts something. */
interface Source extends Started {
  readonly file: string;
}

/** @returns what is wrong, one line each */
export function problemsOf(
  sources: readonly Source[],
  installedBy: (list: string) => ReadonlySet<string>,
): string[] {
  const problems: string[] = [];
  const used = new Set<string>();
  for (const { file, programs, problems: unclear } of sources) {
    problems.push(...unclear.map((problem) => `${file}: ${problem}`));
    const table = TABLES.find(({ files }) => files.test(file));
    const lists = PLACES.find(({ files }) => files.test(file))?.lists ?? SET_UP;
    for (const program of programs) {
      const name = table?.programs.get(program);
      used.add(`${table?.name} ${program}`);
      if (name === undefined) {
        problems.push(`${file}: starts ${program}, which test/programs/table.ts does not have`);
      } else if (!isThere(name) && !lists.some((list) => installedBy(list).has(name))) {
        problems.push(`${file}: starts ${program} of ${name}, which is not in ${lists.join(', ')}`);
      }
    }
  }
  for (const { name, programs } of TABLES) {
    for (const program of programs.keys()) {
      if (used.has(`${name} ${program}`)) continue;
      problems.push(`test/programs/table.ts: nothing starts ${program}, which ${name} has`);
    }
  }
  return problems;
}

/** Whether a package need not be in a list. */
function isThere(name: string): boolean {
  return BASE.has(name) || Object.hasOwn(OTHERS, name) || isOfNpm(name);
}

function isOfNpm(name: string): boolean {
  if (!name.startsWith('npm:')) return false;
  const { devDependencies } = JSON.parse(read('package.json')) as {
    devDependencies: Readonly<Record<string, string>>;
  };
  return Object.hasOwn(devDependencies, name.slice('npm:'.length));
}

/** What the files of the repository start. */
export function allSources(): Source[] {
  const files = globSync(SOURCES, { cwd: ROOT })
    .filter((file) => !file.startsWith(ITSELF))
    .map((file) => ({ file, ...startedBy(file, read(file)) }));
  return [...files, ofRunbooks()];
}

/** What the commands of runbooks start where a test runs them in a VM. */
function ofRunbooks(): Source {
  const commands = ALERTS.flatMap(({ runbook }) => runbook.confirm.map(({ command }) => command));
  const texts = [...commands.filter(isRun), ...Object.values(STAND_INS)];
  const programs = texts.flatMap((text) => [...programsOfShell(text).programs]);
  const replaced = Object.keys(STAND_INS);
  return {
    file: 'dashboards/alerts',
    programs: new Set(programs.filter((program) => !replaced.includes(program))),
    problems: [],
  };
}

export function startedBy(file: string, text: string): Started {
  if (file.endsWith('.ts')) return programsOfTypeScript(text);
  if (file.endsWith('Makefile')) return { programs: programsOfMakefile(text), problems: [] };
  if (!file.endsWith('package.json')) {
    const sourced = /^\. .*\/setup\.sh"$/m.test(text) ? read('test/setup.sh') : '';
    return { programs: programsOfShell(text, sourced).programs, problems: [] };
  }
  const { scripts } = JSON.parse(text) as { scripts: Readonly<Record<string, string>> };
  const found = Object.values(scripts).flatMap((script) => [...programsOfShell(script).programs]);
  return { programs: new Set(found), problems: [] };
}

/** The packages of a list. */
export function installedBy(list: string): ReadonlySet<string> {
  return new Set(read(list).split('\n'));
}

function read(file: string): string {
  return readFileSync(path.join(ROOT, file), 'utf8');
}

if (import.meta.main) {
  const problems = problemsOf(allSources(), installedBy);
  for (const problem of problems) console.error(problem);
  if (problems.length > 0) process.exitCode = 1;
}
