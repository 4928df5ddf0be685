import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RULES } from '../../src/catalogue.ts';
import { isPossible, pointsNeeded, type Rule } from '../../src/engine/rule.ts';
import type { PointStatus } from '../../src/events/source.ts';
import { NO_TRAITS, TRAIT_NAMES, TRAITS } from '../../src/events/traits.ts';
import { PROBE_TABLE } from '../../src/kernel/probe-table.ts';
import { LINUX_6_1, LINUX_6_12 } from '../../src/scenario/kernels.ts';
import { SOUND } from '../../test/kit/simple-rules.ts';
import { ruleStates, whyInactive } from '../runtime/rule-options.ts';
import { type DoctorReport, render } from './doctor.ts';

const KERNEL = LINUX_6_12;

type Changes = Readonly<Record<string, Partial<PointStatus>>>;

function points(changes: Changes = {}): PointStatus[] {
  return PROBE_TABLE.map(({ point, module, description, candidates }) => {
    const [hook] = candidates.flatMap(({ hooks }) => hooks);
    const how = hook
      ? { state: 'attached' as const, symbol: hook.symbol, method: 'kprobe+kretprobe' }
      : { state: 'inferred' as const, reason: candidates[0].because ?? '' };
    return { point, module, description, missed: 0, limited: false, ...how, ...changes[point] };
  });
}

function report(changes: Partial<DoctorReport> = {}): DoctorReport {
  const statuses = changes.points ?? points();
  return {
    exit: 0,
    kernel: '6.12.57+deb13-amd64',
    btf: true,
    lockdown: 'none',
    capabilities: ['CAP_SYS_ADMIN', 'CAP_PERFMON', 'CAP_BPF'],
    libbpf: 'v1.5',
    kernelLogProblem: undefined,
    problem: undefined,
    points: statuses,
    rules: ruleStates(statuses, KERNEL),
    traits: TRAIT_NAMES.map((name) => ({
      ...{ name, statement: TRAITS[name].statement, value: KERNEL[name] },
      evidence: 'vfio has the symbol vfio_df_open',
    })),
    modules: [],
    remediation: [],
    ...changes,
  };
}

/** The lines that begin with ok or no, as [ok or no, name, rest]. */
function marks(text: string): string[][] {
  return [...text.matchAll(/^ {2}(ok|no) +(\S+) +(.*)$/gm)].map(([, mark, name, rest]) => [
    mark,
    name,
    rest,
  ]);
}

describe('the states of rules', () => {
  const old: Rule = {
    ...SOUND,
    id: 'old',
    kernels: { where: { coreHoldsVm: false }, because: 'it was fixed' },
  };

  it('show that a violation cannot happen on the kernel, whatever is watched', () => {
    for (const watched of [points(), []]) {
      const [state] = ruleStates(watched, KERNEL, [old]);
      assert.deepEqual([state.active, state.impossible], [false, 'it was fixed']);
    }
  });

  it('are active on a kernel where it can happen', () => {
    const [state] = ruleStates(points(), LINUX_6_1, [old]);
    assert.deepEqual([state.active, state.impossible], [true, undefined]);
  });

  it('say what has to be known of the kernel and is not', () => {
    const needing: Rule = { ...SOUND, id: 'needing', traits: ['opensDuringRemoval'] };
    for (const rule of [old, needing]) {
      const [state] = ruleStates(points(), NO_TRAITS, [rule]);
      assert.deepEqual(
        [state.active, state.impossible, state.unknown.length],
        [false, undefined, 1],
      );
      assert.match(whyInactive(state), /^it is not known whether (the core|a device) \w+/);
    }
    const [known] = ruleStates(points(), LINUX_6_1, [needing]);
    assert.deepEqual([known.active, known.unknown], [true, []]);
    // A module that is not loaded is the reason for both.
    const [unloaded] = ruleStates([], NO_TRAITS, [{ ...needing, needs: ['vfio.init'] }]);
    assert.equal(whyInactive(unloaded), 'needs vfio.init');
  });
});

describe('the report when everything works', () => {
  const text = render(report());

  it('marks every fact, point and rule as ok', () => {
    assert.deepEqual(
      marks(text).filter(([mark]) => mark !== 'ok'),
      [],
    );
    assert.equal(marks(text).length, 6 + PROBE_TABLE.length + RULES.length + TRAIT_NAMES.length);
  });

  it('says so at its end, and gives no remediation', () => {
    assert.match(text, /\neverything works on this host$/);
    assert.doesNotMatch(text, /what to do/);
  });

  it('names the kernel function and the method of each point', () => {
    assert.match(text, /ok +mdev\.create +mdev_device_create \(kprobe\+kretprobe\)\n/);
  });
});

describe('the report when some of it works', () => {
  const reason = 'the module mdev is not loaded';
  const statuses = points({
    'mdev.create': { state: 'waiting', reason },
    'kvm.get': { state: 'failed', reason: 'this kernel has no function kvm_get_kvm' },
  });
  const remediation = ['load the module mdev (modprobe mdev)'];
  const text = render(report({ exit: 1, points: statuses, remediation }));

  it('says why a point does not work', () => {
    assert.deepEqual(
      marks(text).filter(([mark, name]) => mark === 'no' && name.includes('.')),
      [
        ['no', 'mdev.create', reason],
        ['no', 'kvm.get', 'this kernel has no function kvm_get_kvm'],
      ],
    );
  });

  it('names the missing point of each rule that needs it', () => {
    const inactive = RULES.filter(
      (rule) =>
        isPossible(rule, KERNEL) &&
        pointsNeeded(rule).some((point) => point === 'mdev.create' || point === 'kvm.get'),
    );
    assert.ok(inactive.length > 0 && inactive.length < RULES.length);
    const shown = marks(text).filter(([mark, name]) => mark === 'no' && !name.includes('.'));
    assert.deepEqual(
      shown.map(([, name]) => name),
      inactive.map(({ id }) => id),
    );
    for (const [, , rest] of shown) assert.match(rest, /^inactive, needs (mdev\.create|kvm\.get)/);
  });

  it('gives its remediation before the verdict', () => {
    assert.match(
      text,
      /\nwhat to do\n {2}load the module mdev .*\n\nvfioscope works on this host, but/,
    );
  });
});

describe('the report when nothing can work', () => {
  const problem = {
    code: 'host.missing-capabilities',
    message: 'this process lacks CAP_BPF',
    next: 'run it as root',
  } as const;
  const nothing = {
    exit: 2,
    problem,
    points: [],
    rules: [],
    modules: [],
    remediation: [problem.next],
  } as const;

  it('says why and what to do, without empty tables', () => {
    const text = render(report({ ...nothing, capabilities: [] }));
    assert.match(text, /\ncannot work on this host: this process lacks CAP_BPF\n/);
    assert.match(text, /\nwhat to do\n {2}run it as root\n/);
    assert.match(text, /\nvfioscope cannot work on this host$/);
    assert.doesNotMatch(text, /^(points|rules)$/m);
  });

  for (const [title, changes, line] of [
    ['no BTF', { btf: false }, ['no', 'BTF', 'missing']],
    ['lockdown', { lockdown: 'confidentiality' }, ['no', 'lockdown', 'confidentiality']],
    ['no rights', { capabilities: [] }, ['no', 'capabilities', 'none']],
    ['few rights', { capabilities: ['CAP_BPF'] }, ['no', 'capabilities', 'CAP_BPF']],
    ['no libbpf', { libbpf: undefined }, ['no', 'libbpf', 'not installed']],
    [
      'no kernel log',
      { kernelLogProblem: 'EPERM: operation not permitted' },
      ['no', 'kmsg', 'EPERM: operation not permitted'],
    ],
  ] as const) {
    it(`marks the fact that is wrong: ${title}`, () => {
      const wrong = marks(render(report({ ...nothing, ...changes }))).filter(
        ([mark]) => mark === 'no',
      );
      assert.deepEqual(wrong, [[...line]]);
    });
  }

  it('accepts lockdown in integrity mode', () => {
    assert.match(render(report({ lockdown: 'integrity' })), /ok +lockdown +integrity/);
  });
});

describe('any report', () => {
  it('never contains undefined', () => {
    for (const exit of [0, 1, 2] as const) {
      const bare = points({ 'kvm.put': { state: 'failed', reason: 'it was not attempted' } });
      assert.doesNotMatch(render(report({ exit, points: bare })), /undefined|null|NaN/);
    }
  });
});
