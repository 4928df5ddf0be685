import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { PointName } from '../../src/events/points.ts';
import { POINT, POINT_LIMIT } from '../../src/events/wire.gen.ts';
import type { RunTime } from '../../src/kernel/attach.ts';
import { SECOND } from '../../src/units.ts';
import { AgentMeter } from './agent-meter.ts';
import { CostMeter } from './cost-meter.ts';

/** A kernel whose programs take a share of one CPU, counted while statistics are enabled. */
class Kernel {
  now = 50 * SECOND;
  enabled = false;
  enabledFor = 0;
  problem: string | undefined;
  /** Shares of one CPU. */
  readonly shares = new Map<PointName, number>([['kvm.put', 0.1]]);
  readonly #times = new Map<PointName, number>();
  /** How long a reading is interrupted, ns. */
  interruption = 0;
  readonly meter: CostMeter;

  constructor() {
    const source = {
      enable: () => {
        this.enabled = this.problem === undefined;
        return this.problem;
      },
      disable: () => {
        this.enabled = false;
      },
      read: () => this.#read(),
    };
    this.meter = new CostMeter(source, () => this.now);
  }

  pass(time: number): void {
    this.now += time;
    if (!this.enabled) return;
    this.enabledFor += time;
    for (const [point, share] of this.shares) {
      this.#times.set(point, (this.#times.get(point) ?? 0) + share * time);
    }
  }

  /** The programs of a point are others, which have not run. */
  reload(point: PointName): void {
    this.#times.set(point, 0);
  }

  /** Seconds in which the meter is called each second. @returns the shares that it measured */
  run(seconds: number, closely = false): number[] {
    const shares: number[] = [];
    for (let i = 0; i < seconds; i++) {
      this.pass(SECOND);
      const cost = this.meter.tick(closely);
      if (cost) shares.push((cost.points.get('kvm.put') ?? 0) / (cost.to - cost.from));
    }
    return shares;
  }

  #read(): ReadonlyMap<PointName, RunTime> {
    this.pass(this.interruption);
    return new Map([...this.#times].map(([point, time]) => [point, { time, runs: 1 }]));
  }
}

describe('the measurement of what probes cost', () => {
  it('keeps statistics for a tenth of the time, and extrapolates', () => {
    const kernel = new Kernel();
    const shares = kernel.run(100);
    assert.equal(shares.length, 10);
    for (const share of shares) assert.equal(share.toFixed(3), '0.100');
    assert.equal(kernel.enabledFor, 10 * SECOND);
    const total = kernel.meter.totals.get('kvm.put') ?? 0;
    assert.ok(Math.abs(total - 10 * SECOND) < SECOND, `${total}`);
  });

  it('measures all the time when it has to be close', () => {
    const kernel = new Kernel();
    assert.equal(kernel.run(10, true).length, 9);
    assert.equal(kernel.enabledFor, 9 * SECOND);
    kernel.run(1);
    assert.equal(kernel.enabled, false);
  });

  it('never measures a larger share because it was interrupted', () => {
    const kernel = new Kernel();
    for (const seconds of [0, 1, 5, 30]) {
      kernel.interruption = seconds * SECOND;
      for (const share of kernel.run(20, true)) assert.ok(share < 0.1 + 1e-9, `${share}`);
    }
  });

  it('makes no measurement of ticks that follow each other at once', () => {
    const kernel = new Kernel();
    kernel.run(2, true);
    kernel.pass(1e6);
    assert.equal(kernel.meter.tick(true), undefined);
    kernel.pass(SECOND);
    assert.ok(kernel.meter.tick(true));
  });

  it('counts programs that were loaded again from 0', () => {
    const kernel = new Kernel();
    kernel.run(5, true);
    kernel.reload('kvm.put');
    const [share] = kernel.run(1, true);
    assert.equal(share.toFixed(3), '0.100');
  });

  it('says why it cannot measure, and tries again', () => {
    const kernel = new Kernel();
    kernel.problem = 'not permitted';
    assert.deepEqual(kernel.run(25), []);
    assert.equal(kernel.meter.problem, 'not permitted');
    kernel.problem = undefined;
    assert.ok(kernel.run(25).length > 0);
    assert.equal(kernel.meter.problem, undefined);
  });

  it('lets the kernel stop when it is closed', () => {
    const kernel = new Kernel();
    kernel.run(3, true);
    kernel.meter.close();
    assert.equal(kernel.enabled, false);
  });
});

describe('the measurement of what the agent costs', () => {
  it('relates CPU time and records to the time that passed', () => {
    let now = SECOND;
    const cpu = { user: 100, system: 50 };
    const records = new Float64Array(POINT_LIMIT);
    const meter = new AgentMeter(
      () => now,
      records,
      () => cpu,
    );
    now += 20 * SECOND;
    cpu.user += 1_000_000;
    cpu.system += 500_000;
    records[POINT.KVM_PUT] += 7;
    assert.deepEqual(meter.tick(), {
      ...{ from: SECOND, to: 21 * SECOND, cpu: 1.5 * SECOND },
      points: new Map([['kvm.put', 7]]),
    });
    now += SECOND;
    assert.deepEqual(meter.tick().points, new Map());
  });
});
