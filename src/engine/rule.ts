/** What a rule is. Docs, alerts and tests derive from it. */

import type { Host } from '../events/host.ts';
import type { EventKind, PointName } from '../events/points.ts';
import type { Task } from '../events/task.ts';
import type { TraitName, Traits } from '../events/traits.ts';
import type { Device, Parent, Vm } from '../lifecycle/objects.ts';
import type { TrackedObject } from '../lifecycle/tracked-object.ts';
import type { Transition } from '../lifecycle/transition.ts';
import type { World } from '../lifecycle/world.ts';
import type { Scenario } from '../scenario/scenario.ts';
import { SECOND } from '../units.ts';
import type { MemoryDeclaration, ObjectMemory } from './memory.ts';
import type { Severity } from './severity.ts';
import type { Attribution } from './violation.ts';

export type { Severity };

/** In ascending order. */
export const SEVERITIES: readonly Severity[] = ['info', 'warning', 'error', 'critical'];

/** Times after which waiting becomes a finding, ns. Users set them in seconds. */
export interface Thresholds {
  /** A remover that waits for its users. */
  readonly removeStall: number;
  /** A parent that is being unregistered. */
  readonly parentUnregisterStall: number;
  /** A device whose driver requested its release, and that is still open. */
  readonly requestIgnored: number;
  /** A vfio_device that its driver allocated and neither registered nor freed. */
  readonly neverRegistered: number;
  /** A create that took that long while others waited beside it. */
  readonly createSerialised: number;
  /** A VM without a file descriptor that an open device keeps alive. */
  readonly vmPinned: number;
  /** A VM without a file descriptor that nothing visible keeps alive. */
  readonly kvmRefLeak: number;
  /** A device that nobody has opened since it was created or bound. */
  readonly neverOpened: number;
  /** A device cdev that is open and that nobody has bound to an iommufd. */
  readonly cdevUnbound: number;
  /** An open of a device that has not returned. */
  readonly openStall: number;
  /** A close of a device that has not returned. */
  readonly closeStall: number;
  /** A creation of an mdev that has not returned. */
  readonly createStall: number;
  /** A driver that sets a device up outside of a creation, and has not returned. */
  readonly bindStall: number;
  /** A VM that is being destroyed. */
  readonly vmDestroyStall: number;
  /** Any other probed call that has not returned. */
  readonly callStall: number;
  /** How long a state may take to settle before it counts. */
  readonly grace: number;
}

/** No threshold is set below it, so what took less time is compared with none; ns. */
export const LEAST_THRESHOLD = SECOND / 10;

export const DEFAULT_THRESHOLDS: Thresholds = {
  removeStall: 10 * SECOND,
  parentUnregisterStall: 5 * SECOND,
  requestIgnored: 30 * SECOND,
  neverRegistered: 5 * SECOND,
  createSerialised: 1 * SECOND,
  vmPinned: 10 * SECOND,
  kvmRefLeak: 5 * SECOND,
  neverOpened: 4 * 3600 * SECOND,
  cdevUnbound: 60 * SECOND,
  openStall: 10 * SECOND,
  closeStall: 10 * SECOND,
  createStall: 10 * SECOND,
  bindStall: 10 * SECOND,
  vmDestroyStall: 30 * SECOND,
  callStall: 30 * SECOND,
  grace: 2 * SECOND,
};

/** What is known of single drivers, by their names, as users may set them. */
export interface DriverKnowledge {
  /** Drivers that refuse, or fail later, when they are opened without a VM. */
  readonly needKvm: ReadonlySet<string>;
  /** Drivers that allow one VM only one of their devices. */
  readonly oneDevicePerVm: ReadonlySet<string>;
}

export const DEFAULT_DRIVERS: DriverKnowledge = {
  needKvm: new Set(['intel_vgpu_mdev', 'i915', 'vfio_ap_mdev', 'vfio_ap']),
  oneDevicePerVm: new Set(['intel_vgpu_mdev', 'i915', 'vfio_ap_mdev', 'vfio_ap']),
};

/** Kernels on which a violation can happen. */
export interface Kernels {
  /** They have, or lack, each of these traits. */
  readonly where: Readonly<Partial<Record<TraitName, boolean>>>;
  /** Why it cannot happen on the others. */
  readonly because: string;
}

/** A line of a table in the description of a rule. */
export interface ErrnoMeaning {
  readonly errno: string;
  /** How far the call got. */
  readonly where: string;
  readonly means: string;
}

/** How the lab makes a real kernel violate the rule. */
export interface Provocation {
  /**
   * user: by system calls alone. driver: by a vendor driver with a fault, test/kmod. nothing: no
   * kernel can be made to do it, or not without crashing, so only recorded scenarios show it.
   */
  readonly by: 'user' | 'driver' | 'nothing';
  /** The steps; or why no kernel can be made to do it. */
  readonly how: string;
}

/** What a rule reports; without an object, it is about the host as a whole. */
export interface Finding {
  readonly device?: Device | undefined;
  readonly vm?: Vm | undefined;
  readonly parent?: Parent | undefined;
  /** Devices that it is not about, but whose events are evidence. */
  readonly others?: readonly Device[];
  readonly task?: Task | undefined;
  /** The task that it blocks in the kernel: its state and stack are kept with the finding. */
  readonly blocked?: Task | undefined;
  /** When it differs from that of the rule. */
  readonly severity?: Severity;
  /** It is ongoing until resolved, and not a one-shot violation that may be repeated. */
  readonly ongoing?: boolean;
  /**
   * One-shot findings of the rule with the same text are occurrences of one violation, as
   * {@link Rule.occurrences} says; left out, those about a device, VM or parent of the same name are.
   */
  readonly sameAs?: string;
  /**
   * When the earliest event occurred that it rests on, ns on the boot-time clock; left out, the objects that
   * it is about are taken to have been observed since they were first seen.
   */
  readonly since?: number;
  /**
   * It holds only while a file is open. A host snapshot may delay a close, so during one the finding
   * is deferred to its end, and suppressed if the close of that device was delayed.
   */
  readonly stillOpen?: true | undefined;
  /**
   * What happened this time, in one or two sentences. A sentence that names holders is made of the
   * attribution of the same violation, so that both say the same.
   */
  readonly message: string | ((attribution: Attribution) => string);
}

/** A transition as rules see it: they read the objects and never change them. */
export type ObservedTransition = {
  readonly [Key in keyof Omit<Transition, 'reset'>]: Key extends 'event'
    ? Transition[Key]
    : Readonly<Transition[Key]>;
};

export interface RuleContext {
  readonly world: World;
  readonly host: Host;
  readonly thresholds: Thresholds;
  readonly drivers: DriverKnowledge;
  /** ns on the boot-time clock. */
  readonly now: number;
  /** What the rule remembers of objects: kept by the engine, dropped when the object's lifecycle ends. */
  memory<Subject extends TrackedObject, State>(
    declaration: MemoryDeclaration<Subject, State>,
  ): ObjectMemory<Subject, State>;
  /** Raises a violation, or counts one more of the same about the same object. */
  report(finding: Finding): void;
  /** The condition about this object, or about the host as a whole, no longer holds. */
  resolve(about?: Device | Vm | Parent): void;
  /**
   * An ongoing condition has just ended, and the finding describes the whole of it: its violation is
   * resolved with this message; when it began and ended between two ticks, it is raised first.
   */
  conclude(finding: Finding): void;
}

export interface Rule {
  readonly id: string;
  readonly title: string;
  readonly severity: Severity;
  /** When a finding is of another severity: by kernel, driver or time, in words. */
  readonly severityVaries?: string;
  /** What is wrong and why it matters, for someone who is paged. */
  readonly description: string;
  /** What to do. */
  readonly remediation: string;
  /** Where the order that it checks comes from: a mailing list thread or kernel source. */
  readonly references: string;
  /** What the evidence shows, in words; it always has the events of the objects concerned. */
  readonly evidence: string;
  /** What its occurrences have in common where that is not their object: "the parent and the errno". */
  readonly occurrences?: string;
  /** What the rule cannot see although it belongs to its subject, in words. */
  readonly blindSpot?: string;
  /** What each errno means, where one has several meanings. */
  readonly errnos?: readonly ErrnoMeaning[];
  /** Why it does not hold for devices that are opened by their cdev, and what does instead. */
  readonly notByCdev?: string;
  /** The kernels on which it can happen; all when left out. */
  readonly kernels?: Kernels;
  /** Traits that its severity or its judgement depends on as well: it cannot work where one is not known. */
  readonly traits?: readonly TraitName[];
  readonly provocation: Provocation;
  /**
   * event: the events at hand prove it, so it is raised for any object. state: it follows from the
   * state of the object, so it is suppressed from a loss of events until the next host snapshot.
   * history: it follows from earlier events, so it is suppressed for objects whose lifecycle was not
   * observed whole.
   */
  readonly basis: 'event' | 'state' | 'history';
  /** Points that the condition relies on beyond those it listens to. */
  readonly needs?: readonly PointName[];
  /** Points that it listens to and can do without: where they are not observed, it judges the others. */
  readonly optional?: readonly PointName[];
  /**
   * Points that must be attached to a step of their own: on a kernel without that step, where the
   * point is inferred from another, the violation cannot happen.
   */
  readonly needsStep?: readonly PointName[];
  readonly on?: Partial<
    Record<EventKind, (transition: ObservedTransition, context: RuleContext) => void>
  >;
  /** Called about once a second, for what is wrong because time passes. */
  readonly onClock?: (context: RuleContext) => void;
  readonly examples: {
    readonly fires: readonly Example[];
    /** Near misses: legal sequences that resemble the violation. */
    readonly doesNotFire: readonly Example[];
  };
}

export interface Example {
  readonly title: string;
  readonly run: (scenario: Scenario) => void;
  /** Ids of other rules that correctly fire on it. */
  readonly also?: readonly string[];
}

/** Whether what the rule detects can happen on a kernel; undefined where a trait that decides it is not known. */
export function isPossible(
  { kernels }: Pick<Rule, 'kernels'>,
  traits: Traits,
): boolean | undefined {
  const where = Object.entries(kernels?.where ?? {}) as [TraitName, boolean][];
  if (where.some(([name, wanted]) => traits[name] === !wanted)) return false;
  return where.every(([name]) => traits[name] !== undefined) || undefined;
}

/** Traits that a rule relies on and that are not known. */
export function unknownTraits(
  { kernels, traits: needed = [] }: Pick<Rule, 'kernels' | 'traits'>,
  traits: Traits,
): TraitName[] {
  const names = [...(Object.keys(kernels?.where ?? {}) as TraitName[]), ...needed];
  return names.filter((name) => traits[name] === undefined);
}

/** All points that a rule needs. */
export function pointsNeeded(
  rule: Pick<Rule, 'on' | 'needs' | 'optional' | 'needsStep'>,
): PointName[] {
  const points = Object.keys(rule.on ?? {})
    .map((transition) => transition.slice(0, transition.lastIndexOf(':')) as PointName)
    .filter((point) => !rule.optional?.includes(point));
  return [...new Set([...points, ...(rule.needs ?? []), ...(rule.needsStep ?? [])])];
}
