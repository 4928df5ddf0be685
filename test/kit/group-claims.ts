/** Whether what is said of groups is true: who was refused, why, and who has the group or a device of it. */
import type { Violation } from '../../src/engine/violation.ts';
import { nodeOf } from '../../src/scenario/cdev.ts';
import { SECOND } from '../../src/units.ts';
import type { GroupFile, Process, TrueFile } from './true-files.ts';
import type { GroupState, Refusal } from './true-groups.ts';

/** A message as it was given to the sinks. */
export interface Report {
  readonly rule: string;
  readonly message: string;
  /** In which step it came. */
  readonly step: number;
}

export interface Named {
  readonly comm: string;
  readonly pid: number;
}

const PARTY = /([^\s(;]+) \(pid (\d+)\)/g;
/** The first sentence of a message about a group: who was refused what, and of which group or device. */
const KINDS: readonly (readonly [Refusal['what'], RegExp])[] = [
  [
    'open of group',
    /^(\S+ \(pid \d+\)) could not open VFIO group (?<group>\d+)(?:, the group of (?<device>\S+))?: EBUSY/,
  ],
  ['bind', /^(\S+ \(pid \d+\)) could not bind (?<device>\S+) .*?: (?:EBUSY|EINVAL)/],
  ['request', /^(\S+ \(pid \d+\)) could not open (?<device>\S+) in group (?<group>\d+): EINVAL/],
  ['mapping for DMA', /^(\S+ \(pid \d+\)).* could not map /],
  ['unset of container', /^(\S+ \(pid \d+\)) could not take group (?<group>\d+) out/],
  [
    'nothing, but it is not viable',
    /^(\S+ \(pid \d+\)) opened VFIO group (?<group>\d+), and it was closed/,
  ],
];

export function partiesIn(text: string): Named[] {
  return [...text.matchAll(PARTY)].map(([, comm, pid]) => ({ comm, pid: Number(pid) }));
}

/** What a report is about; undefined when it is not about a group. */
export function kindOf({ message }: Pick<Report, 'message'>) {
  for (const [what, words] of KINDS) {
    const [, party = '', ...rest] = words.exec(message) ?? [];
    if (!party) continue;
    const { group, device } = words.exec(message)?.groups ?? {};
    const [task] = partiesIn(party);
    return { what, task, group, device, rest };
  }
  return undefined;
}

/** The files that the late agent found, and in which processes. */
export type Found = ReadonlyMap<TrueFile, ReadonlySet<Process>>;

/** What of a report is not true of any refusal that it may be about. */
export function untruthsOfGroup(
  report: Report,
  refusals: readonly Refusal[],
  found: Found,
): string[] {
  const kind = kindOf(report);
  if (!kind) return [];
  const { what, task, group, device } = kind;
  const candidates = refusals.filter(
    (one) =>
      one.what === what &&
      isBy(one, task) &&
      one.states.some((state) => state.step <= report.step) &&
      (group === undefined || one.group.id === Number(group)) &&
      (device === undefined || isOf(one, device)),
  );
  if (candidates.length === 0) return [`that was not refused: ${report.rule}: ${report.message}`];
  const all = candidates.map((one) => wrongOf(report, one, found));
  if (all.some(({ length }) => length === 0)) return [];
  return (all.at(-1) ?? []).map((why) => `${why}: ${report.rule}: ${report.message}`);
}

/** A process that closed a group unused is named as it was called when it opened it. */
function isBy({ what, task, file }: Refusal, named: Named): boolean {
  if (what === 'nothing, but it is not viable')
    return file !== undefined && isIt(file.opener, named);
  return task.pid === named.pid && task.comm === named.comm;
}

function isOf({ members, device, what }: Refusal, name: string): boolean {
  if (what !== 'open of group') return device?.uuid === name;
  return members.some((one) => one.name === name);
}

function wrongOf(report: Report, refusal: Refusal, found: Found): string[] {
  const { message, rule } = report;
  switch (rule) {
    case 'group-not-viable':
      return [...wrongMembers(message, refusal), ...wrongClose(message, refusal)];
    case 'unset-container-busy':
      return wrongDevices(
        /: (.*) is (open .*)\.$/.exec(message)?.slice(1).join(' ') ?? '',
        refusal,
      );
    case 'dma-map-failed':
      return wrongMapper(message, refusal, found);
    case 'bind-refused':
      return wrongBinder(message, refusal);
    default:
      if (refusal.what === 'request') return wrongRequest(refusal);
      return refusal.bound && / to an iommufd by /.test(message)
        ? wrongBinder(message, refusal)
        : wrongUser(report, refusal, found);
  }
}

/** That a group has no container; where that is because it is not viable, this has to be said. */
function wrongRequest({ isViable, device }: Refusal): string[] {
  return isViable || device?.parent ? [] : ['it is not viable'];
}

/** Who has the group, and since when. */
function wrongUser({ message, step }: Report, refusal: Refusal, found: Found): string[] {
  const { file, at } = refusal;
  if (!file) return /already open, or/.test(message) ? [] : ['it was not open'];
  const states = refusal.states.filter((state) => state.step <= step);
  const some = (is: (state: GroupState) => boolean) => states.some(is);
  const has = ({ holders }: GroupState, named: Named) => holders.some((one) => isIt(one, named));
  const claim = (why: string, words: RegExp, isTrue: (named: Named) => boolean) =>
    [...message.matchAll(words)]
      .flatMap(([, text]) => partiesIn(text))
      .filter((named) => !isTrue(named))
      .map(({ pid }) => `pid ${pid} ${why}`);
  const WHICH = '(?:which opened it[^,]*|which had it when the agent first looked),';
  const ago = /(?:which opened it|\) opened it) ([\d.]+) s before/.exec(message)?.[1];
  const wasFound = ({ pid }: Named) => [...(found.get(file) ?? [])].some((one) => one.pid === pid);
  const { task, process } = refusal;
  const earlier = [file.opener, ...(found.get(file) ?? [])];
  return [
    ...claim(
      'did not have it open',
      /(?:because|is open:|[:,]) ([^:]+?) ha(?:s|ve) it open/g,
      (named) => some((state) => has(state, named)),
    ),
    ...(/the same process,/.test(message) && !some((state) => has(state, task))
      ? ['the same process did not have it open']
      : []),
    ...(/the same process,/.test(message) && !isEarlier(process, file, found)
      ? ['another process opened it']
      : []),
    ...claim(
      'is another one with its id',
      new RegExp(`(\\S+ \\(pid \\d+\\)), ${WHICH} has it open`, 'g'),
      ({ pid }) =>
        some(({ holders }) =>
          holders.some((one) => one.pid === pid && isEarlier(one, file, found)),
        ),
    ),
    ...claim('did not open it', /(\S+ \(pid \d+\))(?:, which)? opened it/g, (named) =>
      isIt(file.opener, named),
    ),
    ...claim(
      'was not found with it',
      /(\S+ \(pid \d+\))(?:, which)? had it (?:open )?when/g,
      wasFound,
    ),
    ...claim('is not gone', new RegExp(`(\\S+ \\(pid \\d+\\)), ${WHICH} is gone`, 'g'), (named) =>
      some(({ living }) => earlier.some((one) => isIt(one, named) && !living.includes(one))),
    ),
    ...claim(
      'has it still',
      new RegExp(`(\\S+ \\(pid \\d+\\)), ${WHICH} has (?:passed|it no)`, 'g'),
      (named) => some((state) => !has(state, named)),
    ),
    // Whoever has it now may have been the first of the two.
    ...(/when the agent first looked, has passed/.test(message) ? ['that is not known'] : []),
    ...(/which process has it now is not known|no process has a descriptor/.test(message) &&
    !some(({ holders }) => holders.length === 0)
      ? ['somebody has it']
      : []),
    ...(ago === undefined || isAgo(Number(ago), at - file.openedAt) ? [] : ['it was opened then']),
    ...wrongDevices(message, refusal),
  ];
}

/** Whether a process had the file when it was opened or found, and is not another one with its id. */
function isEarlier(process: Process, file: GroupFile, found: Found): boolean {
  return process === file.opener || (found.get(file)?.has(process) ?? false);
}

/** Which devices of the group are open, and who opened them. */
function wrongDevices(message: string, { open }: Refusal): string[] {
  const wrong: string[] = [];
  if (/Only the group is open, and none/.test(message) && open.length > 0)
    wrong.push('a device was open');
  const text = /Of its devices (.*?) (?:is|are) open/.exec(message)?.[1] ?? '';
  for (const part of text ? text.split('; ') : []) {
    const [, name] = /^([^\s,]+)/.exec(part) ?? [];
    const files = open.filter((file) => file.device.uuid === name);
    if (files.length === 0) wrong.push(`${name} was not open`);
    if (/or another process before it/.test(part)) continue;
    for (const named of partiesIn(part)) {
      const isOpener = files.some((file) => {
        const opener = file.is === 'cdev' ? file.binder : file.opener;
        return opener !== undefined && isIt(opener, named);
      });
      if (!isOpener) wrong.push(`pid ${named.pid} did not open ${name}`);
    }
  }
  return wrong;
}

/** Who has bound a device of the group by its cdev. */
function wrongBinder(message: string, { bound, at, open, device }: Refusal): string[] {
  const [, party, name, node, ago] =
    /because (\S+ \(pid \d+\)) bound (\S+) .*?to an iommufd by its cdev(?: (vfio\d+))?(?: ([\d.]+) s before)?/.exec(
      message,
    ) ?? [];
  if (party && bound) {
    const [binder] = partiesIn(party);
    const file = open.find((one) => one.device.uuid === name);
    if (file?.is !== 'cdev' || !file.binder) return [`${name} was not bound`];
    return [
      ...(isIt(file.binder, binder) ? [] : ['another process bound it']),
      ...(node === undefined || nodeOf(file.device) === node ? [] : ['its cdev has another name']),
      ...(ago === undefined || isAgo(Number(ago), at - file.boundAt) ? [] : ['not so long ago']),
    ];
  }
  const [, other] = /because (.*) has bound it by another file/.exec(message) ?? [];
  const file = open.find((one) => one.device === device);
  if (other === undefined || file?.is !== 'cdev' || !file.binder) return [];
  const { binder } = file;
  return partiesIn(other).every((named) => isIt(binder, named)) ? [] : ['another process bound it'];
}

/** Which devices or groups the process opened that could not map memory for them. */
function wrongMapper(message: string, { process, all }: Refusal, found: Found): string[] {
  const [, how = '', ofGroup, names = ''] =
    /which (opened(?:, or had open when the agent first looked,)?|had open when the agent first looked) (the group of )?(.*?),? (?:could not map|for (?:the|a) VM)/.exec(
      message,
    ) ?? [];
  const isIts = (file: TrueFile) => {
    const wasFound = found.get(file)?.has(process) ?? false;
    if (how !== 'opened' && (wasFound || how.startsWith('had'))) return wasFound;
    return (file.is === 'cdev' ? file.binder : file.opener) === process;
  };
  const own = all.filter(isIts).filter(({ is }) => (is === 'group') === (ofGroup !== undefined));
  const devices = own.flatMap((file) =>
    file.is === 'group' ? file.group.names : file.device.uuid,
  );
  return names
    .split(', ')
    .map((one) => one.replace(/ \(.*/, ''))
    .filter((name) => name && !/^\d+ more$/.test(name) && !devices.includes(name))
    .map((name) => `it did not open ${name}`);
}

/** The devices of a group that is not viable. */
function wrongMembers(message: string, { members, isViable, group }: Refusal): string[] {
  const wrong = isViable ? ['the group was viable'] : [];
  for (const [, name, driver] of message.matchAll(/(\S+) is bound to (\w+)/g)) {
    if (!members.some((one) => one.name === name && one.driver === driver))
      wrong.push(`${name} was not bound to ${driver}`);
  }
  const [, id, listed] = /Group (\d+) has (.*)\.$/.exec(message) ?? [];
  const all = members.map(({ name, driver }) => `${name} (${driver ?? 'no driver'})`).join(', ');
  if (Number(id) !== group.id || listed !== all) wrong.push(`it has ${all}`);
  const inUse = members.filter(({ driver }) => driver === 'snd_hda_intel').map(({ name }) => name);
  const named = [...message.matchAll(/(\S+) is bound to/g)].map(([, name]) => name);
  return `${named}` === `${inUse}` ? wrong : [...wrong, `${inUse} is what is in use`];
}

function wrongClose(message: string, { file, what }: Refusal): string[] {
  if (what !== 'nothing, but it is not viable' || !file) return [];
  const said = /closed ([\d.]+) s later/.exec(message)?.[1];
  return isAgo(Number(said), file.closedAt - file.openedAt) ? [] : ['it was open for another time'];
}

function isIt({ pid, names }: Process, named: Named): boolean {
  return pid === named.pid && names.has(named.comm);
}

/** Whether a time in seconds, rounded as messages do, is that one in ns. */
function isAgo(said: number, ns: number): boolean {
  return Math.abs(said - ns / SECOND) <= (ns >= 9.9 * SECOND ? 0.51 : 0.06);
}

/** Where an agent reported a refusal more or less often than it occurred. */
export function miscounted(
  reports: readonly Report[],
  violations: readonly Violation[],
  refusals: readonly Refusal[],
): string[] {
  // One rule reports both uses of a group that is not viable.
  const key = (what: Refusal['what'], pid: number) =>
    `${what === 'nothing, but it is not viable' ? 'request' : what} by pid ${pid}`;
  const truth = tally(refusals.map(({ what, task }) => key(what, task.pid)));
  const reported = tally(
    reports.flatMap((report) => {
      const kind = kindOf(report);
      return kind ? key(kind.what, kind.task.pid) : [];
    }),
  );
  const listed = tally(
    violations.flatMap((violation) => {
      const kind = kindOf(violation);
      if (!kind) return [];
      return violation.processes.listed.flatMap(({ task, occurrences }) =>
        Array.from({ length: occurrences }, () => key(kind.what, task.pid)),
      );
    }),
  );
  return [...new Set([...truth.keys(), ...reported.keys(), ...listed.keys()])]
    .filter((one) => truth.get(one) !== reported.get(one) || truth.get(one) !== listed.get(one))
    .map(
      (one) =>
        `${one}: ${truth.get(one) ?? 0} times, reported ${reported.get(one) ?? 0} times, listed ${listed.get(one) ?? 0} times`,
    );
}

function tally(keys: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1);
  return counts;
}
