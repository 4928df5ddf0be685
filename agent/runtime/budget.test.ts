import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { PointName } from '../../src/events/points.ts';
import { SECOND } from '../../src/units.ts';
import { Budget, type BudgetSettings, type Step } from './budget.ts';

const SETTINGS: BudgetSettings = {
  ...{ probes: 0.05, agent: 0.5, detachAfter: 30 * SECOND, reattachAfter: 300 * SECOND },
};
const EXPENDABLE: readonly PointName[] = ['kvm.get', 'kvm.put', 'vfio.dma.map'];

/** What points cost in a span of time: shares of one CPU. */
type Shares = Partial<Record<PointName, number>>;

/** A budget, and the time of the kernel; measurements follow each other without a gap. */
class Host {
  readonly budget: Budget;
  now = 1000 * SECOND;
  readonly steps: Step[] = [];

  constructor(settings: Partial<BudgetSettings> = {}) {
    this.budget = new Budget({ ...SETTINGS, ...settings }, EXPENDABLE);
  }

  /** One measurement that lasted so many seconds. */
  probes(seconds: number, shares: Shares): Step | undefined {
    const { from, to, points } = this.#span(seconds, shares, SECOND);
    return this.#note(this.budget.probes({ from, to, points }));
  }

  /** @param share of one CPU @param rates records a second, by point */
  agent(seconds: number, share: number, rates: Shares = {}): Step | undefined {
    const span = this.#span(seconds, rates, 1);
    return this.#note(this.budget.agent({ ...span, cpu: share * seconds * SECOND }));
  }

  /** One measurement a second. */
  probesFor(seconds: number, shares: Shares): void {
    for (let i = 0; i < seconds; i++) this.probes(1, shares);
  }

  /** The points that were detached and attached again, in order. */
  get did(): string[] {
    return this.steps.map(({ change, points }) => `${change} ${points}`.trim());
  }

  #span(seconds: number, shares: Shares, unit: number) {
    const from = this.now;
    this.now += seconds * SECOND;
    const points = new Map<PointName, number>();
    for (const [point, share] of Object.entries(shares)) {
      points.set(point as PointName, share * seconds * unit);
    }
    return { from, to: this.now, points };
  }

  #note(step: Step | undefined): Step | undefined {
    if (step) this.steps.push(step);
    return step;
  }
}

const STORM: Shares = { 'kvm.get': 0.1, 'kvm.put': 0.2, 'mdev.create': 0.001 };

describe('the budget of the probes', () => {
  it('leaves alone what is under it', () => {
    const host = new Host();
    host.probesFor(3600, { 'kvm.put': 0.04, 'mdev.create': 0.01 });
    assert.deepEqual(host.did, []);
    assert.equal(host.budget.isClose, false);
  });

  it('detaches the most expensive expendable point once the cost was over it for long enough', () => {
    const host = new Host();
    host.probesFor(29, STORM);
    assert.deepEqual(host.did, []);
    assert.ok(host.budget.isClose);
    const step = host.probes(1, STORM);
    assert.deepEqual(step?.points, ['kvm.put']);
    assert.equal(step?.budget, 'probes');
    assert.equal(step?.used.toFixed(3), '0.301');
    assert.equal(step?.lasted, 30 * SECOND);
    assert.equal(step?.wait, 300 * SECOND);
  });

  it('detaches one point at a time, and the next only if the rest is still over it', () => {
    const host = new Host();
    host.probesFor(30, STORM);
    host.probesFor(29, { 'kvm.get': 0.1, 'mdev.create': 0.001 });
    assert.deepEqual(host.did, ['detached kvm.put']);
    host.probesFor(1, { 'kvm.get': 0.1, 'mdev.create': 0.001 });
    host.probesFor(100, { 'mdev.create': 0.001 });
    assert.deepEqual(host.did, ['detached kvm.put', 'detached kvm.get']);
  });

  it('detaches all others at last, when they are what costs', () => {
    const host = new Host();
    const rest: Shares = { 'mdev.create': 0.3, 'vfio.device.open': 0.3 };
    host.probesFor(30, { 'kvm.put': 0.1, ...rest });
    assert.deepEqual(host.did, ['detached kvm.put']);
    host.probesFor(30, { 'kvm.get': 0.01, ...rest });
    assert.deepEqual(host.did, ['detached kvm.put', 'detached all']);
    host.probesFor(100, {});
    assert.equal(host.did.length, 2);
  });

  it('ignores a spike, however high', () => {
    const host = new Host();
    for (let i = 0; i < 100; i++) {
      host.probesFor(2, { 'kvm.put': 20 });
      host.probesFor(2, {});
    }
    assert.deepEqual(host.did, []);
  });

  it('counts pauses against a cost that comes and goes', () => {
    const host = new Host();
    for (let i = 0; i < 20; i++) {
      host.probesFor(3, STORM);
      host.probesFor(1, {});
    }
    // 3 s over and 1 s under gain 2 s: the 30th is in the 15th round.
    assert.equal(host.steps[0]?.lasted, 30 * SECOND);
    assert.equal(host.did[0], 'detached kvm.put');
  });

  it('judges by the time of the kernel, not by the number of ticks', () => {
    // An agent without CPU measures rarely; each measurement lasts longer and shows the same share.
    const late = new Host();
    for (let i = 0; i < 50; i++) late.probes(20, { 'kvm.put': 0.04 });
    assert.deepEqual(late.did, []);
    // Measurements that follow each other at once are no longer time.
    const fast = new Host();
    for (let i = 0; i < 250; i++) fast.probes(0.1, STORM);
    assert.deepEqual(fast.did, []);
    for (let i = 0; i < 50; i++) fast.probes(0.1, STORM);
    assert.deepEqual(fast.did, ['detached kvm.put']);
  });

  it('needs more than one measurement, however long it lasted', () => {
    const host = new Host();
    host.probes(300, STORM);
    host.probes(300, STORM);
    assert.deepEqual(host.did, []);
    host.probes(300, STORM);
    assert.deepEqual(host.did, ['detached kvm.put']);
  });

  it('is off when it is 0', () => {
    const host = new Host({ probes: 0 });
    host.probesFor(100, STORM);
    assert.deepEqual(host.did, []);
    assert.deepEqual(
      host.budget.states().map(({ budget }) => budget),
      ['agent'],
    );
  });
});

describe('points that the budget has detached', () => {
  function detached(settings: Partial<BudgetSettings> = {}): Host {
    const host = new Host(settings);
    host.probesFor(30, { 'kvm.put': 0.2 });
    assert.deepEqual(host.did, ['detached kvm.put']);
    return host;
  }

  it('come back once the cost has been low for a time', () => {
    const host = detached();
    host.probesFor(299, {});
    assert.equal(host.budget.states()[0].exceeded, true);
    assert.equal(host.did.length, 1);
    host.probesFor(1, {});
    assert.deepEqual(host.did, ['detached kvm.put', 'restored kvm.put']);
    assert.equal(host.budget.states()[0].exceeded, false);
  });

  it('come back together', () => {
    const host = new Host();
    host.probesFor(30, STORM);
    host.probesFor(30, { 'kvm.get': 0.1 });
    host.probesFor(300, {});
    assert.equal(host.did[2], 'restored kvm.put,kvm.get');
    const all = new Host();
    all.probesFor(30, { 'mdev.create': 1 });
    all.probesFor(300, {});
    assert.deepEqual(all.did, ['detached all', 'restored all']);
  });

  it('do not come back while the rest costs more than half of the budget', () => {
    const host = detached();
    host.probesFor(200, {});
    host.probesFor(200, { 'mdev.create': 0.03 });
    host.probesFor(299, { 'mdev.create': 0.02 });
    assert.equal(host.did.length, 1);
    host.probesFor(1, { 'mdev.create': 0.02 });
    assert.equal(host.did.length, 2);
  });

  it('come back later each time that it was too early, and soon again after a long good time', () => {
    const host = detached();
    const waits = [host.steps[0].wait / SECOND];
    for (let i = 0; i < 10; i++) {
      while (host.steps.at(-1)?.change !== 'restored') host.probesFor(60, {});
      host.probesFor(30, { 'kvm.put': 0.2 });
      waits.push((host.steps.at(-1)?.wait ?? 0) / SECOND);
    }
    const longest = 4 * 3600;
    assert.deepEqual(waits, [
      ...[300, 600, 1200, 2400, 4800, 9600],
      ...[longest, longest, longest, longest, longest],
    ]);
    while (host.steps.at(-1)?.change !== 'restored') host.probesFor(60, {});
    host.probesFor(longest + 60, {});
    host.probesFor(30, { 'kvm.put': 0.2 });
    assert.equal(host.steps.at(-1)?.wait, 300 * SECOND);
  });

  it('count the time of low cost by the kernel, too, and also between measurements', () => {
    const host = detached();
    for (let i = 0; i < 30; i++) {
      host.now += 9 * SECOND;
      host.probes(1, {});
    }
    assert.deepEqual(host.did, ['detached kvm.put', 'restored kvm.put']);
  });
});

describe('the budget of the agent', () => {
  const RATES: Shares = { 'kvm.put': 50_000, 'kvm.get': 20_000, 'mdev.create': 10 };

  it('detaches the point with most records', () => {
    const host = new Host();
    for (let i = 0; i < 30; i++) host.agent(1, 0.9, RATES);
    assert.deepEqual(host.did, ['detached kvm.put']);
    assert.equal(host.steps[0].budget, 'agent');
    assert.equal(host.steps[0].used.toFixed(2), '0.90');
  });

  it('detaches nothing when the agent is busy with something else, and reports that once', () => {
    const host = new Host();
    for (let i = 0; i < 300; i++) host.agent(1, 0.9, { 'kvm.put': 500 });
    assert.deepEqual(host.did, ['exhausted']);
    assert.equal(host.budget.states()[1].exceeded, true);
    for (let i = 0; i < 31; i++) host.agent(1, 0.1);
    assert.equal(host.budget.states()[1].exceeded, false);
    for (let i = 0; i < 30; i++) host.agent(1, 0.9);
    assert.deepEqual(host.did, ['exhausted', 'exhausted']);
  });

  it('detaches nothing more while it reads what is left in the ring of a detached point', () => {
    const host = new Host();
    for (let i = 0; i < 30; i++) host.agent(1, 0.9, RATES);
    for (let i = 0; i < 300; i++) host.agent(1, 0.9, { 'kvm.put': 50_000, 'mdev.create': 10 });
    assert.deepEqual(host.did, ['detached kvm.put', 'exhausted']);
  });

  it('detaches a point when events become the reason later', () => {
    const host = new Host();
    for (let i = 0; i < 60; i++) host.agent(1, 0.9);
    for (let i = 0; i < 10; i++) host.agent(1, 0.9, RATES);
    assert.deepEqual(host.did, ['exhausted', 'detached kvm.put']);
  });

  it('waits for both budgets before the points come back', () => {
    const host = new Host();
    for (let i = 0; i < 30; i++) {
      host.agent(1, 0.9, RATES);
      host.probes(1, { 'kvm.get': 0.1 });
    }
    assert.deepEqual(host.did, ['detached kvm.put', 'detached kvm.get']);
    for (let i = 0; i < 400; i++) {
      host.agent(1, 0.4);
      host.probes(1, {});
    }
    assert.equal(host.did.length, 2);
    for (let i = 0; i < 301; i++) {
      host.agent(1, 0.1);
      host.probes(1, {});
    }
    assert.equal(host.did.length, 3);
  });
});
