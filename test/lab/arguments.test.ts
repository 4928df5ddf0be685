// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import test from 'node:test';

import { parseArguments } from './arguments.ts';

const parse = (...args: string[]) => parseArguments(args, { TOKEN: 'secret' });

test('what follows -- is the command, options included', () => {
  const { action, command, timeoutMs, quiet } = parse('-q', '--', 'ls', '-q', '--timeout');
  assert.equal(action, 'run');
  assert.deepEqual(command, ['ls', '-q', '--timeout']);
  assert.equal(timeoutMs, 120_000);
  assert.equal(quiet, true);
});

test('a run needs a command; list, help and shell do not', () => {
  assert.throws(() => parse('-q'), /no command/);
  assert.equal(parse('--list').action, 'list');
  assert.equal(parse('--help').action, 'help');
  assert.equal(parse('--shell').action, 'shell');
});

test('variables are passed by value or by name', () => {
  assert.deepEqual(parse('--env', 'A=b=c', '--env', 'TOKEN', '--', 'env').env, {
    A: 'b=c',
    TOKEN: 'secret',
  });
  assert.throws(() => parse('--env', 'MISSING', '--', 'env'), /no such variable/);
});

test('a forward names the port in the VM and perhaps the one here', () => {
  assert.deepEqual(parse('--forward', '9464', '--forward', '80:8080', '--', 'x').forwards, [
    { guestPort: 9464, hostPort: 0 },
    { guestPort: 8080, hostPort: 80 },
  ]);
  for (const wrong of ['0', 'x', '70000', '1:x']) {
    assert.throws(() => parse('--forward', wrong, '--', 'x'), /--forward needs/, wrong);
  }
});

test('kernel arguments are split at spaces', () => {
  assert.deepEqual(parse('--append', 'a=1  b', '--append', 'c', '--', 'x').append, [
    'a=1',
    'b',
    'c',
  ]);
});

test('wrong values are refused with the option named', () => {
  assert.throws(() => parse('--timeout', 'soon', '--', 'x'), /--timeout needs a number/);
  assert.throws(() => parse('--preempt', 'eager', '--', 'x'), /--preempt needs one of/);
  assert.throws(() => parse('--bogus', '--', 'x'), /see --help/);
});
