import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { pino } from 'pino';
import { ScenarioRunner } from '../../test/kit/scenario-runner.ts';
import { RULES } from '../catalogue.ts';
import type { Host, WaitingTask } from '../events/host.ts';
import type { Device, Vm } from '../lifecycle/objects.ts';
import { attachCdev, bindCdev, bindCdevFails, closeCdev, openCdev } from '../scenario/cdev.ts';
import { LINUX_6_12 } from '../scenario/kernels.ts';
import type { ScenarioParent } from '../scenario/types.ts';
import { LifecycleLog } from './lifecycle-log.ts';
import { TraceIds } from './trace-ids.ts';

const BASH = { pid: 700, comm: 'bash' };
const BOOT = '00112233-4455-6677-8899-aabbccddeeff';
/** ns from boot to 1970. */
const OFFSET = 1_763_000_000e9;
const EEXIST = 17;
const EAGAIN = 11;
const EBUSY = 16;
const LEVELS: Readonly<Record<number, string>> = {
  30: 'info',
  40: 'warn',
  50: 'error',
  60: 'fatal',
};

interface Line {
  readonly level: number;
  readonly event: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

class Logged extends ScenarioRunner {
  readonly lines: Line[] = [];

  readonly log: LifecycleLog;

  constructor(host?: Host) {
    let ids: TraceIds | undefined;
    const traceIdOf = (object: Device | Vm) => ids?.traceIdOf(object);
    super({ rules: RULES, traceIdOf, ...(host ? { host } : {}) });
    ids = new TraceIds(BOOT, this.world);
    const write = (line: string) => this.lines.push(JSON.parse(line) as Line);
    this.log = new LifecycleLog(pino({ base: {}, timestamp: false }, { write }), ids, () => OFFSET);
    this.sinks.push(this.log);
  }

  line(event: string): Line {
    const [line, ...others] = this.flush().lines.filter((one) => one.event === event);
    assert.ok(line && others.length === 0, `one ${event} among ${this.lines.map((l) => l.event)}`);
    return line;
  }

  events(): string[] {
    return this.flush().lines.map(({ event }) => event);
  }
}

/** Has a UUID refused that exists: another one each time, so that each refusal is another violation. */
function refuseUuid(runner: Logged, parent: ScenarioParent): void {
  runner.run((scenario) => {
    const { uuid } = scenario.create(parent);
    scenario.createFails(parent, EEXIST, { uuid });
  });
}

describe('the log of a lifecycle', () => {
  it('has a line for each step', () => {
    const runner = new Logged();
    runner.run((scenario) => {
      const parent = scenario.parent();
      const vm = scenario.createVm();
      const device = scenario.create(parent);
      const open = scenario.open(device, { vm });
      const removal = scenario.removeBegins(device, { as: BASH });
      scenario.close(open);
      scenario.removeEnds(removal);
      scenario.closeVm(vm);
      scenario.parentUnregisterEnds(scenario.parentUnregisterBegins(parent));
    });
    assert.deepEqual(runner.events(), [
      'parent.registered',
      'vm.created',
      'device.created',
      'device.opened',
      'device.removal_waiting',
      'device.closed',
      'device.removed',
      'vm.destroyed',
      'parent.unregistered',
    ]);
    assert.ok(runner.lines.every(({ level }) => LEVELS[level] === 'info'));
  });

  it('names the device, the process and the duration', () => {
    const runner = new Logged();
    const { uuid } = runner.run((scenario) => {
      const device = scenario.create(scenario.parent({ name: 'gpu0' }));
      scenario.close(scenario.open(device, { as: BASH, vm: scenario.createVm({ as: BASH }) }));
      scenario.remove(device, { as: BASH });
      return device;
    });
    const created = runner.line('device.created');
    assert.match(
      created.msg,
      new RegExp(`^created ${uuid} \\(gpu0-1\\) on gpu0 by mdevctl \\(pid 500\\) in 0\\.1 ms$`),
    );
    const { device, mdevType, parent, durationNs } = created;
    assert.deepEqual([device, mdevType, parent], [uuid, 'gpu0-1', 'gpu0']);
    assert.ok(Number(durationNs) > 0 && Number(durationNs) < 100_000);
    const opened = runner.line('device.opened');
    assert.match(opened.msg, /by bash \(pid 700\), for the VM of bash \(pid 700\)$/);
    assert.deepEqual(opened.process, { pid: 700, comm: 'bash' });
    assert.match(runner.line('device.closed').msg, /by bash \(pid 700\) after 0\.0 s$/);
    assert.match(
      runner.line('device.removed').msg,
      /by bash \(pid 700\) in .* ms, 0\.0 s after its creation$/,
    );
  });

  it('has the time of the event in each line, however much later it is written', () => {
    const runner = new Logged();
    const began = runner.world.now;
    runner.run((scenario) => {
      const parent = scenario.parent();
      const vm = scenario.createVm();
      const device = scenario.create(parent);
      scenario.pass(100);
      scenario.close(scenario.open(device, { vm }));
      scenario.remove(device);
      scenario.closeVm(vm);
      scenario.parentUnregisterEnds(scenario.parentUnregisterBegins(parent));
    });
    assert.equal(runner.lines.length, 8);
    const times = runner.lines.map(({ eventTime }) => Date.parse(String(eventTime)));
    assert.deepEqual(times, times.toSorted());
    const [created, opened] = ['device.created', 'device.opened'].map((event) =>
      Date.parse(String(runner.line(event).eventTime)),
    );
    assert.equal(opened - created, 100_000);
    const [{ createdAt }] = runner.world.devices.ended.list();
    assert.ok(createdAt > began);
    assert.equal(created, Math.floor((createdAt + OFFSET) / 1e6));
  });

  it('has no duration where the begin was not observed', () => {
    const runner = new Logged();
    runner.raw('mdev.parent.unregister:end', { parent: 4 });
    runner.raw('mdev.parent.register:begin', { parent: 4, names: { parent: 'p', driver: 'd' } });
    runner.raw('mdev.parent.register:end', { parent: 4 });
    for (const { durationNs } of runner.lines) assert.ok(durationNs === undefined);
  });

  it('reports that a device is opened without a VM', () => {
    const runner = new Logged();
    runner.run((scenario) => scenario.open(scenario.create(scenario.parent())));
    assert.match(runner.line('device.opened').msg, /, without a VM$/);
  });

  it('reports the steps of a cdev, and those that fail', () => {
    const runner = new Logged();
    const SHIM = { pid: 700, comm: 'shim' };
    runner.run((scenario) => {
      const device = scenario.create(scenario.parent());
      closeCdev(scenario, openCdev(scenario, device));
      const cdev = openCdev(scenario, device, { as: SHIM });
      bindCdevFails(scenario, cdev, 16, { at: 'group' });
      bindCdev(scenario, cdev, { as: { pid: 800, comm: 'qemu' } });
      attachCdev(scenario, cdev, { error: 2 });
      attachCdev(scenario, cdev);
      closeCdev(scenario, cdev);
    });
    const lines = runner.lines.filter(({ event }) => `${event}`.startsWith('cdev.'));
    const words = lines.map(({ event, msg }) => [
      event,
      msg.replace(/ \(mtty-1\)|[0-9a-f-]{36}/g, ''),
    ]);
    assert.deepEqual(words, [
      [
        'cdev.opened',
        'opened the cdev of  by qemu (pid 600): the device is held, but not open by it',
      ],
      ['cdev.closed', 'closed the cdev of , which was never bound, by qemu (pid 600) after 0.0 s'],
      [
        'cdev.opened',
        'opened the cdev of  by shim (pid 700): the device is held, but not open by it',
      ],
      [
        'cdev.bind_failed',
        'failed to bind the cdev of  to iommufd: EBUSY, requested by shim (pid 700)',
      ],
      [
        'cdev.attach_failed',
        'failed to attach  to an address space: ENOENT, requested by shim (pid 700)',
      ],
      ['cdev.attached', 'attached  to an address space by shim (pid 700)'],
      ['cdev.closed', 'closed the cdev of  by shim (pid 700) after 0.0 s'],
    ]);
  });

  it('reports what failed, with the error', () => {
    const runner = new Logged();
    runner.run((scenario) => {
      const parent = scenario.parent();
      scenario.createFails(parent, EEXIST);
      const device = scenario.create(parent);
      scenario.removeEnds(scenario.removeBegins(device, { idle: true, as: BASH }), {
        error: EAGAIN,
      });
    });
    assert.match(
      runner.line('device.create_failed').msg,
      /^failed to create .*: EEXIST, requested by mdevctl/,
    );
    assert.equal(runner.line('device.create_failed').errno, 'EEXIST');
    assert.match(
      runner.line('device.remove_failed').msg,
      /^failed to remove .*: EAGAIN, requested by bash \(pid 700\)$/,
    );
  });

  it('reports when a PCI device is bound and released', () => {
    const runner = new Logged();
    const { key } = runner.run((scenario) => scenario.bindPci('0000:01:00.0'));
    runner.raw('vfio.unregister:begin', { dev: key, vdev: key, openCount: 0, names: {} });
    runner.raw('vfio.unregister:end', { dev: key, vdev: key, openCount: 0 });
    runner.raw('vfio.release:begin', { dev: key, vdev: key, names: {} });
    assert.equal(runner.line('device.bound').msg, 'bound 0000:01:00.0 to vfio-pci');
    assert.equal(runner.line('device.released').msg, 'released 0000:01:00.0 by vfio-pci');
  });

  it('reports the end of objects that were not observed before', () => {
    const runner = new Logged();
    const names = { device: 'adopted', bus: 'mdev', type: 't', parent: 'p' };
    runner.raw('vfio.device.close:begin', { dev: 1, vdev: 1, file: 2, openCount: 1, names });
    runner.raw('vfio.device.close:end', { dev: 1, vdev: 1, file: 2, openCount: 0 });
    runner.raw('vfio.unregister:begin', { dev: 1, vdev: 1, openCount: 1, names });
    runner.raw('mdev.remove:begin', { dev: 1, names });
    runner.raw('mdev.remove:end', { dev: 1 });
    runner.raw('kvm.vm.destroy:begin', { kvm: 9 });
    runner.raw('kvm.vm.destroy:end', { kvm: 9 });
    runner.raw('mdev.parent.unregister:begin', { parent: 4, names: { parent: 'p' } });
    runner.raw('mdev.parent.unregister:end', { parent: 4 });
    assert.deepEqual(runner.events(), [
      'device.closed',
      'device.removal_waiting',
      'device.removed',
      'vm.destroyed',
      'parent.unregistered',
    ]);
    for (const { msg } of runner.lines) assert.doesNotMatch(msg, /undefined|NaN|null/);
    assert.match(runner.line('vm.destroyed').msg, /a VM whose creator was not observed/);
  });
});

describe('the log of a violation', () => {
  it('has ids, message and evidence, and lines for its escalation and end', () => {
    const runner = new Logged();
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    const open = runner.run((scenario) => scenario.open(device, { vm: scenario.createVm() }));
    const removal = runner.run((scenario) => scenario.removeBegins(device, { as: BASH }));
    runner.run((scenario) => scenario.wait(61));
    runner.run((scenario) => scenario.close(open));
    runner.run((scenario) => scenario.removeEnds(removal));
    const raised = runner.line('violation.raised');
    assert.deepEqual(
      [raised.violation, raised.rule, raised.severity, raised.device, raised.quality, raised.count],
      ['v1', 'remove-stall', 'warning', device.uuid, 'observed', 1],
    );
    assert.deepEqual(
      [raised.process, LEVELS[raised.level]],
      [{ pid: 700, tid: 700, comm: 'bash', uid: 0 }, 'warn'],
    );
    assert.match(String(raised.vm), /^vm\d+$/);
    assert.ok(raised.msg.includes('remove-stall') && raised.msg.includes(String(raised.message)));
    assert.ok(Array.isArray(raised.evidence) && raised.evidence.length > 5);
    const escalated = runner.line('violation.escalated');
    assert.deepEqual(
      [escalated.violation, escalated.severity, LEVELS[escalated.level]],
      ['v1', 'error', 'error'],
    );
    assert.match(escalated.msg, /^ESCALATED v1 remove-stall \(error\): .*\n.* waiting for 60 s/);
    const resolved = runner.line('violation.resolved');
    assert.equal(
      resolved.msg,
      `resolved v1 remove-stall of ${device.uuid}, 51 s after it was raised: The removal of ` +
        `${device.uuid} (mtty-1) by bash (pid 700) waited for 61 s until nobody had the device open.`,
    );
    assert.deepEqual([resolved.violation, LEVELS[resolved.level]], ['v1', 'info']);
    const [violation] = runner.violations();
    const isoOf = (at: number) => new Date((at + OFFSET) / 1e6).toISOString();
    assert.equal(raised.eventTime, isoOf(violation.firstSeen));
    assert.equal(resolved.eventTime, isoOf(violation.resolvedAt));
    assert.ok(Number(resolved.durationNs) > 51e9 && Number(resolved.durationNs) < 51.1e9);
  });

  it('has the attribution in text and in fields', () => {
    const runner = new Logged();
    const { uuid } = runner.run((scenario) => {
      const device = scenario.create(scenario.parent());
      scenario.open(device, { vm: scenario.createVm() });
      scenario.removeBegins(device, { as: BASH });
      scenario.wait(11);
      return device;
    });
    const { msg, vm, holders, blocked, createdBy, removedBy } = runner.line('violation.raised');
    assert.deepEqual(msg.split('\n  ').slice(2), [
      `held by qemu (pid 600, uid 0): device ${uuid}, fd 20, for ${vm}, opened 10 s ago`,
      'blocked bash (pid 700, uid 0)',
      'created by mdevctl (pid 500, uid 0)',
      'removed by bash (pid 700, uid 0)',
    ]);
    const process = { pid: 600, tid: 600, comm: 'qemu', uid: 0 };
    const [{ since, ...holder }] = holders as { since: { ns: number; at: string } }[];
    assert.deepEqual(holder, { process, holds: 'device', how: 'opened', device: uuid, fd: 20, vm });
    assert.ok(since.ns > 1000e9);
    assert.equal(since.at, new Date((since.ns + OFFSET) / 1e6).toISOString());
    const bash = { pid: 700, tid: 700, comm: 'bash', uid: 0 };
    assert.deepEqual([blocked, removedBy], [bash, bash]);
    assert.deepEqual(createdBy, { pid: 500, tid: 500, comm: 'mdevctl', uid: 0 });
  });

  it('has one line for those who wait behind a stalled call once they are known, without their stacks', () => {
    const stack = ['device_del+0x3d/0x3e0'];
    const tasks: WaitingTask[] = [];
    const runner = new Logged({
      ...{ traits: LINUX_6_12, pidsWithKvmFiles: () => undefined },
      waitingTasks: () => ({ tasks: [...tasks], missing: [] }),
    });
    runner.run((scenario) => {
      const device = scenario.create(scenario.parent());
      scenario.open(device, { vm: scenario.createVm() });
      scenario.removeBegins(device, { as: BASH });
      scenario.wait(11);
    });
    tasks.push({
      ...{ pid: 450, tid: 450, comm: 'libvirtd', uid: 0 },
      inKernel: { state: 'D (disk sleep)', stack },
    });
    runner.run((scenario) => scenario.wait(20));
    const { msg, waiters, evidence } = runner.line('violation.waiters_found');
    assert.match(
      msg,
      /^waiters of v1 remove-stall \(warning\): .* libvirtd \(pid 450, in device_del\)\.\n {2}libvirtd \(pid 450, uid 0\), may wait, in device_del, D \(disk sleep\)$/,
    );
    assert.deepEqual(waiters, {
      ...{ waits: 0, probablyWaits: 0, mayWait: 1, missing: [] },
      tasks: [
        {
          ...{ pid: 450, tid: 450, comm: 'libvirtd', uid: 0 },
          ...{ how: 'may wait', state: 'D (disk sleep)' },
        },
      ],
    });
    assert.equal(evidence, undefined);
  });

  it('has one line in 10 s for a one-shot violation that is repeated', () => {
    const runner = new Logged();
    const refuse = (seconds: number) =>
      runner.run((scenario) => {
        scenario.groupOpenFails(device, EBUSY);
        scenario.wait(seconds);
      });
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    for (let i = 0; i < 100; i++) refuse(0);
    refuse(11);
    assert.deepEqual(runner.events().slice(-1), ['violation.raised']);
    refuse(1);
    const { msg, count, violation } = runner.line('violation.repeated');
    assert.deepEqual([count, violation], [102, 'v1']);
    assert.match(msg, /^repeated v1 open-failed \(warning\), 102 times: /);
  });

  it('names the processes of a violation that several of them repeat', () => {
    const runner = new Logged();
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    for (let pid = 801; pid <= 820; pid++) {
      runner.run((scenario) => {
        scenario.groupOpenFails(device, EBUSY, { as: { pid, comm: 'qemu' } });
        scenario.wait(1);
      });
    }
    const repeated = runner.lines.filter(({ event }) => event === 'violation.repeated');
    assert.match(
      repeated[0].msg,
      /, 11 times, by qemu \(pid 801\), qemu \(pid 802\), qemu \(pid 803\) and others: /,
    );
    assert.equal((repeated[0].processes as unknown[]).length, 11);
  });

  it('is suppressed when a rule has too many lines, and their number is logged', () => {
    const runner = new Logged();
    const parent = runner.run((scenario) => scenario.parent());
    for (let i = 0; i < 40; i++) refuseUuid(runner, parent);
    const raised = runner.events().filter((event) => event === 'violation.raised');
    assert.equal(raised.length, 30);
    runner.log.tick(runner.world.now + 61e9);
    const { rule, lines, msg } = runner.line('violation.lines_suppressed');
    assert.deepEqual([rule, lines], ['duplicate-uuid', 10]);
    assert.match(msg, /^suppressed 10 log lines about duplicate-uuid within a minute/);
    assert.deepEqual([...runner.log.suppressed], [['duplicate-uuid', 10]]);
  });

  it('reports at the end how many lines were suppressed in a minute that is not over', () => {
    const runner = new Logged();
    const parent = runner.run((scenario) => scenario.parent());
    for (let i = 0; i < 31; i++) refuseUuid(runner, parent);
    runner.log.tick(runner.world.now);
    assert.equal(runner.events().includes('violation.lines_suppressed'), false);
    runner.log.end();
    assert.equal(runner.line('violation.lines_suppressed').lines, 1);
  });

  it('has the ids of the trace that it belongs to, like the lines of that lifecycle', () => {
    const runner = new Logged();
    runner.run((scenario) => {
      const device = scenario.create(scenario.parent());
      scenario.open(device, { vm: scenario.createVm() });
      scenario.removeBegins(device, { as: BASH });
      scenario.wait(11);
    });
    const events = [
      'device.created',
      'device.opened',
      'device.removal_waiting',
      'violation.raised',
    ];
    const lines = events.map((event) => runner.line(event));
    for (const { trace_id, span_id } of lines) {
      assert.match(String(trace_id), /^[0-9a-f]{32}$/);
      assert.match(String(span_id), /^[0-9a-f]{16}$/);
    }
    assert.equal(new Set(lines.map((line) => line.trace_id)).size, 1);
    // Each line is about another phase; the violation is about the whole lifecycle.
    assert.equal(new Set(lines.map((line) => line.span_id)).size, 4);
    assert.notEqual(runner.line('vm.created').trace_id, lines[0].trace_id);
  });

  for (const rule of RULES) {
    it(`is readable and has the right level: ${rule.id}`, () => {
      for (const { run } of rule.examples.fires) {
        const runner = new Logged();
        runner.run(run);
        const own = runner.lines.filter((line) => line.rule === rule.id);
        assert.ok(own.length > 0);
        for (const { msg, severity, level, evidence, event } of own) {
          assert.doesNotMatch(msg, /undefined|NaN|null|\[object/);
          assert.doesNotMatch(msg.replaceAll('\n  ', '\n'), / {2}/, 'no padding');
          if (event === 'violation.resolved') continue;
          const expected = { info: 'info', warning: 'warn', error: 'error', critical: 'fatal' };
          assert.equal(LEVELS[level], expected[severity as keyof typeof expected]);
          if (event === 'violation.repeated') continue;
          assert.ok(Array.isArray(evidence));
          // This rule is about the host: there is no object that keeps events.
          assert.equal(evidence.length === 0, rule.id === 'observer-gap');
          for (const line of evidence) assert.doesNotMatch(String(line), /undefined|NaN|null/);
        }
      }
    });
  }
});
