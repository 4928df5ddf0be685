/** Lifecycles and violations as log lines: JSON fields for machines, one sentence for people. */
import type { Logger } from 'pino';
import { evidenceLines } from '../engine/evidence.ts';
import { shownProcesses } from '../engine/json.ts';
import type { Change, Sink } from '../engine/sink.ts';
import type { Violation } from '../engine/violation.ts';
import { occurrenceWords, vmWords } from '../engine/words.ts';
import { type EventKind, kindIndexOf } from '../events/points.ts';
import type { Vm } from '../lifecycle/objects.ts';
import type { Transition } from '../lifecycle/transition.ts';
import { SECOND } from '../units.ts';
import { durationFields, Ids } from './log-fields.ts';
import { RateLimit } from './rate-limit.ts';
import { levelOf } from './severity.ts';
import type { TraceIds } from './trace-ids.ts';
import { TRANSITION_LINES, type Write } from './transition-lines.ts';
import {
  attributionFields,
  idFields,
  resolvedWords,
  violationText,
  waitersText,
} from './violation-lines.ts';

/** ns: repetitions of a one-shot violation within this time are counted in its next line. */
const QUIET = 10 * SECOND;

/** Writes transitions and violations to a logger. */
export class LifecycleLog implements Sink {
  readonly #log: Logger;
  readonly #write: (Write | undefined)[] = [];
  /** When a line about a violation was last written, in ns on the boot-time clock, and of how many devices. */
  readonly #logged = new WeakMap<Violation, { readonly at: number; readonly devices: number }>();
  readonly #ids: Ids;
  readonly #limit = new RateLimit();

  /** @param wallOffset ns from the boot-time clock to 1970, at a time on the boot-time clock */
  constructor(log: Logger, ids: TraceIds, wallOffset: (at: number) => number) {
    this.#log = log;
    this.#ids = new Ids(ids, wallOffset);
    for (const [name, write] of Object.entries(TRANSITION_LINES)) {
      this.#write[kindIndexOf(name as EventKind)] = write;
    }
  }

  event(transition: Transition): void {
    this.#write[transition.index]?.(this.#log, transition, this.#ids);
  }

  /** Logs who a VM is for its operator, where the host knows that. */
  identified(vm: Vm): void {
    const { name, uuid, group } = vm.identity ?? {};
    if (name === undefined && uuid === undefined) return;
    const known = [uuid && name && `uuid ${uuid}`, group?.unit, group?.pod && `pod ${group.pod}`];
    const facts = known.filter((fact) => fact).map((fact) => `, ${fact}`);
    this.#log.info(
      { event: 'vm.identified', ...this.#ids.vm(vm, vm.firstSeen), ...guestFields(vm) },
      `identified ${vmWords(vm)}${facts.join('')}`,
    );
  }

  /** Lines about violations that were suppressed, by rule. */
  get suppressed(): ReadonlyMap<string, number> {
    return this.#limit.suppressed;
  }

  /** Logs how many lines were suppressed in each minute that is over. @param now ns on the boot-time clock */
  tick(now: number): void {
    for (const { rule, lines } of this.#limit.end(now)) {
      this.#log.warn(
        { event: 'violation.lines_suppressed', rule, lines },
        `suppressed ${lines} log lines about ${rule} within a minute; /api/v1/violations?rule=${rule} lists all violations`,
      );
    }
  }

  /** Logs how many lines were suppressed in the minutes that are not over. */
  end(): void {
    this.tick(Number.POSITIVE_INFINITY);
  }

  /** A one-shot violation that is repeated gets a short line: for each further device, else not each time. */
  violation(violation: Violation, change: Change): void {
    const { rule, severity, id, lastSeen, message, devices } = violation;
    const logged = this.#logged.get(violation);
    const isKnown = logged !== undefined && devices.length === logged.devices;
    if (change === 'repeated' && isKnown && lastSeen - logged.at < QUIET) return;
    this.#logged.set(violation, { at: lastSeen, devices: devices.length });
    this.tick(lastSeen);
    if (!this.#limit.admits(rule, lastSeen)) return;
    if (change === 'resolved') {
      const { firstSeen, resolvedAt } = violation;
      const { conclusion } = violation;
      const fields = {
        ...idFields(violation, change, this.#ids),
        ...durationFields(resolvedAt - firstSeen),
        ...(conclusion ? { message: conclusion } : {}),
      };
      this.#log.info(fields, resolvedWords(violation));
      return;
    }
    const fields = {
      ...idFields(violation, change, this.#ids),
      ...attributionFields(violation, this.#ids),
    };
    if (change === 'repeated') {
      const { processes } = violation;
      const { otherOccurrences } = processes;
      this.#log[levelOf(severity)](
        { ...fields, processes: shownProcesses(processes), otherOccurrences },
        `repeated ${id} ${rule} (${severity}), ${occurrenceWords(violation)}: ${message}`,
      );
    } else if (change === 'waiters_found') {
      this.#log[levelOf(severity)](fields, waitersText(violation));
    } else {
      const evidence = evidenceLines(violation.evidence);
      this.#log[levelOf(severity)]({ ...fields, evidence }, violationText(violation, change));
    }
  }
}

/** Where its VMM runs; name and UUID are among the fields that identify a VM. */
function guestFields({ identity }: Vm) {
  const { unit: systemdUnit, container, pod } = identity?.group ?? {};
  return { systemdUnit, container, pod };
}
