// SPDX-License-Identifier: Apache-2.0

/** Exit codes of the lab itself, the ones that timeout(1) uses. */
export const EXIT_TIMEOUT = 124;
export const EXIT_LAB_FAILED = 125;
export const EXIT_NOT_EXECUTABLE = 126;
export const EXIT_NOT_FOUND = 127;

/** A failure that is explained to a person: what, where, what to do. Printed without a stack trace. */
export class LabError extends Error {
  override readonly name = 'LabError';
  readonly exitCode: number;

  constructor(message: string, exitCode: number = EXIT_LAB_FAILED) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** The error code that Node attaches to system errors, such as ENOENT. */
export function errorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string'
    ? error.code
    : undefined;
}
