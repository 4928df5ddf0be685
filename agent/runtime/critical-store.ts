/**
 * The file of critical violations: what the agents of one boot have found, for the next one of that boot. The
 * directory is gone with the boot where it is in /run, and the file names its boot anyway.
 */
import { lstatSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { codeOf, messageOf } from '../../src/errors.ts';
import { faults, type Schema, type Value } from '../../src/schema.ts';

const NAME = 'critical-violations.json';
/** Bytes; a hundred violations with all their evidence take less than half of it. */
const LARGEST = 8 << 20;
const FORMAT = 1;

/** What the agent itself reads of a violation that it has stored; the rest is for people. */
const VIOLATION = {
  type: 'object',
  properties: {
    id: { type: 'string' },
    rule: { type: 'string' },
    kind: { enum: ['ongoing', 'one-shot'] },
    message: { type: 'string' },
    devices: { type: 'array', items: { type: 'string' } },
    series: {
      type: 'object',
      properties: {
        ...{ device: { type: 'string' }, parent: { type: 'string' } },
        ...{ vmPid: { type: 'string' }, vmComm: { type: 'string' }, vmName: { type: 'string' } },
        ...{ holderPid: { type: 'string' }, holderComm: { type: 'string' } },
        ...{ systemdUnit: { type: 'string' }, at: { type: 'number' } },
      },
    },
  },
  additionalProperties: true,
} as const satisfies Schema;

const DOCUMENT = {
  type: 'object',
  properties: {
    format: { type: 'integer' },
    bootId: { type: 'string' },
    violations: { type: 'array', items: VIOLATION },
  },
} as const satisfies Schema;

/** A violation as the API shows it, with what its series shows. */
export type StoredViolation = Value<typeof VIOLATION> & Readonly<Record<string, unknown>>;

/** A file that was not of this boot, or not readable, and was renamed. */
export interface SetAside {
  readonly as: string;
  readonly reason: string;
}

export class CriticalStore {
  readonly #directory: string;
  readonly #bootId: string;

  constructor(directory: string, bootId: string) {
    this.#directory = directory;
    this.#bootId = bootId;
  }

  /**
   * What earlier agents of this boot have stored; makes the directory.
   * @throws {Error} with the reason why nothing can be kept there
   */
  load(): { readonly violations: readonly StoredViolation[]; readonly setAside?: SetAside } {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    const { uid, mode } = lstatSync(this.#directory);
    const isOurs = uid === process.geteuid?.() && (mode & 0o022) === 0;
    if (!isOurs) throw new Error(`others may write to ${this.#directory}`);
    const found = this.#read();
    if (found === undefined) return { violations: [] };
    if (typeof found !== 'string') return { violations: found };
    const as = `${this.#path}.set-aside`;
    renameSync(this.#path, as);
    return { violations: [], setAside: { as, reason: found } };
  }

  /** @throws when it cannot be written */
  save(violations: readonly StoredViolation[]): void {
    const fresh = `${this.#path}.new`;
    const document = { format: FORMAT, bootId: this.#bootId, violations };
    // A file that a killed agent left is not written through, whatever it is by now.
    rmSync(fresh, { force: true });
    writeFileSync(fresh, JSON.stringify(document), { mode: 0o600, flag: 'wx' });
    renameSync(fresh, this.#path);
  }

  get #path(): string {
    return path.join(this.#directory, NAME);
  }

  /** @returns undefined if there is no file, and the reason as text if it cannot be used */
  #read(): readonly StoredViolation[] | string | undefined {
    try {
      const { size } = lstatSync(this.#path);
      if (size > LARGEST) return `it has ${size} bytes`;
      const document: unknown = JSON.parse(readFileSync(this.#path, 'utf8'));
      const [fault] = faults(DOCUMENT, document);
      if (fault) return `${fault.path.join('.') || 'its content'} ${fault.message}`;
      const { format, bootId, violations } = document as Value<typeof DOCUMENT>;
      if (format !== FORMAT) return `its format is ${format}, not ${FORMAT}`;
      if (bootId !== this.#bootId) return 'it is of another boot';
      return violations as readonly StoredViolation[];
    } catch (error) {
      return codeOf(error) === 'ENOENT' ? undefined : messageOf(error);
    }
  }
}
