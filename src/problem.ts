/** Failures that the user can fix: each has a stable code, a message and a next step, and no stack trace. */
import { plainLine } from './plain.ts';
import type { ProblemCode } from './problem-codes.ts';

/** A failure as data, for JSON documents and logs. */
export interface Problem {
  /** Never changes its meaning; docs/errors.md lists all codes. */
  readonly code: ProblemCode;
  /** What is wrong, and with which object. */
  readonly message: string;
  /** What to do next. */
  readonly next: string;
}

export class UserProblem extends Error implements Problem {
  readonly code: ProblemCode;
  readonly next: string;

  constructor(code: ProblemCode, message: string, next: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'UserProblem';
    this.code = code;
    this.next = next;
  }
}

/** A copy without the stack trace. */
export function problemData({ code, message, next }: Problem): Problem {
  return { code, message, next };
}

/** As a command prints it to stderr: two lines, whatever arguments and files have in them. */
export function problemText({ code, message, next }: Problem): string {
  return `error[${code}]: ${plainLine(message)}\n  what to do: ${plainLine(next)}`;
}
