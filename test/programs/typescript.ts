// SPDX-License-Identifier: Apache-2.0
/**
 * Finds the programs that TypeScript starts: on this machine by node:child_process and by helpers on
 * top of it, in the lab's VM by the lab's methods. What a call starts must be written where it is
 * called, or in a constant of the same file; a function that starts what it is given is known by
 * {@link LAUNCHERS}, or private to its file. A comment before the statement names what cannot be
 * found, as in "// programs: make, unshare", or "// programs: none (…)" for what no package brings.
 * Anything else is a problem, so that no program stays hidden.
 */
import { parseAst } from 'rolldown/parseAst';
import { type Found, programsOfShell, programsOfWords } from './shell.ts';

/** What an argument of a launcher is: a program, a list of words, or text for a shell. */
type Kind = 'program' | 'words' | 'shell';

/** A function or method that starts what it is given. */
interface Launcher {
  /** The end of the text before the parenthesis of a call. */
  readonly call: RegExp;
  readonly kind: Kind;
  /** Which of its arguments that is. */
  readonly argument: number;
}

const launcher = (call: RegExp, kind: Kind, argument = 0): Launcher => ({ call, kind, argument });

const LAUNCHERS: readonly Launcher[] = [
  launcher(/^(spawn|spawnSync|execFile|execFileSync|promisify\(execFile\))$/, 'program'),
  launcher(/^(exec|execSync)$/, 'shell'),
  launcher(/^command$/, 'program'),
  launcher(/^Daemon\.start$/, 'program'),
  launcher(/(^|[.#])vm\.(run|start)$/i, 'words'),
  launcher(/\.(sh|try)$/, 'shell'),
  launcher(/\.by$/, 'shell', 1),
];

export interface Started {
  readonly programs: ReadonlySet<string>;
  /** Calls of which it cannot be determined what they start, with their lines. */
  readonly problems: readonly string[];
}

/** The used fields of a node of the syntax tree. */
interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [name: string]: unknown;
}

export function programsOfTypeScript(source: string): Started {
  return new Finder(source).find();
}

/** The first of the code points that no text has, for what cannot be determined. */
const PRIVATE_USE = 0xe000;
/** So many constants that are made of each other are followed. */
const DEPTH = 5;

class Finder {
  readonly #source: string;
  readonly #programs = new Set<string>();
  readonly #problems = new Set<string>();
  readonly #launchers: Launcher[] = [...LAUNCHERS];
  /** What constants of the file are, by name; those of several scopes together. */
  readonly #constants = new Map<string, Node[]>();
  /** The values of the placeholders, in the current call. */
  readonly #unknown: Node[] = [];
  /** The path from the file down to the current node. */
  readonly #path: Node[] = [];

  constructor(source: string) {
    this.#source = source;
  }

  find(): Started {
    const tree = parseAst(this.#source, { lang: 'ts' }) as unknown as Node;
    this.#walk(tree, (node) => {
      const { id, init } = node as { id?: Node; init?: Node };
      if (node.type !== 'VariableDeclarator' || id?.type !== 'Identifier' || !init) return;
      const name = `${id.name}`;
      this.#constants.set(name, [...(this.#constants.get(name) ?? []), init]);
    });
    // A call may show that the function around it is a launcher: then its calls are searched, too.
    let known: number;
    do {
      known = this.#launchers.length;
      this.#problems.clear();
      this.#walk(tree, (node) => this.#see(node));
    } while (this.#launchers.length > known);
    return { programs: this.#programs, problems: [...this.#problems] };
  }

  #see(node: Node): void {
    const { type, key, value } = node as Node & { key?: Node; value?: Node };
    if (type === 'CallExpression') this.#call(node);
    else if (type === 'ArrayExpression') this.#shellOf(node);
    else if (type === 'Property' && key?.name === 'command' && value?.type === 'ArrayExpression') {
      for (const words of this.#wordsOf(value)) this.#take(node, programsOfWords(words));
    }
  }

  #call(node: Node): void {
    const callee = this.#text(node.callee as Node).replaceAll(/\s|<[^>]*>$/g, '');
    for (const { call, kind, argument } of this.#launchers) {
      const given = (node.arguments as Node[])[argument];
      if (!call.test(callee) || given === undefined) continue;
      this.#unknown.length = 0;
      if (kind === 'words') {
        for (const words of this.#wordsOf(given)) this.#take(node, programsOfWords(words));
      } else if (kind === 'shell') {
        for (const text of this.#textsOf(given)) this.#take(node, programsOfShell(text));
      } else {
        const rest = (node.arguments as Node[])[argument + 1];
        const more = rest?.type === 'ArrayExpression' ? this.#wordsOf(rest) : [[]];
        const programs = this.#textsOf(given).map((text) => [text]);
        for (const words of product(programs, more)) {
          this.#take(node, programsOfWords(words), 'program');
        }
      }
    }
  }

  /** The text behind `sh -c` in any list of words, wherever that is started. */
  #shellOf(node: Node): void {
    this.#unknown.length = 0;
    for (const words of this.#wordsOf(node)) {
      const at = words.findIndex((word) => word === 'sh' || word === 'bash');
      if (at < 0 || !words[at + 1]?.startsWith('-')) continue;
      this.#take(node, programsOfWords(words.slice(at)));
    }
  }

  /** @param alone what a word is that is not in a list of words */
  #take(node: Node, { programs, unknown }: Found, alone: Kind = 'words'): void {
    const noted = this.#noted(node.start);
    for (const program of noted ?? programs) this.#programs.add(program);
    if (noted) return;
    for (const [character, kind] of unknown) {
      const one = this.#unknown[character.charCodeAt(0) - PRIVATE_USE];
      if (this.#isGiven(one, kind === 'words' ? alone : kind)) continue;
      const line = this.#source.slice(0, node.start).split('\n').length;
      this.#problems.add(`line ${line}: cannot determine which program ${this.#text(one)} is`);
    }
  }

  /** Whether the callers of the function around it give it, and are searched for that reason. */
  #isGiven(one: Node, kind: Kind): boolean {
    if (one.type !== 'Identifier') return false;
    for (const [i, node] of [...this.#path.entries()].reverse()) {
      const argument = parametersOf(node).indexOf(`${one.name}`);
      if (argument < 0) continue;
      const { name, isPrivate } = this.#nameOf(node, i);
      const has = this.#launchers.some(
        (known) => known.argument === argument && known.call.test(name),
      );
      if (has || !isPrivate) return has;
      const call = new RegExp(`^${name.replace('.', '\\.')}$`);
      this.#launchers.push({ call, kind, argument });
      return true;
    }
    return false;
  }

  /** How a function is called, and whether only by its own file. */
  #nameOf(node: Node, at: number): { readonly name: string; readonly isPrivate: boolean } {
    const parent = this.#path[at - 1];
    const owner = this.#path.findLast((one) => one.type === 'ClassDeclaration');
    if (parent?.type === 'MethodDefinition') {
      const key = parent.key as Node;
      const before = parent.static ? `${(owner?.id as Node | undefined)?.name}` : 'this';
      const isPrivate = key.type === 'PrivateIdentifier';
      return { name: `${before}.${isPrivate ? '#' : ''}${key.name}`, isPrivate };
    }
    const isPrivate = !this.#path.some(({ type }) => type === 'ExportNamedDeclaration');
    const id = parent?.type === 'VariableDeclarator' ? parent.id : node.id;
    return { name: `${(id as Node | undefined)?.name ?? ''}`, isPrivate };
  }

  /** What a comment just before a statement says that it starts. */
  #noted(start: number): string[] | undefined {
    const before = this.#source.slice(0, start).split('\n').slice(-6).join('\n');
    const note = /\/\/ programs: ([^\n]*)(?:\n[^;}]*)?$/.exec(before)?.[1];
    if (note === undefined) return undefined;
    return note.startsWith('none') ? [] : note.split(/,\s*/);
  }

  /** The lists of words that an expression may be. */
  #wordsOf(node: Node, depth = 0): string[][] {
    switch (node.type) {
      case 'ArrayExpression':
        return (node.elements as (Node | null)[]).reduce<string[][]>(
          (all, element) => {
            if (element === null) return all;
            const more =
              element.type === 'SpreadElement'
                ? this.#wordsOf(element.argument as Node, depth)
                : this.#textsOf(element, depth).map((text) => [text]);
            return product(all, more);
          },
          [[]],
        );
      case 'ConditionalExpression':
        return branches(node).flatMap((one) => this.#wordsOf(one, depth));
      case 'TSAsExpression':
        return this.#wordsOf(node.expression as Node, depth);
      case 'CallExpression':
        return this.#mapped(node, depth) ?? [[this.#placeholder(node)]];
      case 'Identifier':
        return (
          this.#resolved(node, depth)?.flatMap((one) => this.#wordsOf(one, depth + 1)) ?? [
            [this.#placeholder(node)],
          ]
        );
      default:
        return [[this.#placeholder(node)]];
    }
  }

  /** The texts that an expression may be. */
  #textsOf(node: Node, depth = 0): string[] {
    switch (node.type) {
      case 'Literal':
        return [`${node.value}`];
      case 'TemplateLiteral':
        return this.#filled(node, depth);
      case 'BinaryExpression': {
        const right = this.#textsOf(node.right as Node, depth);
        const left = this.#textsOf(node.left as Node, depth);
        return left.flatMap((text) => right.map((more) => text + more));
      }
      case 'ConditionalExpression':
        return branches(node).flatMap((one) => this.#textsOf(one, depth));
      case 'MemberExpression':
        return [this.#text(node) === 'process.execPath' ? 'node' : this.#placeholder(node)];
      case 'CallExpression':
        return this.#joined(node, depth) ?? [this.#placeholder(node)];
      case 'Identifier':
        return (
          this.#resolved(node, depth)?.flatMap((one) => this.#textsOf(one, depth + 1)) ?? [
            this.#placeholder(node),
          ]
        );
      default:
        return [this.#placeholder(node)];
    }
  }

  #filled({ quasis, expressions }: Node, depth: number): string[] {
    const [first, ...rest] = (quasis as { value: { cooked: string } }[]).map(
      ({ value }) => value.cooked,
    );
    return (expressions as Node[]).reduce<string[]>(
      (texts, expression, i) => {
        const parts = this.#textsOf(expression, depth);
        return texts.flatMap((text) => parts.map((part) => text + part + rest[i]));
      },
      [first],
    );
  }

  /** A list that is put together to one text. */
  #joined(node: Node, depth: number): string[] | undefined {
    const { object, property } = node.callee as { object?: Node; property?: Node };
    if (!object || property?.name !== 'join') return undefined;
    const [glue] = node.arguments as Node[];
    const [between = ','] = glue ? this.#textsOf(glue, depth) : [];
    return this.#wordsOf(object, depth).map((words) => words.join(between));
  }

  /** A list of which each text is made in the same way: one of them stands for all. */
  #mapped(node: Node, depth: number): string[][] | undefined {
    const { property } = node.callee as { property?: Node };
    const [make] = node.arguments as Node[];
    if (property?.name !== 'map' || make?.type !== 'ArrowFunctionExpression') return undefined;
    const body = make.body as Node;
    if (body.type === 'BlockStatement') return undefined;
    return this.#textsOf(body, depth).map((text) => [text]);
  }

  /** What a constant is. A parameter is none, also when a constant elsewhere has its name. */
  #resolved({ name }: Node, depth: number): readonly Node[] | undefined {
    if (this.#path.some((node) => parametersOf(node).includes(`${name}`))) return undefined;
    return depth > DEPTH ? undefined : this.#constants.get(`${name}`);
  }

  #placeholder(node: Node): string {
    return String.fromCharCode(PRIVATE_USE + this.#unknown.push(node) - 1);
  }

  #text({ start, end }: Node): string {
    return this.#source.slice(start, end);
  }

  #walk(node: Node, see: (node: Node) => void): void {
    see(node);
    this.#path.push(node);
    for (const value of Object.values(node)) {
      for (const child of Array.isArray(value) ? value : [value]) {
        if (child !== null && typeof child === 'object' && 'type' in child) {
          this.#walk(child as Node, see);
        }
      }
    }
    this.#path.pop();
  }
}

/** The names of a function's parameters, in order; nothing for other nodes, and for other patterns. */
function parametersOf(node: Node): string[] {
  const isFunction = /^(Arrow)?Function(Expression|Declaration)?$/.test(node.type);
  if (!isFunction) return [];
  return (node.params as Node[]).map((parameter) => {
    const inner = parameter.left ?? parameter.argument ?? parameter;
    return `${(inner as Node).name}`;
  });
}

function branches({ consequent, alternate }: Node): Node[] {
  return [consequent as Node, alternate as Node];
}

function product(left: readonly string[][], right: readonly string[][]): string[][] {
  return left.flatMap((words) => right.map((more) => [...words, ...more]));
}
