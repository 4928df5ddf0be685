/** The programs that belong to no point: one reports loaded modules, one lists open files. */
import { messageOf } from '../errors.ts';
import { type Attachment, attachTracepoint, TRACEPOINT } from './attach.ts';
import type { Pins } from './pins.ts';
import type { Unit } from './probe-loader.ts';
import { FILES_PROGRAM, SnapshotFiles } from './snapshot-files.ts';

const MODULE_LOAD = 'module_load';

export const HOST_PROGRAMS: readonly string[] = [MODULE_LOAD, FILES_PROGRAM];

export class HostPrograms {
  readonly #pins: Pins | undefined;
  #moduleLoad: Attachment | undefined;
  #snapshotFiles: SnapshotFiles | Error = new Error('open files were not listed');

  /** Takes over what an earlier agent has pinned. */
  constructor(pins: Pins | undefined) {
    this.#pins = pins;
    const site = { program: MODULE_LOAD, symbol: MODULE_LOAD, method: TRACEPOINT };
    [this.#moduleLoad] = pins?.open([site]) ?? [];
  }

  /** Lists the files of all processes; an error where the kernel refuses that. */
  get snapshotFiles(): SnapshotFiles | Error {
    return this.#snapshotFiles;
  }

  /** Only makes the arrival of a module known sooner, so doing without it is no failure. */
  moduleLoadUnits(): Unit[] {
    if (this.#moduleLoad) return [];
    const attach: Unit['attach'] = (object) => {
      try {
        this.#moduleLoad = attachTracepoint(object.program(MODULE_LOAD));
        this.#pins?.keep(MODULE_LOAD, this.#moduleLoad);
      } catch {
        // The list of modules is read every second anyway.
      }
    };
    return [{ programs: [MODULE_LOAD], attach, refused() {} }];
  }

  /** Replaces the one before. */
  filesUnit(): Unit {
    const refused = (error: unknown) => {
      this.#snapshotFiles = error instanceof Error ? error : new Error(messageOf(error));
    };
    return {
      programs: [FILES_PROGRAM],
      attach: (object) => {
        try {
          const next = SnapshotFiles.attach(object.program(FILES_PROGRAM));
          if (this.#snapshotFiles instanceof SnapshotFiles) this.#snapshotFiles.close();
          this.#snapshotFiles = next;
        } catch (error) {
          refused(error);
        }
      },
      refused,
    };
  }

  /** What is pinned is left as it is. */
  close(): void {
    if (this.#pins) this.#moduleLoad?.leave();
    else this.#moduleLoad?.detach();
    if (this.#snapshotFiles instanceof SnapshotFiles) this.#snapshotFiles.close();
  }
}
