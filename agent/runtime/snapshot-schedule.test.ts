import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { RECHECKS_MS } from './rechecks.ts';
import { SNAPSHOT_PAUSE_MS, SnapshotSchedule } from './snapshot-schedule.ts';

const [RECHECK_MS] = RECHECKS_MS;

let schedule: SnapshotSchedule;
beforeEach(() => {
  schedule = new SnapshotSchedule();
});

/** Takes a snapshot. @returns its reason */
function snapshot(from: number, to: number): string | undefined {
  const reason = schedule.begin(from);
  if (reason) schedule.end(to);
  return reason;
}

describe('the schedule of host snapshots', () => {
  it('begins none that is not wanted', () => {
    assert.equal(schedule.begin(0), undefined);
    assert.equal(schedule.begin(1e9), undefined);
  });

  it('begins the first one at once', () => {
    schedule.want('start');
    assert.equal(schedule.begin(0), 'start');
  });

  it('keeps the first of several reasons, and takes one snapshot for all of them', () => {
    schedule.want('module');
    schedule.want('loss');
    assert.equal(snapshot(0, 10), 'module');
    assert.equal(schedule.begin(10 + SNAPSHOT_PAUSE_MS), undefined);
  });

  it('runs one at a time, and one more for what was wanted meanwhile', () => {
    schedule.want('start');
    assert.equal(schedule.begin(0), 'start');
    schedule.want('loss');
    assert.equal(schedule.begin(1000), undefined);
    schedule.end(1000);
    assert.equal(schedule.begin(1000 + SNAPSHOT_PAUSE_MS), 'loss');
  });

  it('pauses after the end of a snapshot, however long it took', () => {
    schedule.want('loss');
    snapshot(0, 5000);
    schedule.want('loss');
    assert.equal(schedule.begin(5000 + SNAPSHOT_PAUSE_MS - 1), undefined);
    assert.equal(schedule.begin(5000 + SNAPSHOT_PAUSE_MS), 'loss');
  });

  it('takes the rechecks after a snapshot, and none after the last of them', () => {
    schedule.want('start');
    snapshot(0, 100);
    assert.equal(schedule.begin(100 + RECHECK_MS - 1), undefined);
    for (const after of RECHECKS_MS) {
      assert.equal(snapshot(100 + after, 200 + after), 'recheck');
      assert.equal(schedule.begin(100 + after + SNAPSHOT_PAUSE_MS), undefined);
    }
    assert.equal(schedule.begin(1e9), undefined);
  });

  it('moves the recheck behind a snapshot that comes before it', () => {
    schedule.want('start');
    snapshot(0, 0);
    schedule.want('loss');
    assert.equal(snapshot(1000, 1000), 'loss');
    assert.equal(schedule.begin(RECHECK_MS), undefined);
    assert.equal(schedule.begin(1000 + RECHECK_MS), 'recheck');
  });

  it('takes a snapshot with its own reason when a recheck is due, too', () => {
    schedule.want('start');
    snapshot(0, 0);
    schedule.want('loss');
    assert.equal(snapshot(RECHECK_MS, RECHECK_MS), 'loss');
    assert.equal(schedule.begin(RECHECK_MS + SNAPSHOT_PAUSE_MS), undefined);
  });
});
