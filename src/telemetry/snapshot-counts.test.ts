import assert from 'node:assert/strict';
import { it } from 'node:test';
import { SnapshotCounts } from './snapshot-counts.ts';

it('host snapshots are counted by reason, from zero, and the last one is remembered', () => {
  const snapshots = new SnapshotCounts();
  assert.deepEqual(Object.fromEntries(snapshots.counts), {
    start: 0,
    module: 0,
    loss: 0,
    recheck: 0,
  });
  assert.deepEqual([snapshots.lastBegan, snapshots.lastTook], [0, 0]);
  snapshots.count('start', 1000, 0.01, ['a', 'b']);
  snapshots.count('loss', 2000, 0.5, ['a']);
  assert.deepEqual(snapshots.lastProblems, ['a']);
  snapshots.count('loss', 3000, 0.02, []);
  assert.deepEqual(Object.fromEntries(snapshots.counts), {
    start: 1,
    module: 0,
    loss: 2,
    recheck: 0,
  });
  assert.deepEqual(
    [snapshots.lastBegan, snapshots.lastTook, snapshots.lastProblems],
    [3000, 0.02, []],
  );
});
