/** The programs that belong to no point: they tell of modules that come, and of open files. */
import { type Attachment, attachTracepoint, TRACEPOINT } from './attach.ts';
import type { Pins } from './pins.ts';
import type { Unit } from './probe-loader.ts';
import { SEEN_FILES, SeenFiles } from './seen-files.ts';

const MODULE_LOAD = 'module_load';

export const HOST_PROGRAMS: readonly string[] = [MODULE_LOAD, SEEN_FILES];

export class HostPrograms {
  readonly #pins: Pins | undefined;
  #moduleLoad: Attachment | undefined;
  #seenFiles: SeenFiles | Error = new Error('open files were not looked through');

  /** Takes over what an earlier agent has pinned. */
  constructor(pins: Pins | undefined) {
    this.#pins = pins;
    const place = { program: MODULE_LOAD, symbol: MODULE_LOAD, method: TRACEPOINT };
    [this.#moduleLoad] = pins?.open([place]) ?? [];
  }

  /** What looks into the files of all processes; an error where the kernel refuses that. */
  get seenFiles(): SeenFiles | Error {
    return this.#seenFiles;
  }

  /** Only makes the arrival of a module known sooner, so doing without it is no failure. */
  moduleLoadUnits(): Unit[] {
    if (this.#moduleLoad) return [];
    const attach: Unit['attach'] = (object) => {
      try {
        this.#moduleLoad = attachTracepoint(object.program(MODULE_LOAD));
        this.#pins?.keep(MODULE_LOAD, this.#moduleLoad);
      } catch {
        // Modules are looked for every second anyway.
      }
    };
    return [{ programs: [MODULE_LOAD], attach, refused() {} }];
  }

  /** Takes the place of the one before. */
  filesUnit(): Unit {
    const refused = (reason: string) => {
      this.#seenFiles = new Error(reason);
    };
    return {
      programs: [SEEN_FILES],
      attach: (object) => {
        try {
          const next = SeenFiles.attach(object.program(SEEN_FILES));
          if (this.#seenFiles instanceof SeenFiles) this.#seenFiles.close();
          this.#seenFiles = next;
        } catch (error) {
          refused(error instanceof Error ? error.message : String(error));
        }
      },
      refused,
    };
  }

  /** What is pinned is left as it is. */
  close(): void {
    if (this.#pins) this.#moduleLoad?.leave();
    else this.#moduleLoad?.detach();
    if (this.#seenFiles instanceof SeenFiles) this.#seenFiles.close();
  }
}
