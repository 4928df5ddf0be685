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
import { RuleEngine } from '../../src/engine/engine.ts';
import type { Holder, Violation } from '../../src/engine/violation.ts';
import { EventCursor } from '../../src/events/cursor.ts';
import type { Host } from '../../src/events/host.ts';
import { Views } from '../../src/http/views.ts';
import { Dispatcher } from '../../src/lifecycle/dispatcher.ts';
import { World } from '../../src/lifecycle/world.ts';
import type { Step } from '../../src/scenario/types.ts';
import type { Scrape } from '../../src/telemetry/metrics/metric.ts';
import { OBJECTS } from '../../src/telemetry/metrics/objects.ts';
import type { ObjectSamples } from '../../src/telemetry/metrics/samples.ts';
import { TraceIds } from '../../src/telemetry/trace-ids.ts';
import { SECOND } from '../../src/units.ts';
import { cases } from '../kit/random.ts';
import { ScenarioRunner } from '../kit/scenario-runner.ts';
import {
  applyAll,
  keyOf,
  kvmOf,
  snapshotBegins,
  snapshotDebugfs,
  snapshotEnds,
  snapshotRecord,
  snapshotSysfs,
} from '../kit/snapshot-records.ts';
import { type DeviceFile, type Process, TrueHost, type TrueVm } from '../kit/true-host.ts';

/** Until every violation has been attributed again, s. */
const ATTRIBUTED = 7;
/** How old the time in a message may be, s. */
const MESSAGE_AGE = 6;
const ABOUT_HOLDERS = new Set(['remove-stall', 'request-ignored', 'vm-pinned-by-device']);
const PARTY = /([^\s(;]+) \(pid (\d+)\)/g;
const VM_CLOSED =
  /^The VM (?:of (\S+) \(pid (\d+)\)|created by thread (\d+)) was closed (at least )?([\d.]+) s ago/;
/** So many steps after it has started, an agent takes another host snapshot. */
const RECHECK = 5;
const ADMIN = 500;
/** Below those of devices. */
const VM_FD = 11;

interface Named {
  readonly comm: string;
  readonly pid: number;
}

/** A descriptor of a process. */
interface Place {
  readonly process: Process;
  readonly fd: number;
}

/** What an agent knows that may have started late. */
class LateAgent {
  readonly world = new World({ endedObjects: 1000 });
  readonly engine: RuleEngine;
  /** Files that were open when it started, and where it found them. */
  readonly found = new Map<DeviceFile, Place>();
  readonly #dispatcher = new Dispatcher(this.world);
  /** The files that were opened before it started and that it has not found yet. */
  #unobserved: Set<DeviceFile> | undefined;

  constructor(host: Host) {
    this.engine = new RuleEngine(this.world, { rules: RULES, host });
  }

  /** Takes a host snapshot. @param full a world that got every event */
  takeSnapshot(full: World, truth: TrueHost): void {
    const { now } = full;
    this.#unobserved ??= new Set(truth.files);
    const records = [
      snapshotBegins(now),
      ...snapshotSysfs(full, now),
      ...[...truth.files].flatMap((file) => this.#find(full, truth, file)),
      ...truth.vms.flatMap((one) => this.#findVm(now, one)),
      ...snapshotDebugfs(full, now),
      snapshotEnds(now),
    ];
    for (const transition of applyAll(this.world, records)) this.engine.check(transition);
  }

  /** A host snapshot finds each file in the first process that has a descriptor of it. */
  #find(full: World, { living }: TrueHost, file: DeviceFile): Uint8Array[] {
    const device = full.devices.named(file.device.uuid);
    for (const process of living.toSorted((one, other) => one.pid - other.pid)) {
      const { pid, comm, descriptors } = process;
      for (const [fd, held] of descriptors) {
        if (held !== file || !device) continue;
        if (this.#unobserved?.delete(file)) this.found.set(file, { process, fd });
        const { vdevLow, vdevHigh, openCount, groupId, name, bus, driver, parentName } = device;
        const vdev = keyOf({ keyLow: vdevLow, keyHigh: vdevHigh });
        const keys = { dev: keyOf(device), vdev, file: file.opening.key };
        const names = { device: name, bus, driver, parent: parentName };
        const fields = {
          ...{ ...keys, ...kvmOf(device.vm), pid, tid: pid, comm, fd, openCount, groupId, names },
        };
        return [snapshotRecord('snapshot.open', full.now, fields)];
      }
    }
    return [];
  }

  /** A VM that somebody has open. */
  #findVm(now: number, { vm: { key, users, task }, owners }: TrueVm): Uint8Array[] {
    const [owner] = [...owners].sort((one, other) => one.pid - other.pid);
    if (!owner) return [];
    const { pid, comm } = owner;
    const vm = { kvm: key, usersCount: users, vmPid: task.pid };
    return [
      snapshotRecord('snapshot.vm', now, { ...vm, pid, tid: pid, comm, fd: VM_FD, names: {} }),
    ];
  }

  apply(step: Step): void {
    if (typeof step === 'number') this.engine.tick(step);
    else if (step instanceof Uint8Array)
      this.engine.check(this.#dispatcher.apply(new EventCursor(step.buffer as ArrayBuffer)));
  }
}

interface History {
  readonly truth: TrueHost;
  readonly agents: readonly Agent[];
  readonly now: number;
}

interface Agent {
  readonly name: string;
  readonly engine: RuleEngine;
  readonly views: Views;
  readonly found: ReadonlyMap<DeviceFile, Place>;
}

function play(steps: readonly number[], startsAt: number, showsDevice: boolean): History {
  const holder: { host?: Host } = {};
  // The host is made of the scenario, which the runner makes.
  const host = new Proxy({} as Host, { get: (_, name) => Reflect.get(holder.host ?? {}, name) });
  const runner = new ScenarioRunner({ rules: RULES, host });
  const truth = new TrueHost(runner.scenario, () => runner.flush().world.now, showsDevice);
  holder.host = truth.host();
  const late = new LateAgent(host);
  let applied = 0;
  const flush = (isLate: boolean) => {
    runner.flush();
    const { steps: all } = runner.scenario;
    if (isLate) for (const step of all.slice(applied)) late.apply(step);
    applied = all.length;
  };
  for (const [i, choice] of steps.entries()) {
    if (i === startsAt || i === startsAt + RECHECK) late.takeSnapshot(runner.world, truth);
    truth.step(choice);
    flush(i >= startsAt);
  }
  for (let i = 0; i < ATTRIBUTED; i++) {
    runner.scenario.wait(1);
    flush(startsAt < steps.length);
  }
  histories++;
  const viewsOf = (world: World) => new Views(world, () => 0, host, new TraceIds('boot', world));
  const agents = [
    { name: 'all of it', engine: runner.engine, views: viewsOf(runner.world), found: new Map() },
    {
      ...{ name: 'a part of it', engine: late.engine },
      ...{ views: viewsOf(late.world), found: late.found },
    },
  ];
  return { truth, agents, now: runner.world.now };
}

/** What in a violation is not true. */
function untruths(violation: Violation, { truth, now }: History, { found }: Agent): string[] {
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
    truth.living.some((one) => one.pid === pid && one.descriptors.size + one.mapped.size > 0);
  const claim = (what: string, clause: RegExp, isTrue: (named: Named) => boolean) =>
    partiesIn(clause.exec(message)?.[1] ?? '')
      .filter((named) => !isTrue(named))
      .map(({ pid }) => `pid ${pid} ${what}`);
  const places = [...truth.files]
    .filter((file) => file.device === device)
    .map((file) => {
      const { process, fd } = found.get(file) ?? { process: file.opener, fd: file.fd };
      return { file, process, fd };
    });
  const at = ({ pid }: Named) => places.filter(({ process }) => process.pid === pid);
  const isGone = (named: Named) => at(named).some(({ process }) => process.endedAt > 0);
  const hasClosed = (named: Named) =>
    at(named).some(({ file, process, fd }) => process.descriptors.get(fd) !== file);
  const hasOpened = (named: Named) => at(named).some(({ file }) => !found.has(file));
  const had = (named: Named) => at(named).some(({ file }) => found.has(file));
  const ONCE = 'which (?:opened it|had it when the agent first looked),';
  wrong.push(
    ...claim('does not hold it', /held open by ([^;:]+)/, isHolding),
    ...claim('has no device file', /(?:probably held by|held by any of) ([^;:]+)/, hasSome),
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
  if (/is not known/.test(message) && holding.length > 0) wrong.push('somebody has it');
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

/** The processes that a message says hold the device. */
function heldBySaid(message: string): number[] {
  return partiesIn(/held open by ([^;:]+)/.exec(message)?.[1] ?? '').map(({ pid }) => pid);
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
  return [
    ...[...said].filter((pid) => !listed.has(pid)).map((pid) => `pid ${pid} is not listed`),
    ...[...listed]
      .filter((pid) => !said.has(pid) && !isCut)
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

function partiesIn(text: string): Named[] {
  return [...text.matchAll(PARTY)].map(([, comm, pid]) => ({ comm, pid: Number(pid) }));
}

function existed(truth: TrueHost, { comm, pid }: Named): boolean {
  if (pid === ADMIN) return comm === 'admin';
  return truth.processes.some((one) => one.pid === pid && one.names.has(comm));
}

let histories = 0;
let messages = 0;
let stalls = 0;
let pinned = 0;

describe('what is said of a host', () => {
  after(() => {
    console.log(
      `${histories} histories, ${messages} messages, ${stalls} of removals that wait, ${pinned} of closed VMs`,
    );
    assert.ok(stalls > histories / 20, 'many removals had to wait');
    assert.ok(pinned > histories / 20, 'many VMs were closed while a device was open');
  });

  it('is true', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(1e6), { minLength: 10, maxLength: 60, size: 'max' }),
        fc.nat(60),
        fc.boolean(),
        (steps, startsAt, showsDevice) => {
          const history = play(steps, startsAt, showsDevice);
          for (const agent of history.agents) {
            const wrong = agent.engine.list().flatMap((one) => untruths(one, history, agent));
            assert.deepEqual(
              [...wrong, ...shownWrong(history, agent)],
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
