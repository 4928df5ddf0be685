// SPDX-License-Identifier: Apache-2.0
/** Finds the programs that shell text starts. */
import { type CommandArgument, forEachChild, parse, type SyntaxNode } from 'unbash';

/** What a text may have in the place of a part that only the program around it knows. */
const PLACEHOLDER = /^[\u{e000}-\u{f8ff}]/u;

export interface Found {
  readonly programs: Set<string>;
  /** Placeholders that stand where a program is named: in shell text, or as the first of some words. */
  readonly unknown: Map<string, 'shell' | 'words'>;
}

/** What runs in the shell itself, in dash or in bash. */
const BUILTINS = new Set(
  (
    '. : [ alias bg break builtin cd command continue declare echo eval exec exit export false fg getopts hash ' +
    'help jobs kill let local mapfile printf pwd read readarray readonly return set shift shopt ' +
    'source test times trap true type typeset ulimit umask unset wait'
  ).split(' '),
);

/**
 * Programs and builtins that start what their last words name: which of their options take a word of
 * their own, and how many other words come first.
 */
const WRAPPERS: Readonly<Record<string, { options?: RegExp; words?: number }>> = {
  chroot: { words: 1 },
  command: {},
  env: { options: /^-[uCS]$/ },
  exec: { options: /^-a$/ },
  flock: { options: /^-[wE]$/, words: 1 },
  nice: { options: /^-n$/ },
  nohup: {},
  setpriv: { options: /^--(pdeathsig|reuid|regid)$/ },
  sudo: { options: /^-u$/ },
  timeout: { options: /^-[sk]$/, words: 1 },
  unshare: { options: /^--propagation$/ },
  xargs: { options: /^-[nPI]$/ },
};

/** Functions of a script that run their own words, and how many words they take off before. */
type Functions = Map<string, number | undefined>;

/**
 * The programs that a shell text starts, those of texts that it hands to other shells included.
 * @param sourced the text of a script that it reads in first
 */
export function programsOfShell(text: string, sourced = ''): Found {
  const found = nothing();
  const functions: Functions = new Map();
  const script = parse(text);
  for (const one of [parse(sourced), script]) {
    visit(one, (node) => {
      if (node.type === 'Function') functions.set(node.name.value, wordsTaken(node));
    });
  }
  visit(script, (node) => {
    if (node.type !== 'Command' || node.name === undefined) return;
    addProgram([node.name.value, ...node.args.map(textOf)], functions, found);
  });
  for (const one of found.unknown.keys()) found.unknown.set(one, 'shell');
  return found;
}

/** The program that a list of words starts, and those that this one starts in turn. */
export function programsOfWords(words: readonly string[]): Found {
  const found = nothing();
  addProgram(words, new Map(), found);
  return found;
}

function nothing(): Found {
  return { programs: new Set(), unknown: new Map() };
}

function addProgram(words: readonly string[], functions: Functions, found: Found): void {
  const [name = '', ...rest] = words;
  const placeholder = PLACEHOLDER.exec(name);
  if (placeholder) found.unknown.set(placeholder[0], 'words');
  // What the shell expands is a program that the script was given, or has in a list of its own.
  if (placeholder || /[$`]/.test(name)) return;
  if (functions.has(name)) {
    const taken = functions.get(name);
    if (taken !== undefined) addProgram(rest.slice(taken), functions, found);
    return;
  }
  const program = baseOf(name);
  if (program === undefined) return;
  if (!BUILTINS.has(program)) found.programs.add(program);
  for (const text of shellTexts(program, rest)) {
    const inner = programsOfShell(text);
    for (const one of inner.programs) if (!functions.has(one)) found.programs.add(one);
    for (const one of inner.unknown.keys()) found.unknown.set(one, 'shell');
  }
  const wrapper = WRAPPERS[program];
  // What these start is never a function of the script.
  if (wrapper) addProgram(wrapped(rest, wrapper), new Map(), found);
}

/** The texts among the words of a command that a shell will run. */
function shellTexts(program: string, words: readonly string[]): string[] {
  // A trap that is ignored or reset runs nothing.
  if (program === 'trap') return words.slice(0, 1).filter((word) => word !== '-');
  if (program === 'eval') return [words.join(' ')];
  if (program !== 'sh' && program !== 'bash') return [];
  const at = words.findIndex((word) => /^-[a-z]*c$/.test(word));
  return at < 0 ? [] : words.slice(at + 1, at + 2);
}

/** The words behind the options and the words of a wrapper. */
function wrapped(
  words: readonly string[],
  { options = /^$/, words: own = 0 }: { options?: RegExp; words?: number },
): readonly string[] {
  let at = 0;
  while (at < words.length && /^(-|\w+=)/.test(words[at])) at += options.test(words[at]) ? 2 : 1;
  return words.slice(at + own);
}

/** The name of a program that is found by PATH, or in a directory of the system. */
function baseOf(name: string): string | undefined {
  if (!name.includes('/')) return name === '' ? undefined : name;
  return /^(?:\/usr(?:\/local)?)?\/s?bin\/([^/]+)$/.exec(name)?.[1];
}

/** How many words a function takes off before it runs the rest; undefined if it does not run them. */
function wordsTaken(node: SyntaxNode): number | undefined {
  let taken = 0;
  let runs = false;
  visit(node, (child) => {
    if (child.type !== 'Command' || child.name === undefined) return;
    if (child.name.value === 'shift') taken += Number(child.args.map(textOf)[0] ?? 1);
    const words = [child.name.text, ...child.args.map((word) => word.text)];
    if (words.some((word) => word === '"$@"')) runs ||= runsIt(words);
  });
  return runs ? taken : undefined;
}

/** Whether a command of a function runs the words that the function was given. */
function runsIt([name, ...rest]: readonly string[]): boolean {
  return name === '"$@"' || (Object.hasOwn(WRAPPERS, name) && rest.at(-1) === '"$@"');
}

function textOf(argument: CommandArgument): string {
  return argument.type === 'Assignment' ? argument.text : argument.value;
}

function visit(node: SyntaxNode, see: (node: SyntaxNode) => void): void {
  see(node);
  forEachChild(node, (child) => visit(child, see));
}
