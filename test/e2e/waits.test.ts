// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { type ReportedWait, Waits } from './waits.ts';

const SETTINGS = 'test/recordings/settings.yaml';
const BEGIN = { ns: 10e9, point: 'vfio.unregister', phase: 'begin' };
const END = { ns: 10.5e9, point: 'vfio.unregister', phase: 'end' };

describe('a wait', () => {
  let waits: Waits;
  before(async () => {
    waits = await Waits.under(SETTINGS);
  });

  const wasLong = (seconds: number, more: Partial<ReportedWait> = {}) =>
    waits.wasLong({
      ...{ rule: 'remove-stall', evidence: [BEGIN], firstSeen: { ns: BEGIN.ns + seconds * 1e9 } },
      ...more,
    });

  it('was long when it lasted as long as the settings require', () => {
    assert.equal(wasLong(2), true);
  });

  it('was not when it was reported before that', () => {
    assert.equal(wasLong(1.9), false);
  });

  it('was not when it had ended, or had never begun', () => {
    assert.equal(wasLong(3, { evidence: [BEGIN, END] }), false);
    assert.equal(wasLong(3, { evidence: [] }), false);
  });

  it('was long when it had begun again', () => {
    const again = { ...BEGIN, ns: 11e9 };
    assert.equal(wasLong(3, { evidence: [BEGIN, END, again] }), true);
    assert.equal(wasLong(2.5, { evidence: [BEGIN, END, again] }), false);
  });

  it('is never found in violations of other rules', () => {
    assert.equal(wasLong(100, { rule: 'open-failed' }), false);
  });
});
