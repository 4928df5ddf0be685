import assert from 'node:assert/strict';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { pino } from 'pino';
import { Views } from '../../src/http/views.ts';
import { TraceIds } from '../../src/telemetry/trace-ids.ts';
import { Measured } from '../../test/kit/measured.ts';
import { CriticalStore } from './critical-store.ts';
import { Criticals } from './criticals.ts';

const BOOT = 'f3c1a2b4-0000-4000-8000-000000000001';
const NAME = 'critical-violations.json';

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'vfioscope-criticals-'));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

/** One run of an agent. */
class Run {
  readonly lines: Record<string, unknown>[] = [];
  readonly runner = new Measured();
  readonly criticals: Criticals;

  at: number;

  constructor(boot = BOOT, directory = join(home, 'state'), at = 1000) {
    this.at = at;
    const stream = { write: (line: string) => void this.lines.push(JSON.parse(line)) };
    const { world, host } = this.runner;
    const views = new Views(world, () => 0, host, new TraceIds(boot, world));
    this.criticals = new Criticals({
      log: pino({ base: null }, stream),
      store: new CriticalStore(directory, boot),
      view: (violation) => views.violation(violation),
      now: () => this.at,
    });
    this.criticals.load();
    this.runner.sinks.push(this.criticals);
  }

  events(): unknown[] {
    return this.lines.map(({ event }) => event);
  }

  /** A device is removed while a VM has it open. */
  tearDown(): void {
    this.runner.run((scenario) => {
      const device = scenario.create(scenario.parent({ name: 'gpu0', driver: 'nv' }));
      scenario.open(device, { vm: scenario.createVm() });
      scenario.removeEnds(scenario.removeBegins(device));
    });
  }
}

describe('critical violations', () => {
  it('are known to the next run of the agent, with their evidence and the holder of then', () => {
    const first = new Run();
    first.tearDown();
    const found = first.criticals.series();
    assert.ok(found.length > 0);
    assert.deepEqual(first.criticals.earlier(), []);

    const second = new Run(BOOT, undefined, 5000);
    assert.deepEqual(second.criticals.series(), found);
    const [earlier] = second.criticals.earlier() as unknown as Record<string, unknown>[];
    assert.equal(earlier.fromEarlierRun, true);
    assert.equal(earlier.state, 'happened');
    assert.ok((earlier.evidence as unknown[]).length > 3);
    assert.deepEqual(second.events(), ['criticals.restored']);
    const [{ rule, device, holderPid, holderComm, vmComm, at }] = found;
    assert.ok(rule !== '' && device !== '');
    assert.deepEqual([holderPid, holderComm, vmComm, at], ['600', 'qemu', 'qemu', 1000]);
  });

  it('are written when they are found, not when the agent ends', () => {
    new Run().tearDown();
    assert.ok(new Run().criticals.series().length > 0);
  });

  it('are the only ones that are kept', () => {
    const run = new Run();
    run.runner.run((scenario) => {
      const device = scenario.create(scenario.parent({ name: 'gpu0', driver: 'nv' }));
      scenario.open(device, { vm: scenario.createVm() });
      scenario.removeBegins(device);
      scenario.wait(100);
    });
    assert.ok(run.runner.engine.list().length > 0);
    assert.deepEqual(run.criticals.series(), []);
    assert.throws(() => statSync(join(home, 'state', NAME)), { code: 'ENOENT' });
  });

  it('are at most 100, the latest', () => {
    const run = new Run();
    for (let i = 0; i < 120; i++) run.tearDown();
    const kept = run.criticals.series();
    assert.equal(kept.length, 100);
    assert.ok(run.criticals.dropped > 0);
    const numbers = kept.map(({ id }) => Number(id.replace(/\D/g, '')));
    assert.equal(Math.max(...numbers), run.runner.engine.list().length);
  });

  it('keep their time and place when only more becomes known of them, or when they end', () => {
    const run = new Run();
    run.tearDown();
    run.tearDown();
    const before = run.criticals.series();
    const [{ id }] = before;
    const violation = run.runner.engine.list().find((one) => one.id === id);
    assert.ok(violation);
    run.at = 2000;
    run.criticals.violation(violation, 'waiters_found');
    run.criticals.violation(violation, 'resolved');
    assert.deepEqual(run.criticals.series(), before);

    run.criticals.violation(violation, 'repeated');
    assert.deepEqual(run.criticals.series(), [...before.slice(1), { ...before[0], at: 2000 }]);
  });

  it('that were pushed out by a hundred later ones do not come back when they end', () => {
    const run = new Run();
    run.tearDown();
    const violation = run.runner.engine.list().find(({ severity }) => severity === 'critical');
    assert.ok(violation);
    for (let i = 0; i < 120; i++) run.tearDown();
    const [kept, dropped] = [run.criticals.series(), run.criticals.dropped];
    run.criticals.violation(violation, 'resolved');
    assert.deepEqual(run.criticals.series(), kept);
    assert.equal(run.criticals.dropped, dropped);
  });

  it('of another boot are set aside, because that kernel is gone', () => {
    new Run().tearDown();
    const next = new Run('f3c1a2b4-0000-4000-8000-000000000002');
    assert.deepEqual(next.criticals.series(), []);
    assert.deepEqual(next.events(), ['criticals.set_aside']);
    assert.equal(next.lines[0].reason, 'it is of another boot');
    assert.deepEqual(readdirSync(join(home, 'state')), [`${NAME}.set-aside`]);
  });

  const damages: readonly (readonly [string, (text: string) => string])[] = [
    ['empty', () => ''],
    ['cut off', (text) => text.slice(0, text.length / 2)],
    ['no JSON', () => '\0\0\0'],
    ['another document', () => '[]'],
    ['of a later format', (text) => text.replace('"format":1', '"format":2')],
    ['without a rule', (text) => text.replace('"rule":', '"roule":')],
    ['with a time that is none', (text) => text.replace('"at":1000', '"at":"soon"')],
    ['too large', () => ' '.repeat(9 << 20)],
  ];
  for (const [title, damage] of damages) {
    it(`are set aside when the file is ${title}, and new ones are kept`, () => {
      new Run().tearDown();
      const file = join(home, 'state', NAME);
      writeFileSync(file, damage(readFileSync(file, 'utf8')));
      const next = new Run();
      assert.deepEqual(next.events(), ['criticals.set_aside']);
      assert.deepEqual(next.criticals.series(), []);
      next.tearDown();
      assert.ok(new Run().criticals.series().length > 0);
    });
  }

  it('are not kept in a directory that others may write to, and the log says so', () => {
    const directory = join(home, 'open');
    mkdirSync(directory);
    chmodSync(directory, 0o777);
    const run = new Run(BOOT, directory);
    assert.deepEqual(run.events(), ['criticals.not_kept']);
    run.tearDown();
    assert.ok(run.criticals.series().length > 0);
    assert.deepEqual(readdirSync(directory), []);
  });

  it('are not kept where there can be no directory, and are still shown', () => {
    writeFileSync(join(home, 'file'), '');
    const run = new Run(BOOT, join(home, 'file', 'state'));
    assert.deepEqual(run.events(), ['criticals.not_kept']);
    run.tearDown();
    assert.ok(run.criticals.series().length > 0);
  });

  it('are not written through a link that somebody left', () => {
    const directory = join(home, 'state');
    mkdirSync(directory, { mode: 0o700 });
    writeFileSync(join(home, 'victim'), 'untouched');
    symlinkSync(join(home, 'victim'), join(directory, `${NAME}.new`));
    new Run().tearDown();
    assert.equal(readFileSync(join(home, 'victim'), 'utf8'), 'untouched');
    assert.equal(statSync(join(directory, NAME)).mode & 0o777, 0o600);
  });
});
