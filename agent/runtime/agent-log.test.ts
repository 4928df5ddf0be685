import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { pino } from 'pino';
import { SOUND } from '../../test/kit/simple-rules.ts';
import { AgentLog } from './agent-log.ts';

let lines: Record<string, unknown>[];
let log: AgentLog;
beforeEach(() => {
  lines = [];
  const write = (line: string) => lines.push(JSON.parse(line) as Record<string, unknown>);
  const world = { parents: { size: 1 }, devices: { size: 2 }, vms: { size: 0 } };
  log = new AgentLog(pino({ base: null, timestamp: false, errorKey: 'error' }, { write }), {
    world: world as ConstructorParameters<typeof AgentLog>[1]['world'],
    ringBytes: 4096,
  });
});

describe('the log of lost events', () => {
  it('has one line per tick, with the sum of each reason', () => {
    log.loss('ring_full', 3);
    log.loss('probe_missed', 1);
    log.loss('ring_full', 2);
    assert.equal(lines.length, 0);
    log.tick();
    log.tick();
    assert.equal(lines.length, 1);
    const [{ level, event, lost, msg }] = lines;
    assert.deepEqual([level, event], [40, 'events.lost']);
    assert.deepEqual(lost, { ring_full: 5, probe_missed: 1 });
    assert.match(`${msg}`, /^lost events: 5 \(ring_full\), 1 \(probe_missed\)\. .* above 4096\.$/);
  });

  it('gives no hint about the ring when it was not full', () => {
    log.loss('calls_full', 1);
    log.tick();
    assert.doesNotMatch(`${lines[0].msg}`, /ring\.bytes/);
  });

  it('has the last losses when the agent ends', () => {
    log.loss('malformed', 1);
    log.end();
    assert.equal(lines[0]?.event, 'events.lost');
  });
});

describe('the log of host snapshots', () => {
  it('has the reason, the duration and what is known now', () => {
    log.snapshot({ reason: 'loss', began: 5, lasted: 12_300_000, problems: [] });
    assert.deepEqual(lines, [
      {
        ...{ level: 30, event: 'snapshot.done', reason: 'loss' },
        ...{ parents: 1, devices: 2, vms: 0, durationNs: 12_300_000 },
        msg: 'host snapshot (reason=loss) took 12 ms: 1 parents, 2 devices, 0 vms',
      },
    ]);
  });

  it('has rechecks only at the level debug', () => {
    log.snapshot({ reason: 'recheck', began: 5, lasted: 1, problems: [] });
    assert.equal(lines.length, 0);
  });

  it('has a warning with the code of each problem, also of a recheck', () => {
    const problem = {
      code: 'host.sysfs-unreadable',
      message: 'cannot read /sys/x (EACCES)',
      next: 'run vfioscope as root',
    } as const;
    log.snapshot({ reason: 'recheck', began: 5, lasted: 1, problems: [problem] });
    const [{ level, event, code, next, msg }] = lines;
    assert.deepEqual(
      [level, event, code, next],
      [40, 'snapshot.incomplete', problem.code, problem.next],
    );
    assert.equal(
      msg,
      'host snapshot incomplete: cannot read /sys/x (EACCES); what to do: run vfioscope as root',
    );
  });
});

it('the log has the first error of each rule', () => {
  const rule = { ...SOUND, id: 'one' };
  log.ruleError(rule, new Error('why'));
  log.ruleError(rule, new Error('again'));
  log.ruleError({ ...SOUND, id: 'other' }, new Error('too'));
  assert.deepEqual(
    lines.map(({ event, rule }) => [event, rule]),
    [
      ['rule.error', 'one'],
      ['rule.error', 'other'],
    ],
  );
  assert.equal((lines[0].error as { message: string }).message, 'why');
});

describe('the log of the budget', () => {
  const figures = { used: 0.234, limit: 0.05, lasted: 31e9, wait: 300e9 };
  const concerned = { budget: 'probes', points: ['kvm.put'], lifecycle: false } as const;
  const report = { ...concerned, ...figures };

  it('has the figures, the points and the rules that miss them', () => {
    log.budget({ ...report, change: 'detached' }, ['kvm-ref-leak']);
    const [{ level, event, points, rules, usedPercent, msg }] = lines;
    assert.deepEqual(
      [level, event, points, rules, usedPercent],
      [50, 'budget.detached', ['kvm.put'], ['kvm-ref-leak'], 23.4],
    );
    assert.equal(
      msg,
      'over budget: the probes took 23.4 % of one CPU for 31 s, more than budget.probes_percent allows ' +
        '(5 %). Detached kvm.put. Inactive rules: kvm-ref-leak. They are attached again once the cost ' +
        'was below half of the budget for 300 s.',
    );
  });

  it('says when nothing can be done, when points are back, and when nothing is known', () => {
    log.budget({ ...report, change: 'exhausted', budget: 'agent', points: [] }, []);
    log.budget({ ...report, change: 'restored' }, []);
    log.budget({ ...report, change: 'unmeasured', points: [], reason: 'not permitted' }, []);
    assert.deepEqual(
      lines.map(({ level, event }) => [level, event]),
      [
        [40, 'budget.exhausted'],
        [40, 'budget.restored'],
        [40, 'budget.unmeasured'],
      ],
    );
    assert.match(
      `${lines[0].msg}`,
      /the agent took .* budget\.agent_percent .* nothing is detached/,
    );
    assert.match(`${lines[1].msg}`, /^attached kvm\.put again: /);
    assert.match(`${lines[2].msg}`, /no effect: not permitted$/);
  });
});
