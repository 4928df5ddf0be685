/**
 * What the rules about calls that do not return have in common: while a call is in flight, the clock
 * compares its time with a threshold; when it returns, its exact duration is judged, so that a stall
 * between two ticks is reported, too.
 */
import type { BlockedTask, Host } from '../events/host.ts';
import type { EventKind, PointName } from '../events/points.ts';
import type { Task } from '../events/task.ts';
import { POINT } from '../events/wire.gen.ts';
import type { Call } from '../lifecycle/calls.ts';
import { type Cdev, Group, type Vm } from '../lifecycle/objects.ts';
import {
  inProgress,
  isPart,
  OPERATIONS,
  type OperationName,
  operationAt,
} from '../lifecycle/operations.ts';
import type { TrackedObject } from '../lifecycle/tracked-object.ts';
import type { World } from '../lifecycle/world.ts';
import { SECOND } from '../units.ts';
import { objectsOf } from './call-objects.ts';
import { errnoName } from './errno.ts';
import { subjectOf } from './found.ts';
import type { MemoryDeclaration } from './memory.ts';
import {
  LEAST_THRESHOLD,
  type ObservedTransition,
  type Rule,
  type RuleContext,
  type Severity,
  type Thresholds,
} from './rule.ts';
import { deviceWords, inFull, inKernelWords, inParens, seconds, vmWords } from './words.ts';

/** A wait that long will hardly end by itself; ns. */
const LONG = 60 * SECOND;
/** How long what the host answered about a blocked task is used again, ns. */
const FRESH = 5 * SECOND;
/** How many blocked tasks of one rule the host is asked about at one tick: each costs several reads of /proc. */
const ASKED_PER_TICK = 20;

/** The same for all stalls, for `Rule.severityVaries`. */
export const STALL_SEVERITY =
  'An error once it has lasted a minute, or twice its threshold if that is longer: it will hardly end by itself.';

/** A minute and twice its threshold make a warning an error. */
export function stallSeverity(lasted: number, threshold: number): Severity {
  return lasted >= Math.max(LONG, 2 * threshold) ? 'error' : 'warning';
}

export interface StallOptions {
  readonly operations: readonly OperationName[];
  readonly threshold: keyof Thresholds;
  /** Whether another rule reports the call, which is in flight or has just ended. */
  readonly isLeftOut?: (call: Readonly<Call>, world: World, hasEnded: boolean) => boolean;
}

/** The listeners and the clock of a rule about calls that do not return. */
export function stallOf(
  options: StallOptions,
): Required<Pick<Rule, 'on' | 'onClock' | 'optional'>> {
  const points = OPERATIONS.filter(({ name }) => options.operations.includes(name)).flatMap(
    (operation) => operation.points,
  );
  const end = (transition: ObservedTransition, context: RuleContext) =>
    judgeEnd(transition, context, options);
  return {
    on: Object.fromEntries(points.map((point): [EventKind, typeof end] => [`${point}:end`, end])),
    onClock: (context) => judgeInFlight(context, options),
    optional: severalModules(points) ? points : points.filter(isOfCdevs),
  };
}

/** Opens and closes through groups are judged also where those of cdevs are not observed. */
function isOfCdevs(point: PointName): boolean {
  return point.startsWith('vfio.cdev.');
}

/** Where a rule listens to points of several kernel modules, it works with those that are loaded. */
function severalModules(points: readonly PointName[]): boolean {
  return new Set(points.map((point) => point.split('.')[0])).size > 1;
}

/** What the host answered about the call that blocks an object. */
interface Asked {
  tid: number;
  at: number;
  inKernel: BlockedTask | undefined;
}

const ASKED: MemoryDeclaration<TrackedObject, Asked> = {
  initial: () => ({ tid: 0, at: Number.NEGATIVE_INFINITY, inKernel: undefined }),
};

function judgeInFlight(context: RuleContext, options: StallOptions): void {
  const { world, now, thresholds } = context;
  const threshold = thresholds[options.threshold];
  const reported = new Set<TrackedObject | undefined>();
  let asks = ASKED_PER_TICK;
  for (const name of options.operations) {
    for (const call of inProgress(world, name)) {
      const lasted = now - call.began;
      if (lasted < threshold) break;
      // After a loss, the event of its return may be missing; a host snapshot sweeps such calls.
      if (call.losses !== world.losses || options.isLeftOut?.(call, world, false)) continue;
      const about = objectsOf(call);
      const subject = subjectOf(about);
      // Of several calls about one object, the oldest is reported: the others wait behind it.
      if (reported.has(subject)) continue;
      reported.add(subject);
      const { task } = call;
      const asked = subject ? context.memory(ASKED).of(subject) : undefined;
      if (asks > 0 && isStale(asked, call, now)) {
        asks--;
        const inKernel = context.host.blockedTask?.(task);
        if (asked) Object.assign(asked, { tid: call.tid, at: now, inKernel });
      }
      const isAsked = asked?.tid === call.tid;
      context.report({
        ...about,
        task,
        blocked: isAsked || !subject ? task : undefined,
        ongoing: true,
        severity: stallSeverity(lasted, threshold),
        message:
          `${callWords(call, world, context.host)} has been running for ${seconds(lasted)}` +
          `${inKernelWords(isAsked ? asked?.inKernel : undefined)}.`,
      });
    }
  }
}

/** Without a stack, the thread had not slept through before. */
function isStale(asked: Asked | undefined, { tid }: Readonly<Call>, now: number): boolean {
  if (asked === undefined) return false;
  return asked.tid !== tid || !asked.inKernel?.stack || now - asked.at >= FRESH;
}

function judgeEnd(
  { event, call, duration }: ObservedTransition,
  context: RuleContext,
  options: StallOptions,
): void {
  // By far the most calls end here, so nothing is looked up for them.
  if (!call || (duration >= 0 && duration < LEAST_THRESHOLD)) return;
  const { world, thresholds } = context;
  const threshold = thresholds[options.threshold];
  if ((duration >= 0 && duration < threshold) || isPart(world, call)) return;
  const about = objectsOf(call);
  const subject = subjectOf(about);
  if (duration < 0 || options.isLeftOut?.(call, world, true)) {
    context.resolve(subject);
    return;
  }
  if (isOlderInFlight(call, subject, world, options)) return;
  const failed = event.ret < 0 ? ` and failed with ${errnoName(-event.ret)}` : '';
  context.conclude({
    ...about,
    task: call.task,
    ongoing: true,
    severity: stallSeverity(duration, threshold),
    message: `${callWords(call, world, context.host)} took ${seconds(duration)}${failed}.`,
  });
}

/** Whether the violation about the object is about an older call, which is still in flight. */
function isOlderInFlight(
  { began }: Readonly<Call>,
  subject: TrackedObject | undefined,
  world: World,
  { operations }: StallOptions,
): boolean {
  return operations
    .flatMap((name) => inProgress(world, name))
    .some((other) => {
      return other.began < began && subjectOf(objectsOf(other)) === subject;
    });
}

/** "The open of 0000:01:00.0 by qemu (pid 600, uid 0, …) for its own VM" */
function callWords(call: Readonly<Call>, world: World, host: Host): string {
  const { task, point, request } = call;
  const { device, vm, parent } = objectsOf(call);
  const party = { task, group: host.controlGroup?.(task) };
  const by = ` by ${inFull(party)}`;
  const what = device ? deviceWords(device) : (request?.name ?? 'a device');
  switch (operationAt(point)) {
    case 'create':
      return `The creation of ${what}${device ? ` on ${device.parentName}` : ''}${by}`;
    case 'bind':
      return `The set-up of ${what} by its driver${inParens(device?.driver ?? '')}, for ${inFull(party)},`;
    case 'open':
      return point === POINT.VFIO_CDEV_BIND
        ? `The bind of ${cdevOf(what, request?.cdev)} to an iommufd${by}${forVm(vm ?? request?.cdev?.vm, task)}`
        : `The open of ${what}${by}${forVm(vm ?? groupVm(call, world), task)}`;
    case 'close': {
      const file = point === POINT.VFIO_CDEV_CLOSE ? cdevOf(what) : what;
      return `The close of ${file}${by}${forVm(vm, task)}`;
    }
    case 'attach':
      return `The attachment of ${what} to an address space of its iommufd${by}${forVm(vm, task)}`;
    case 'detach':
      return `The detachment of ${what} from an address space of its iommufd${by}${forVm(vm, task)}`;
    case 'remove':
      return `The removal of ${what}${by}`;
    case 'parent_register':
      return `The registration of parent ${parent?.name ?? ''}${by}`;
    case 'parent_unregister':
      return `The unregistration of parent ${parent?.name ?? ''}${by}`;
    case 'vm_create':
      return `The creation of a VM${by}`;
    case 'vm_close':
      return `The close of ${vm ? vmWords(vm) : 'a VM'}${by}`;
    case 'vm_destroy':
      return `The destruction of ${vm ? vmWords(vm) : 'a VM'}${by}`;
    case 'group_open':
      return `The open of VFIO group ${groupId(call)}${by}`;
    case 'group_detach':
      return `The detachment of VFIO group ${groupId(call)} from its container${by}`;
    default:
      return `The unloading of module ${call.module ?? ''}${by}`;
  }
}

/** "the cdev vfio3 of 0000:01:00.0" */
function cdevOf(device: string, cdev?: Readonly<Cdev>): string {
  return `the cdev ${cdev?.node ? `${cdev.node} ` : ''}of ${device}`;
}

function forVm(vm: Vm | undefined, { pid }: Task): string {
  if (!vm) return '';
  return vm.task?.pid === pid ? ' for its own VM' : ` for ${vmWords(vm)}`;
}

/** Until a device has captured its VM, the one that is set for its group. */
function groupVm({ request }: Readonly<Call>, { groups }: World): Vm | undefined {
  return request && groups.get(request.groupId)?.vm;
}

function groupId({ subject }: Readonly<Call>): string {
  return subject instanceof Group ? `${subject.id}` : 'without a known device';
}
