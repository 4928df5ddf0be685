/**
 * That no message says what is not true. Processes open devices, duplicate their descriptors, pass them
 * on, map them, fork, execute, exit and get each other's ids, while devices are removed; one agent
 * observes all of it, one starts late. Each process, wait and reason that they name is compared with
 * what was done.
 */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { RULES } from '../../src/catalogue.ts';
import type { RuleEngine } from '../../src/engine/engine.ts';
import type { Sink } from '../../src/engine/sink.ts';
import type { Holder, Violation } from '../../src/engine/violation.ts';
import type { Host } from '../../src/events/host.ts';
import { Views } from '../../src/http/views.ts';
import type { World } from '../../src/lifecycle/world.ts';
import type { Scrape } from '../../src/telemetry/metrics/metric.ts';
import { OBJECTS } from '../../src/telemetry/metrics/objects.ts';
import type { ObjectSamples } from '../../src/telemetry/metrics/samples.ts';
import { TraceIds } from '../../src/telemetry/trace-ids.ts';
import { SECOND } from '../../src/units.ts';
import {
  type Found,
  kindOf,
  miscounted,
  type Named,
  partiesIn,
  type Report,
  untruthsOfGroup,
} from '../kit/group-claims.ts';
import { LateAgent, type Place } from '../kit/late-agent.ts';
import { cases } from '../kit/random.ts';
import { ScenarioRunner } from '../kit/scenario-runner.ts';
import { hasDescriptor, type TrueFile } from '../kit/true-files.ts';
import { type Differences, TrueHost } from '../kit/true-host.ts';
import { TrueSteps } from '../kit/true-steps.ts';

/** Until every violation has been attributed again, s. */
const ATTRIBUTED = 7;
/** How old the time in a message may be, s. */
const MESSAGE_AGE = 6;
const ABOUT_HOLDERS = new Set([
  ...['remove-stall', 'request-ignored', 'vm-pinned-by-device', 'cdev-never-bound'],
]);
const VM_CLOSED =
  /^The VM (?:of (\S+) \(pid (\d+)\)|created by thread (\d+)) was closed (at least )?([\d.]+) s ago/;
const GROUP_LOST =
  /group \d+ was not closed: (\S+ \(pid \d+\)), which (opened|had) it[^,]*, has it no more/;
const CDEV_OPENED = /opened its cdev ([\d.]+) s ago/;
/** So many steps after it has started, an agent takes another host snapshot. */
const RECHECK = 5;
const ADMIN = 500;

interface History {
  readonly truth: TrueHost;
  readonly agents: readonly Agent[];
  readonly now: number;
}

interface Agent {
  readonly name: string;
  readonly engine: RuleEngine;
  readonly views: Views;
  readonly found: ReadonlyMap<TrueFile, Place>;
  readonly foundIn: Found;
  /** What it reported of groups. */
  readonly reports: readonly Report[];
  /** When it started, ns on the boot-time clock. */
  readonly startedAt: number;
}

function play(steps: readonly number[], startsAt: number, kernel: Differences): History {
  const holder: { host?: Host } = {};
  // The host is made of the scenario, which the runner makes.
  const host = new Proxy({} as Host, { get: (_, name) => Reflect.get(holder.host ?? {}, name) });
  const runner = new ScenarioRunner({ rules: RULES, host });
  const truth = new TrueHost(runner.scenario, () => runner.flush().world.now, kernel);
  holder.host = truth.host();
  const possible = new TrueSteps(truth, runner.scenario);
  const reports: Report[][] = [[], []];
  const [ofAll, ofPart] = reports.map((to) => collector(to, truth));
  runner.sinks.push(ofAll);
  const late = new LateAgent(host, ofPart);
  let startedAt = Number.POSITIVE_INFINITY;
  let applied = 0;
  const flush = (isLate: boolean) => {
    runner.flush();
    const { steps: all } = runner.scenario;
    if (isLate) for (const step of all.slice(applied)) late.apply(step);
    applied = all.length;
    truth.settle();
  };
  for (const [i, choice] of steps.entries()) {
    if (i === startsAt || i === startsAt + RECHECK) late.takeSnapshot(runner.world, truth);
    if (i === startsAt) startedAt = runner.world.now;
    possible.take(choice);
    flush(i >= startsAt);
  }
  for (let i = 0; i < ATTRIBUTED; i++) {
    runner.scenario.wait(1);
    flush(startsAt < steps.length);
  }
  histories++;
  const viewsOf = (world: World) => new Views(world, () => 0, host, new TraceIds('boot', world));
  const agents = [
    {
      ...{ name: 'all of it', engine: runner.engine, views: viewsOf(runner.world) },
      ...{ found: new Map(), foundIn: new Map(), reports: reports[0], startedAt: 0 },
    },
    {
      ...{ name: 'a part of it', engine: late.engine, views: viewsOf(late.world) },
      ...{ found: late.found, foundIn: late.foundIn, reports: reports[1], startedAt },
    },
  ];
  return { truth, agents, now: runner.world.now };
}

/** Keeps every message about a group, since the next one about the same cause takes its place. */
function collector(to: Report[], truth: TrueHost): Sink {
  return {
    violation({ rule, message, ongoing }) {
      if (!ongoing && kindOf({ message })) to.push({ rule, message, step: truth.steps });
    },
  };
}

/** What an agent said of groups and is not true, and what it did not report, or too often. */
function untruthsOfGroups({ truth }: History, agent: Agent): string[] {
  const { reports, engine, foundIn, startedAt } = agent;
  const refusals = truth.refusals.filter(
    ({ what, at, file }) =>
      at > startedAt &&
      // Its open is known only from its event.
      (what !== 'nothing, but it is not viable' || (file && file.openedAt > startedAt)),
  );
  groupReports += reports.length;
  return [
    ...reports.flatMap((report) => untruthsOfGroup(report, refusals, foundIn)),
    ...miscounted(reports, engine.list(), refusals),
  ];
}

/** What in a violation is not true. */
function untruths(violation: Violation, { truth, now }: History, agent: Agent): string[] {
  const { found } = agent;
  const { message, holders, rule, resolvedAt } = violation;
  messages++;
  const all = [...partiesIn(message), ...holders.map(({ task }) => task)];
  const wrong = all
    .filter((named) => !existed(truth, named))
    .map(({ comm, pid }) => `${comm} (pid ${pid}) never existed`);
  const device = truth.devices.find(({ uuid }) => uuid === violation.device);
  if (resolvedAt !== 0 || !device || !ABOUT_HOLDERS.has(rule)) return wrong;
  if (rule === 'vm-pinned-by-device') pinned++;
  else stalls++;
  const holding = truth.holdersOf(device);
  const isHolding = ({ pid }: Named) => holding.some((one) => one.pid === pid);
  const hasSome = ({ pid }: Named) =>
    truth.living.some(
      (one) =>
        one.pid === pid &&
        [...one.descriptors.values(), ...one.mapped].some(({ is }) => is !== 'group'),
    );
  // What it says of a process that had a group is not about a device file.
  const ofDevice = message.replace(GROUP_LOST, '');
  const claim = (
    what: string,
    clause: RegExp,
    isTrue: (named: Named) => boolean,
    { text = ofDevice } = {},
  ) =>
    partiesIn(clause.exec(text)?.[1] ?? '')
      .filter((named) => !isTrue(named))
      .map(({ pid }) => `pid ${pid} ${what}`);
  const places = [...truth.files].flatMap((file): (Place & { file: TrueFile })[] => {
    if (file.is === 'group' || file.device !== device) return [];
    const place = found.get(file);
    if (place) return [{ file, ...place }];
    const opener = file.is === 'cdev' ? file.binder : file.opener;
    return opener ? [{ file, process: opener, fd: file.is === 'cdev' ? -1 : file.fd }] : [];
  });
  const at = ({ pid }: Named) => places.filter(({ process }) => process.pid === pid);
  const isGone = (named: Named) => at(named).some(({ process }) => process.endedAt > 0);
  const hasClosed = (named: Named) =>
    at(named).some(({ file, process, fd }) =>
      file.is === 'cdev' ? !hasDescriptor(process, file) : process.descriptors.get(fd) !== file,
    );
  const hasOpened = (named: Named) => at(named).some(({ file }) => !found.has(file));
  const had = (named: Named) => at(named).some(({ file }) => found.has(file));
  const isWithoutGroup = ({ pid }: Named) =>
    truth.groups.some((group) => {
      const { file, devices } = group;
      if (!file || !devices.has(device)) return false;
      if (truth.holdersOfGroup(group).some((one) => one.pid === pid)) return false;
      const [, , had] = GROUP_LOST.exec(message) ?? [];
      return had === 'opened'
        ? file.opener.pid === pid
        : [...(agent.foundIn.get(file) ?? [])].some((one) => one.pid === pid);
    });
  const ONCE = 'which (?:opened it|had it when the agent first looked),';
  wrong.push(
    ...claim('does not hold it', HOLD[0], isHolding),
    ...HOLD.slice(1).flatMap((words) =>
      claim('does not have it', words, (named) =>
        (words.exec(message)?.[1] ?? '').startsWith('probably ')
          ? hasSome(named)
          : isHolding(named),
      ),
    ),
    ...claim('did not open its cdev then', /(\S+ \(pid \d+\)) opened its cdev/, ({ pid }) =>
      [...truth.files].some(
        (file) =>
          file.is === 'cdev' &&
          file.device === device &&
          file.opener.pid === pid &&
          isRecent(Number(CDEV_OPENED.exec(message)?.[1]), now - file.openedAt),
      ),
    ),
    ...claim('does not have its group', /(?:but|and) ([^:;]+?) ha(?:s|ve) its group/, ({ pid }) =>
      truth.groups.some(
        (group) =>
          group.devices.has(device) && truth.holdersOfGroup(group).some((one) => one.pid === pid),
      ),
    ),
    ...claim('has not lost its group', GROUP_LOST, isWithoutGroup, { text: message }),
    ...claim(
      'has no device file',
      /(?:probably held by|held by any of) ((?:(?!, although)[^;:])+)/,
      hasSome,
    ),
    ...claim('did not open it', /([^;,]+), which opened it,/, hasOpened),
    ...claim('did not have it', /([^;,]+), which had it when/, had),
    ...claim('is not gone', new RegExp(`([^;,]+), ${ONCE} is gone`), isGone),
    ...claim('has not closed it', new RegExp(`([^;,]+), ${ONCE} has (?:closed|passed)`), hasClosed),
    ...claim(
      'has not passed it on',
      new RegExp(`([^;,]+), ${ONCE} has passed`),
      () => holding.length > 0,
    ),
    ...holders
      .filter((one) => one.how === 'holds' && one.device === device.uuid && !isHolding(one.task))
      .map((one) => `${describeHolder(one)} is not true`),
    ...holders
      .filter((one) => one.how === 'gone' && !isGone(one.task))
      .map((one) => `${describeHolder(one)} is not true`),
  );
  if (
    /has it now is not known|(?:nobody|no process) has it or its cdev/.test(message) &&
    holding.length > 0
  )
    wrong.push('somebody has it');
  if (/fault of its driver/.test(message)) wrong.push('a file keeps it');
  wrong.push(...disagreements(violation, device.uuid));
  const [, atLeast, said] = /waiting for (at least )?([\d.]+) s/.exec(message) ?? [];
  if (said !== undefined) {
    const waited = (now - (truth.removalBegan.get(device.uuid) ?? 0)) / SECOND;
    const isTrue =
      Number(said) <= waited + 0.1 && (atLeast || Number(said) >= waited - MESSAGE_AGE);
    if (!isTrue) wrong.push(`it has waited for ${waited} s`);
  }
  if (rule === 'vm-pinned-by-device') wrong.push(...wrongOfVm(violation, truth, now));
  return wrong.map((why) => `${why}: ${rule}: ${message}`);
}

/** Whether a time in s of a message, which may be some seconds old, is that one in ns. */
function isRecent(said: number, ns: number): boolean {
  return said <= ns / SECOND + 0.6 && said >= ns / SECOND - MESSAGE_AGE;
}

/** What the metric of holders shows: a device and a process in each row. */
function shownByMetric(engine: RuleEngine): (readonly [device: string, pid: number])[] {
  const rows: (readonly [string, number])[] = [];
  const show = (_: number, [device, pid]: readonly string[]) => rows.push([device, Number(pid)]);
  const metric = OBJECTS.metrics.find(({ name }) => name === 'vfioscope_device_holder_info');
  metric?.collect?.(
    { violations: engine.open() } as unknown as Scrape,
    { show } as unknown as ObjectSamples,
  );
  return rows;
}

/** Where the metric, or the API, says something else than is true, or than the messages say. */
function shownWrong({ truth }: History, { engine, views }: Agent): string[] {
  const rows = shownByMetric(engine);
  const untrue = rows
    .filter(([uuid, pid]) => {
      const device = truth.devices.find((one) => one.uuid === uuid);
      return !device || !truth.holdersOf(device).some((one) => one.pid === pid);
    })
    .map(([uuid, pid]) => `the metric: pid ${pid} does not hold ${uuid}`);
  const missing = engine
    .open()
    .filter(({ rule }) => ABOUT_HOLDERS.has(rule))
    .flatMap(({ device, message }) => heldBySaid(message).map((pid) => [device, pid] as const))
    .filter(([device, pid]) => !rows.some((row) => row[0] === device && row[1] === pid))
    .map(([device, pid]) => `the metric lacks pid ${pid} of ${device}`);
  const differing = engine
    .list()
    .filter((one) => {
      const { message, holders } = views.violation(one);
      const pids = holders.map(({ process }) => process?.pid);
      return message !== one.message || `${pids}` !== `${one.holders.map(({ task }) => task.pid)}`;
    })
    .map(({ message }) => `the API differs: ${message}`);
  return [...untrue, ...missing, ...differing];
}

/** Who has the device open, or has its cdev, or has it now. */
const HOLD = [
  /held open by ((?:(?!, although)[^;:])+)/,
  /but ([^:;]+?) ha(?:s|ve) its cdev open/,
  /; ([^:;]+?) ha(?:s|ve) it(?: now|, too)/,
];

/** The processes that a message says hold the device. */
function heldBySaid(message: string): number[] {
  const clauses = HOLD.map((words) => words.exec(message)?.[1] ?? '');
  return clauses.filter((words) => !words.startsWith('probably')).flatMap((words) => pidsIn(words));
}

function pidsIn(text: string): number[] {
  return partiesIn(text).map(({ pid }) => pid);
}

/**
 * Where message and list of holders disagree. API, log and metrics show the list.
 * @param uuid of the device that the violation is about
 */
function disagreements({ message, holders }: Violation, uuid: string): string[] {
  const said = new Set(heldBySaid(message));
  const listed = new Set(
    holders
      .filter(({ how, device }) => device === uuid && (how === 'opened' || how === 'holds'))
      .map(({ task }) => task.pid),
  );
  const isCut = / more\b/.test(message);
  const held = HOLD[0].exec(message)?.[1] ?? '';
  const mapped = [...held.matchAll(/\(pid (\d+)\) by a memory mapping/g)].map(([, pid]) =>
    Number(pid),
  );
  const openers = pidsIn(/(\S+ \(pid \d+\)) opened its cdev/.exec(message)?.[1] ?? '');
  return [
    ...mapped
      .filter((pid) => pidsIn(held).filter((one) => one === pid).length > 1)
      .map((pid) => `pid ${pid} is named with its mapping although it has a descriptor`),
    ...[...said].filter((pid) => !listed.has(pid)).map((pid) => `pid ${pid} is not listed`),
    ...[...listed]
      .filter((pid) => !said.has(pid) && !openers.includes(pid) && !isCut)
      .map((pid) => `pid ${pid} is listed, and not in the message`),
  ];
}

/** Whether the VM of that process was closed then. */
function wrongOfVm({ message }: Violation, { vms }: TrueHost, now: number): string[] {
  const [, comm, pid, thread, atLeast, said] = VM_CLOSED.exec(message) ?? [];
  if (said === undefined) return ['it names no VM and no time'];
  const isTrue = vms.some(({ creator, closedAt }) => {
    const ago = (now - closedAt) / SECOND;
    const isIts =
      creator.pid === Number(pid ?? thread) && (comm === undefined || creator.names.has(comm));
    const isThen = Number(said) <= ago + 0.1 && (atLeast || Number(said) >= ago - MESSAGE_AGE);
    return closedAt > 0 && isIts && isThen;
  });
  return isTrue ? [] : ['no VM of that process was closed then'];
}

function describeHolder({ task, how, holds, fd }: Holder): string {
  return `holder pid ${task.pid}, ${how} ${holds} ${fd},`;
}

function existed(truth: TrueHost, { comm, pid }: Named): boolean {
  if (pid === ADMIN) return comm === 'admin';
  return truth.processes.some((one) => one.pid === pid && one.names.has(comm));
}

let histories = 0;
let messages = 0;
let stalls = 0;
let pinned = 0;
let groupReports = 0;

describe('what is said of a host', () => {
  after(() => {
    console.log(
      `${histories} histories, ${messages} messages, ${stalls} of removals that wait, ` +
        `${pinned} of closed VMs, ${groupReports} of groups`,
    );
    assert.ok(stalls > histories / 20, 'many removals had to wait');
    assert.ok(groupReports > histories, 'groups were refused in most histories');
    assert.ok(pinned > histories / 40, 'many VMs were closed while a device was open');
  });

  it('is true', () => {
    const bool = fc.boolean();
    const kernel = fc.record({
      ...{ showsDevice: bool, showsRemovedCdev: bool, hasCdevs: bool },
      ...{ waitsForGroup: bool, answersLate: bool },
    });
    fc.assert(
      fc.property(
        fc.array(fc.nat(1e6), { minLength: 10, maxLength: 90, size: 'max' }),
        fc.nat(90),
        kernel,
        (steps, startsAt, differences) => {
          const history = play(steps, startsAt, differences);
          for (const agent of history.agents) {
            const wrong = agent.engine.list().flatMap((one) => untruths(one, history, agent));
            assert.deepEqual(
              [...wrong, ...shownWrong(history, agent), ...untruthsOfGroups(history, agent)],
              [],
              `by the agent that observes ${agent.name}`,
            );
          }
        },
      ),
      cases(500),
    );
  });
});
