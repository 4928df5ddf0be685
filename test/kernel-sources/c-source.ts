// SPDX-License-Identifier: Apache-2.0
/**
 * What C sources in the style of the kernel define: functions and fields of structures. It is no parser of C:
 * it relies on definitions that begin in the first column, and knows no macros.
 */

export interface CSymbol {
  /** The types of its parameters, without const; left out where it is a variable. */
  readonly parameters?: readonly string[];
  /** The compiler must keep it: it is not static, or something points to it. */
  readonly kept: boolean;
}

/** @returns the text without comments, literals and lines of the preprocessor */
export function stripped(text: string): string {
  return text
    .replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, ' ')
    .replace(/"(?:[^"\\\n]|\\.)*"/g, '""')
    .replace(/^[ \t]*#(?:.*\\\n)*.*$/gm, '');
}

/**
 * A function, or a variable with an initial value.
 * @param sources of one module, stripped: something in another file may point to a function
 */
export function findSymbol(sources: readonly string[], name: string): CSymbol | undefined {
  const before = `^([a-zA-Z_][^;{}()=]*)\\b${name}`;
  const definition = new RegExp(
    `${before}(?:\\(([^;{}]*)\\)[^;{}()]*\\{|(?:\\[\\w*\\])?\\s*=)`,
    'm',
  );
  const uses = new RegExp(`\\b${name}\\b(?!\\s*(\\(|=|\\[\\w*\\]\\s*=))`);
  for (const source of sources) {
    const [all, prefix, parameters] = definition.exec(source) ?? [];
    if (all === undefined) continue;
    const kept = !/\bstatic\b/.test(prefix) || sources.some((one) => uses.test(one));
    return parameters === undefined ? { kept } : { parameters: parameterTypes(parameters), kept };
  }
  return undefined;
}

/** @param list of parameters, as in a definition: each has a name */
export function parameterTypes(list: string): string[] {
  const types = list.split(',').map((one) =>
    one
      .replace(/\bconst\b/g, ' ')
      .replace(/\w+\s*$/, '')
      .replace(/\s+/g, ' ')
      .trim(),
  );
  return types.filter((type) => type !== '');
}

/** @returns whether there is a definition of that structure, and, with a path, whether it has that field */
export function hasField(sources: readonly string[], struct: string, path = ''): boolean {
  const begin = new RegExp(`^struct ${struct}\\s*\\{`, 'm');
  return sources.some((source) => {
    const found = begin.exec(source);
    if (!found) return false;
    const names = path === '' ? [] : path.split('.');
    return hasPath(bodyAt(source, found.index + found[0].length), names);
  });
}

/** The text up to the brace that closes a body which begins there. */
function bodyAt(source: string, start: number): string {
  let depth = 1;
  let at = start;
  for (; depth > 0 && at < source.length; at++) {
    if (source[at] === '{') depth++;
    else if (source[at] === '}') depth--;
  }
  return source.slice(start, at - 1);
}

/** Members without a name are looked through, as C does. */
function hasPath(body: string, [name, ...rest]: readonly string[]): boolean {
  if (name === undefined) return true;
  return members(body).some((member) => {
    const open = member.indexOf('{');
    if (open < 0) return rest.length === 0 && declares(member, name);
    const inner = member.slice(open + 1, member.lastIndexOf('}'));
    const own = /(\w*)\s*$/.exec(member.slice(member.lastIndexOf('}') + 1))?.[1];
    if (own === '') return hasPath(inner, [name, ...rest]);
    return own === name && hasPath(inner, rest);
  });
}

/** The members of a body, each without its semicolon. */
function members(body: string): string[] {
  const found: string[] = [];
  let [depth, from] = [0, 0];
  for (let at = 0; at < body.length; at++) {
    if (body[at] === '{') depth++;
    else if (body[at] === '}') depth--;
    else if (body[at] === ';' && depth === 0) {
      found.push(body.slice(from, at));
      from = at + 1;
    }
  }
  return found;
}

/** Whether a member without braces declares that name: as a field, an array, bits or a pointer to a function. */
function declares(member: string, name: string): boolean {
  return new RegExp(`[\\s*](${name})\\s*(\\[|:|,|\\)\\s*\\(|$)`).test(member);
}
