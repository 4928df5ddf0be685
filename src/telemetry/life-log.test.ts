import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { pino } from 'pino';
import { RULES } from '../rules/catalogue.ts';
import { Telling } from '../rules/telling.ts';
import { LifeIds } from './life-ids.ts';
import { LifeLog } from './life-log.ts';

const BASH = { pid: 700, comm: 'bash' };
const BOOT = '00112233-4455-6677-8899-aabbccddeeff';
const EEXIST = 17;
const EAGAIN = 11;
const EBUSY = 16;
const LEVELS: Readonly<Record<number, string>> = { 30: 'info', 40: 'warn', 50: 'error' };

interface Line {
  readonly level: number;
  readonly event: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

class Logged extends Telling {
  readonly lines: Line[] = [];

  readonly log: LifeLog;

  constructor() {
    let ids: LifeIds | undefined;
    super({ rules: RULES, traceIdOf: (life) => ids?.traceIdOf(life) });
    ids = new LifeIds(BOOT, this.world);
    const write = (line: string) => this.lines.push(JSON.parse(line) as Line);
    this.log = new LifeLog(pino({ base: {}, timestamp: false }, { write }), ids);
    this.sink = this.log.take;
    this.engine.onViolation = (violation, change) => this.log.violation(violation, change);
  }

  line(event: string): Line {
    const [line, ...others] = this.live().lines.filter((one) => one.event === event);
    assert.ok(line && others.length === 0, `one ${event} among ${this.lines.map((l) => l.event)}`);
    return line;
  }

  events(): string[] {
    return this.live().lines.map(({ event }) => event);
  }
}

describe('the log of a life', () => {
  it('has a line for each thing that a person wants to know', () => {
    const telling = new Logged();
    telling.tell((story) => {
      const parent = story.parent();
      const vm = story.createVm();
      const device = story.create(parent);
      const open = story.open(device, { vm });
      const removal = story.removeBegins(device, { as: BASH });
      story.close(open);
      story.removeEnds(removal);
      story.closeVm(vm);
      story.parentUnregisterEnds(story.parentUnregisterBegins(parent));
    });
    assert.deepEqual(telling.events(), [
      'parent.registered',
      'vm.created',
      'device.created',
      'device.opened',
      'device.remove_waits',
      'device.closed',
      'device.removed',
      'vm.destroyed',
      'parent.unregistered',
    ]);
    assert.ok(telling.lines.every(({ level }) => LEVELS[level] === 'info'));
  });

  it('says who did what to which device', () => {
    const telling = new Logged();
    const { uuid } = telling.tell((story) => {
      const device = story.create(story.parent({ name: 'gpu0' }));
      story.close(story.open(device, { as: BASH, vm: story.createVm({ as: BASH }) }));
      story.remove(device, { as: BASH });
      return device;
    });
    const created = telling.line('device.created');
    assert.match(
      created.msg,
      new RegExp(`^created {2}${uuid} \\(gpu0-1\\) on gpu0 by mdevctl \\(pid 500\\) in 0\\.1 ms$`),
    );
    const { device, type, parent, duration } = created;
    assert.deepEqual([device, type, parent], [uuid, 'gpu0-1', 'gpu0']);
    assert.ok(Number(duration) > 0 && Number(duration) < 100_000);
    const opened = telling.line('device.opened');
    assert.match(opened.msg, /by bash \(pid 700\), for the VM of bash \(pid 700\)$/);
    assert.deepEqual(opened.process, { pid: 700, comm: 'bash' });
    assert.match(telling.line('device.closed').msg, /by bash \(pid 700\) after 0\.0 s$/);
    assert.match(
      telling.line('device.removed').msg,
      /by bash \(pid 700\) in .* ms, it lived 0\.0 s$/,
    );
  });

  it('says so when a device is opened without a VM', () => {
    const telling = new Logged();
    telling.tell((story) => story.open(story.create(story.parent())));
    assert.match(telling.line('device.opened').msg, /, without a VM$/);
  });

  it('says what was refused, and with which error', () => {
    const telling = new Logged();
    telling.tell((story) => {
      const parent = story.parent();
      story.createFails(parent, EEXIST);
      const device = story.create(parent);
      story.removeEnds(story.removeBegins(device, { idle: true, as: BASH }), { error: EAGAIN });
    });
    assert.match(telling.line('device.create_failed').msg, /^refused .*: EEXIST, asked by mdevctl/);
    assert.equal(telling.line('device.create_failed').errno, 'EEXIST');
    assert.match(telling.line('device.remove_failed').msg, /: EAGAIN, asked by bash \(pid 700\)$/);
  });

  it('follows a PCI device', () => {
    const telling = new Logged();
    const { key } = telling.tell((story) => story.bindPci('0000:01:00.0'));
    telling.raw('vfio.unregister:begin', { dev: key, vdev: key, openCount: 0, names: {} });
    telling.raw('vfio.unregister:end', { dev: key, vdev: key, openCount: 0 });
    telling.raw('vfio.release:begin', { dev: key, vdev: key, names: {} });
    assert.equal(telling.line('device.bound').msg, 'bound    0000:01:00.0 to vfio-pci');
    assert.equal(telling.line('device.released').msg, 'released 0000:01:00.0 by vfio-pci');
  });

  it('has words for objects of which the agent saw only the end', () => {
    const telling = new Logged();
    const names = { device: 'late', bus: 'mdev', type: 't', parent: 'p' };
    telling.raw('vfio.device.close:begin', { dev: 1, vdev: 1, file: 2, openCount: 1, names });
    telling.raw('vfio.device.close:end', { dev: 1, vdev: 1, file: 2, openCount: 0 });
    telling.raw('vfio.unregister:begin', { dev: 1, vdev: 1, openCount: 1, names });
    telling.raw('mdev.remove:begin', { dev: 1, names });
    telling.raw('mdev.remove:end', { dev: 1 });
    telling.raw('kvm.vm.destroy:begin', { kvm: 9 });
    telling.raw('kvm.vm.destroy:end', { kvm: 9 });
    telling.raw('mdev.parent.unregister:begin', { parent: 4, names: { parent: 'p' } });
    telling.raw('mdev.parent.unregister:end', { parent: 4 });
    assert.deepEqual(telling.events(), [
      'device.closed',
      'device.remove_waits',
      'device.removed',
      'vm.destroyed',
      'parent.unregistered',
    ]);
    for (const { msg } of telling.lines) assert.doesNotMatch(msg, /undefined|NaN|null/);
    assert.match(telling.line('vm.destroyed').msg, /a VM whose maker was not seen/);
  });
});

describe('the log of a violation', () => {
  it('has ids, explanation and evidence, and goes on to its end', () => {
    const telling = new Logged();
    const device = telling.tell((story) => story.create(story.parent()));
    const open = telling.tell((story) => story.open(device, { vm: story.createVm() }));
    const removal = telling.tell((story) => story.removeBegins(device, { as: BASH }));
    telling.tell((story) => story.wait(61));
    telling.tell((story) => story.close(open));
    telling.tell((story) => story.removeEnds(removal));
    const raised = telling.line('violation.raised');
    assert.deepEqual(
      [raised.violation, raised.rule, raised.severity, raised.device, raised.quality, raised.count],
      ['v1', 'remove-stall', 'warning', device.uuid, 'observed', 1],
    );
    assert.deepEqual(
      [raised.process, LEVELS[raised.level]],
      [{ pid: 700, tid: 700, comm: 'bash', uid: 0 }, 'warn'],
    );
    assert.match(String(raised.vm), /^vm\d+$/);
    assert.ok(
      raised.msg.includes('remove-stall') && raised.msg.includes(String(raised.explanation)),
    );
    assert.ok(Array.isArray(raised.evidence) && raised.evidence.length > 5);
    const escalated = telling.line('violation.escalated');
    assert.deepEqual(
      [escalated.violation, escalated.severity, LEVELS[escalated.level]],
      ['v1', 'error', 'error'],
    );
    assert.match(escalated.msg, /^ESCALATED v1 remove-stall \(error\): .*\n.* waiting for 60 s/);
    const resolved = telling.line('violation.resolved');
    assert.equal(
      resolved.msg,
      `resolved v1 remove-stall of ${device.uuid}, 51 s after it was raised`,
    );
    assert.deepEqual([resolved.violation, LEVELS[resolved.level]], ['v1', 'info']);
    assert.ok(Number(resolved.duration) > 51e9 && Number(resolved.duration) < 51.1e9);
  });

  it('says in words and in fields who holds what, who waits, and who did it', () => {
    const telling = new Logged();
    const { uuid } = telling.tell((story) => {
      const device = story.create(story.parent());
      story.open(device, { vm: story.createVm() });
      story.removeBegins(device, { as: BASH });
      story.wait(11);
      return device;
    });
    const { msg, vm, holders, blocked, creator, remover } = telling.line('violation.raised');
    assert.deepEqual(msg.split('\n  ').slice(2), [
      `held by    qemu (pid 600, uid 0): device ${uuid}, fd 20, for ${vm}, opened 10 s ago`,
      'blocked    bash (pid 700, uid 0)',
      'created by mdevctl (pid 500, uid 0)',
      'removed by bash (pid 700, uid 0)',
    ]);
    const process = { pid: 600, tid: 600, comm: 'qemu', uid: 0 };
    const [{ since, ...holder }] = holders as { since: number }[];
    assert.deepEqual(holder, { process, holds: 'device', how: 'opened', device: uuid, fd: 20, vm });
    assert.ok(since > 1000e9);
    const bash = { pid: 700, tid: 700, comm: 'bash', uid: 0 };
    assert.deepEqual([blocked, remover], [bash, bash]);
    assert.deepEqual(creator, { pid: 500, tid: 500, comm: 'mdevctl', uid: 0 });
  });

  it('does not repeat itself each time that an act is repeated', () => {
    const telling = new Logged();
    const refuse = (seconds: number) =>
      telling.tell((story) => {
        story.groupOpenFails(device, EBUSY);
        story.wait(seconds);
      });
    const device = telling.tell((story) => story.create(story.parent()));
    for (let i = 0; i < 100; i++) refuse(0);
    refuse(11);
    assert.deepEqual(telling.events().slice(-1), ['violation.raised']);
    refuse(1);
    const { msg, count, violation } = telling.line('violation.repeated');
    assert.deepEqual([count, violation], [102, 'v1']);
    assert.match(msg, /^again {4}v1 open-failed \(warning\), 102 times: /);
  });

  it('is held back where a rule has too many, and their number is told', () => {
    const telling = new Logged();
    const parent = telling.tell((story) => story.parent());
    const { uuid } = telling.tell((story) => story.create(parent));
    for (let i = 0; i < 40; i++) {
      telling.tell((story) => story.createFails(parent, EEXIST, { uuid }));
    }
    const raised = telling.events().filter((event) => event === 'violation.raised');
    assert.equal(raised.length, 30);
    telling.log.tick(telling.world.now + 61e9);
    const { rule, lines, msg } = telling.line('violation.held_back');
    assert.deepEqual([rule, lines], ['duplicate-uuid', 10]);
    assert.match(msg, /^held back 10 more lines about duplicate-uuid within a minute/);
    assert.deepEqual([...telling.log.heldBack], [['duplicate-uuid', 10]]);
  });

  it('has the ids of the trace that it belongs to, as have the lines of that life', () => {
    const telling = new Logged();
    telling.tell((story) => {
      const device = story.create(story.parent());
      story.open(device, { vm: story.createVm() });
      story.removeBegins(device, { as: BASH });
      story.wait(11);
    });
    const events = ['device.created', 'device.opened', 'device.remove_waits', 'violation.raised'];
    const lines = events.map((event) => telling.line(event));
    for (const { trace_id, span_id } of lines) {
      assert.match(String(trace_id), /^[0-9a-f]{32}$/);
      assert.match(String(span_id), /^[0-9a-f]{16}$/);
    }
    assert.equal(new Set(lines.map((line) => line.trace_id)).size, 1);
    // Each is about another part of the life; the violation is about all of it.
    assert.equal(new Set(lines.map((line) => line.span_id)).size, 4);
    assert.notEqual(telling.line('vm.created').trace_id, lines[0].trace_id);
  });

  for (const rule of RULES) {
    it(`reads well and has the right level: ${rule.id}`, () => {
      for (const { tell } of rule.examples.fires) {
        const telling = new Logged();
        telling.tell(tell);
        const own = telling.lines.filter((line) => line.rule === rule.id);
        assert.ok(own.length > 0);
        for (const { msg, severity, level, evidence, event } of own) {
          assert.doesNotMatch(msg, /undefined|NaN|null|\[object/);
          if (event === 'violation.resolved') continue;
          const expected = { info: 'info', warning: 'warn', error: 'error', critical: 'error' };
          assert.equal(LEVELS[level], expected[severity as keyof typeof expected]);
          if (event === 'violation.repeated') continue;
          assert.ok(Array.isArray(evidence));
          // It is about the host: there is no object of which events could be kept.
          assert.equal(evidence.length === 0, rule.id === 'observer-gap');
          for (const line of evidence) assert.doesNotMatch(String(line), /undefined|NaN|null/);
        }
      }
    });
  }
});
