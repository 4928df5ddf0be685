// SPDX-License-Identifier: Apache-2.0
/**
 * Waits that are long only because the machine is slow. A rule that reports such a wait is right, as
 * the timestamps of its own evidence show, so a test has to expect it.
 */
import { loadConfig } from '../../agent/config/load.ts';
import type { Config } from '../../agent/config/schema.ts';
import type { EventKind } from '../../src/events/points.ts';
import { SECOND } from '../../src/units.ts';

interface Wait {
  readonly begins: EventKind;
  readonly ends: EventKind;
  /** After how many seconds it is reported. */
  readonly setting: keyof Config['rules'] & `${string}_seconds`;
}

const WAITS: Readonly<Record<string, Wait>> = {
  'remove-stall': {
    begins: 'vfio.unregister:begin',
    ends: 'vfio.unregister:end',
    setting: 'remove_stall_seconds',
  },
  'parent-unregister-stall': {
    begins: 'mdev.parent.unregister:begin',
    ends: 'mdev.parent.unregister:end',
    setting: 'parent_unregister_stall_seconds',
  },
  'open-stall': {
    begins: 'vfio.device.open:begin',
    ends: 'vfio.device.open:end',
    setting: 'open_stall_seconds',
  },
  'close-stall': {
    begins: 'vfio.device.close:begin',
    ends: 'vfio.device.close:end',
    setting: 'close_stall_seconds',
  },
  'create-stall': {
    begins: 'mdev.create:begin',
    ends: 'mdev.create:end',
    setting: 'create_stall_seconds',
  },
  'bind-stall': {
    begins: 'mdev.probe:begin',
    ends: 'mdev.probe:end',
    setting: 'bind_stall_seconds',
  },
  'vm-destroy-stall': {
    begins: 'kvm.vm.destroy:begin',
    ends: 'kvm.vm.destroy:end',
    setting: 'vm_destroy_stall_seconds',
  },
  'vm-pinned-by-device': {
    begins: 'kvm.vm.fd_close:begin',
    ends: 'kvm.vm.destroy:begin',
    setting: 'vm_pinned_seconds',
  },
};

/** The fields of a violation in the API that describe a wait. */
export interface ReportedWait {
  readonly rule: string;
  readonly firstSeen: { readonly ns: number };
  readonly evidence: readonly {
    readonly ns: number;
    readonly point: string;
    readonly phase: string;
  }[];
}

/** @param settings file of the agent */
export class Waits {
  readonly #rules: Config['rules'];

  private constructor(rules: Config['rules']) {
    this.#rules = rules;
  }

  static async under(settings: string): Promise<Waits> {
    return new Waits((await loadConfig(settings, [])).rules);
  }

  /**
   * Whether the violation is about a wait that had begun, and was as long as the settings require until
   * it was reported or had ended.
   */
  wasLong({ rule, firstSeen, evidence }: ReportedWait): boolean {
    const wait = WAITS[rule];
    if (!wait) return false;
    const names = evidence.map(({ point, phase }) => `${point}:${phase}`);
    const began = names.lastIndexOf(wait.begins);
    if (began < 0) return false;
    const ended = names.indexOf(wait.ends, began);
    const until = ended < 0 ? firstSeen.ns : evidence[ended].ns;
    return until - evidence[began].ns >= this.#rules[wait.setting] * SECOND;
  }
}
