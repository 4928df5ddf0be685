import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LossCounter, type LossTotals } from './loss-counter.ts';

const NONE: LossTotals = { probe_missed: 0, calls_full: 0, unreadable: 0, malformed: 0 };

function counted(start: Partial<LossTotals> = {}) {
  const totals = { ...NONE, ...start };
  const counter = new LossCounter(() => ({ ...totals }), { ...NONE, ...start });
  const calls: string[] = [];
  const report = () => {
    counter.report(
      ({ probe_missed }) => calls.push(`keep ${probe_missed}`),
      (reason, count) => calls.push(`${count} ${reason}`),
    );
    return calls.splice(0);
  };
  return { totals, counter, report };
}

describe('the counter of losses', () => {
  it('reports each loss once, by reason', () => {
    const { totals, report } = counted();
    Object.assign(totals, { probe_missed: 3, malformed: 1 });
    assert.deepEqual(report(), ['keep 3', '3 probe_missed', '1 malformed']);
    totals.probe_missed = 5;
    assert.deepEqual(report(), ['keep 5', '2 probe_missed']);
    assert.deepEqual(report(), ['keep 5']);
  });

  it('does not report what an earlier agent has reported', () => {
    const { totals, report } = counted({ probe_missed: 10, calls_full: 4 });
    assert.deepEqual(report(), ['keep 10']);
    totals.calls_full = 5;
    assert.deepEqual(report(), ['keep 10', '1 calls_full']);
  });

  for (const reason of Object.keys(NONE) as (keyof LossTotals)[]) {
    it(`knows of a loss before it is reported: ${reason}`, () => {
      const { totals, counter, report } = counted();
      assert.equal(counter.hasMissed(), false);
      totals[reason]++;
      assert.equal(counter.hasMissed(), true);
      report();
      assert.equal(counter.hasMissed(), false);
    });
  }
});
