// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import test from 'node:test';

import { preemptionProblem } from './preemption.ts';
import { readReport, stormArguments } from './storm.ts';

test('the options of a storm become arguments', () => {
  const types = [
    ['mtty', 'mtty-1'],
    ['mdpy', 'mdpy-vga'],
  ] as const;
  assert.deepEqual(stormArguments({ workers: 3, rounds: 0, types, open: true, kvm: false }), [
    '--workers',
    '3',
    '--rounds',
    '0',
    '--create',
    '/sys/class/mdev_bus/mtty/mdev_supported_types/mtty-1/create,/sys/class/mdev_bus/mdpy/mdev_supported_types/mdpy-vga/create',
    '--open',
  ]);
  assert.deepEqual(stormArguments({}), []);
});

test('the last line of the report counts for a kept device', () => {
  const objects = readReport(
    [
      '{"uuid":"a","held":true,"removed":false}',
      '{"uuid":"b","held":false,"removed":true}',
      '{"uuid":"a","held":false,"removed":true}',
      '{"state":"done","creates":2}',
      '',
    ].join('\n'),
  );
  assert.deepEqual([...objects.keys()], ['a', 'b']);
  assert.equal(objects.get('a')?.removed, true);
});

test('a kernel that ignores the preemption model is detected', () => {
  assert.equal(preemptionProblem('none voluntary (full)\n', 'full'), undefined);
  assert.match(preemptionProblem('full (lazy)\n', 'none') ?? '', /preempt=none.*full \(lazy\)/);
  assert.match(preemptionProblem('', 'full') ?? '', /compiled in/);
});
