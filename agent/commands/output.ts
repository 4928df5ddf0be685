/**
 * The standard output and standard error of commands. What is printed is the answer that was asked for: when
 * it cannot be written, as to a full disk, the command has failed.
 */
import { writeSync } from 'node:fs';
import { codeOf } from '../../src/errors.ts';
import { UserProblem } from '../../src/problem.ts';

/** ms until a descriptor that does not block is tried again. */
const RETRY_MS = 10;
/** Characters that are gathered before they are written. */
const CHUNK = 1 << 16;

const never = new Int32Array(new SharedArrayBuffer(4));

/** As one object, so that tests can listen. */
export const output = {
  /** Writes a text and a line break, all of it before it returns. @throws {UserProblem} */
  print(text: string): void {
    try {
      writeAll(1, `${text}\n`);
    } catch (error) {
      throw new UserProblem(
        'output.unwritable',
        `cannot write to the standard output: ${codeOf(error)}`,
        'make room, or read the output to its end; nothing of the rest was written',
        { cause: error },
      );
    }
  },

  /** Writes a line to standard error; there is nowhere to report that this failed. */
  complain(text: string): void {
    try {
      writeAll(2, `${text}\n`);
    } catch {}
  },
};

/** Prints lines, which together may be longer than a string can be. @throws {UserProblem} */
export function printLines(lines: Iterable<string>): void {
  let waiting: string[] = [];
  let length = 0;
  for (const line of lines) {
    waiting.push(line);
    length += line.length;
    if (length < CHUNK) continue;
    output.print(waiting.join('\n'));
    [waiting, length] = [[], 0];
  }
  if (waiting.length > 0) output.print(waiting.join('\n'));
}

/** Lines of `JSON.stringify(value, null, 2)`, an element of an array or iterable at a time. */
export function* jsonLines(value: Readonly<Record<string, unknown>>): Generator<string> {
  const entries = Object.entries(value).filter(([, part]) => part !== undefined);
  yield '{';
  for (const [i, [key, part]] of entries.entries()) {
    const comma = i < entries.length - 1 ? ',' : '';
    const start = `  ${JSON.stringify(key)}: `;
    if (isList(part)) yield* listLines(start, part, comma);
    else yield `${start}${JSON.stringify(part, null, 2).replaceAll('\n', '\n  ')}${comma}`;
  }
  yield '}';
}

function* listLines(start: string, list: Iterable<unknown>, comma: string): Generator<string> {
  let previous: string | undefined;
  for (const element of list) {
    yield previous === undefined ? `${start}[` : `${previous},`;
    previous = `    ${(JSON.stringify(element, null, 2) ?? 'null').replaceAll('\n', '\n    ')}`;
  }
  if (previous === undefined) yield `${start}[]${comma}`;
  else yield* [previous, `  ]${comma}`];
}

function isList(value: unknown): value is Iterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.iterator in value;
}

function writeAll(fd: number, text: string): void {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(fd, bytes, at);
    } catch (error) {
      if (codeOf(error) !== 'EAGAIN') throw error;
      Atomics.wait(never, 0, 0, RETRY_MS);
    }
  }
}
