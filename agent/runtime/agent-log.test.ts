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
