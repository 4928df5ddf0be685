/** The built program: exit codes and output of its commands. */
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { preflightFailures } from '../src/kernel/host.ts';
import type { Problem } from '../src/problem.ts';
import { PROBLEM_CODES } from '../src/problem-codes.ts';

const ROOT = new URL('..', import.meta.url).pathname;
const MAIN = `${ROOT}dist/agent/main.js`;
const NOBODY = ['--reuid', '65534', '--clear-groups', '--inh-caps=-all'];
const [failure] = preflightFailures();
const otherwise =
  failure?.code === 'host.no-kprobes'
    ? false
    : 'needs root, on a kernel without kprobes: something else is reported first';

interface Outcome {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function outcome(command: string, words: readonly string[]): Outcome {
  const env = { ...process.env, NO_COLOR: '1' };
  const { status, stdout, stderr } = spawnSync(command, words, {
    encoding: 'utf8',
    env,
    timeout: 300_000,
  });
  return { code: status, out: stdout, err: stderr };
}

function vfioscope(...words: string[]): Outcome {
  return outcome(process.execPath, [MAIN, ...words]);
}

/** As a user without capabilities. */
function asUser(...words: string[]): Outcome {
  return outcome('setpriv', [...NOBODY, process.execPath, MAIN, ...words]);
}

/** @returns why the program cannot run as another user here */
function notAsUser(): string | false {
  if (process.getuid?.() !== 0) return 'only root can run it as another user';
  const readable = [process.execPath, '-e', `fs.readFileSync(${JSON.stringify(MAIN)})`];
  const { code } = outcome('setpriv', [...NOBODY, ...readable]);
  return code === 0 ? false : 'this Node or checkout is not readable for other users';
}

/** Asserts that a failure is printed with its code, message and next step, without a stack trace. */
function assertPlain({ code, out, err }: Outcome, what: RegExp): void {
  assert.equal(code, 2, err);
  assert.equal(out, '');
  assert.match(err, what);
  const lines = /^error\[([a-z.-]+)\]: \S[^\n]*\n {2}what to do: \S[^\n]*\n$/;
  const named = lines.exec(err)?.[1];
  assert.ok(named, `one line with the code and what is wrong, one what to do: ${err}`);
  assert.ok(Object.hasOwn(PROBLEM_CODES, named), named);
  assert.doesNotMatch(err, /\n\s+at |Error:|node:|undefined/);
}

if (!existsSync(MAIN)) execFileSync(process.execPath, ['agent/build.ts'], { cwd: ROOT });

describe('vfioscope', () => {
  it('prints its version', () => {
    const { version } = JSON.parse(readFileSync(`${ROOT}package.json`, 'utf8')) as {
      version: string;
    };
    assert.deepEqual(vfioscope('--version'), { code: 0, out: `${version}\n`, err: '' });
  });

  for (const words of [
    ['--help'],
    ['help'],
    ['run', '--help'],
    ['doctor', '--help'],
    ['help', 'run'],
  ]) {
    it(`prints help with exit code 0: ${words.join(' ')}`, () => {
      const { code, out, err } = vfioscope(...words);
      assert.deepEqual([code, err], [0, '']);
      assert.match(out, /^Usage: vfioscope/);
      assert.doesNotMatch(out, /undefined/);
    });
  }

  it('lists all settings in the help of run, and the exit codes in that of doctor', () => {
    assert.match(vfioscope('run', '--help').out, /rules\.remove_stall_seconds +.* \(10\)/);
    assert.match(vfioscope('doctor', '--help').out, /Exit code: 0 .* 1 .* 2 /);
  });

  it('lists its rules, whether or not probes can be attached here', () => {
    const { code, out, err } = vfioscope('rules');
    assert.deepEqual([code, err], [0, '']);
    assert.match(out, /^rule +severity +on \d/);
    assert.match(out, /\nremove-stall +warning … /);
  });

  it('explains a rule, without colours outside a terminal', () => {
    const { code, out, err } = vfioscope('explain', 'remove-stall');
    assert.deepEqual([code, err], [0, '']);
    assert.match(out, /^remove-stall\nA removal does /);
  });

  it('prints help when it gets no command', () => {
    const { code, out, err } = vfioscope();
    assert.equal(code, 1);
    assert.match(out + err, /Usage: vfioscope/);
  });

  for (const [words, what] of [
    [['run', '--no-such-flag'], /^error\[cli\.usage\]: unknown option '--no-such-flag'/],
    [['--no-such-flag'], /unknown option '--no-such-flag'/],
    [['rum'], /unknown command 'rum'/],
    [['run', 'extra'], /too many arguments/],
    [['run', '--config'], /argument missing/],
    [['run', '--ring-bytes', 'many'], /'--ring-bytes <n>'.*whole number/],
    [['run', '--listen', 'nowhere'], /flag --listen: listen /],
    [['run', '--log-level', 'loud'], /flag --log-level: log\.level /],
    [
      ['run', '--config', '/no/such/file.yaml'],
      /^error\[config\.unreadable\]: cannot read the configuration .*ENOENT/,
    ],
    [['explain'], /missing required argument 'rule'/],
    [['explain', 'remove-stal'], /there is no rule remove-stal\n {2}.*did you mean remove-stall/],
  ] as const) {
    it(`reports what is wrong with: ${words.join(' ')}`, () =>
      assertPlain(vfioscope(...words), what));
  }
});

describe('vfioscope on a kernel without kprobes', { skip: otherwise }, () => {
  it('does not run, and reports why in one message', () => {
    assertPlain(vfioscope('run'), /^error\[host\.no-kprobes\]: cannot watch this host: /);
  });

  it('reports that even when its probe objects are missing', () => {
    assertPlain(vfioscope('run', '--probes', '/no/such/directory'), /cannot watch this host/);
  });

  it('has a doctor that explains why', () => {
    const { code, out, err } = vfioscope('doctor');
    assert.deepEqual([code, err], [2, '']);
    assert.match(
      out,
      /\ncannot work on this host: .*\n[\s\S]*\nwhat to do\n[\s\S]*\nvfioscope cannot work on this host\n$/,
    );
    assert.doesNotMatch(out, /undefined/);
  });

  it('has a doctor with JSON output, too', () => {
    const { code, out } = vfioscope('doctor', '--json');
    const report = JSON.parse(out) as { exit: number; problem: Problem };
    assert.deepEqual([code, report.exit], [2, 2]);
    assert.equal(report.problem.code, 'host.no-kprobes');
    assert.ok(report.problem.message && report.problem.next);
  });
});

describe('vfioscope for a user without capabilities', { skip: notAsUser() }, () => {
  it('does not run, and names the missing capabilities', () => {
    assertPlain(asUser('run'), /lacks CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF$/m);
  });

  it('prints help', () => {
    assert.equal(asUser('--help').code, 0);
  });

  it('has a doctor that names them', () => {
    const { code, out } = asUser('doctor');
    assert.equal(code, 2);
    assert.match(out, /no +capabilities +none\n/);
    assert.match(
      out,
      /cannot work on this host: this process lacks CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF\n/,
    );
  });
});

describe('vfioscope and output that cannot be written', () => {
  const recording = `${ROOT}test/recordings/6.12.vfr`;
  const shell = (script: string, ...words: string[]) =>
    outcome('sh', ['-c', script, process.execPath, MAIN, ...words]);

  for (const words of [
    ['replay', recording],
    ['replay', '--json', recording],
    ['replay', '--realtime', recording],
    ['rules'],
    ['rules', '--json'],
    ['explain', 'remove-stall'],
    ['doctor'],
    ['--help'],
    ['--version'],
    ['run', '--help'],
  ]) {
    it(`fails with a code when the disk is full: ${words.slice(0, 2).join(' ')}`, () => {
      const { code, err } = shell('exec "$0" "$@" > /dev/full', ...words);
      assert.match(err, /^error\[output\.unwritable\]: [^\n]*ENOSPC\n {2}what to do: [^\n]+\n$/);
      assert.equal(code, 2);
    });
  }

  it('fails with a code when the reader has gone', () => {
    // The reader ends before there is any output.
    const { err } = shell(
      '{ sleep 0.2; "$0" "$@"; echo "code $?" >&2; } | true',
      'replay',
      recording,
    );
    assert.match(err, /^error\[output\.unwritable\]: [^\n]*EPIPE\n[^\n]+\ncode 2\n$/);
  });

  it('keeps its exit code when its errors cannot be printed either', () => {
    const { code, out, err } = shell('exec "$0" "$@" > /dev/full 2>&1', 'explain', 'remove-stall');
    assert.deepEqual([code, out, err], [2, '', '']);
  });
});

describe('vfioscope and arguments that steer a terminal', () => {
  for (const [what, words] of [
    ['a command', ['\u001b[31mrun\u001b]0;title\u0007']],
    ['a flag', ['run', '--\u202eregnad\u2066']],
    ['a rule', ['explain', 'remove\u009bstall\nerror[cli.usage]: forged']],
    ['a file', ['replay', '/no/such\n  what to do: run \u001b[8mthat\u001b[0m']],
    ['a settings file', ['replay', '--config', '/no/such\u001b[2J', 'x']],
  ] as const) {
    it(`prints ${what} as plain text on its own line`, () => {
      const shown = vfioscope(...words);
      assertPlain(shown, /./);
      assert.doesNotMatch(shown.err, /[[\p{Cf}\p{Cc}]--[\n]]/v);
    });
  }
});

describe('vfioscope and signals that log rotation sends', () => {
  it('neither opens the debugger nor ends', async () => {
    const recording = `${ROOT}test/recordings/6.12.vfr`;
    const child = spawn(process.execPath, [MAIN, 'replay', '--realtime', recording]);
    let err = '';
    child.stderr.on('data', (chunk) => {
      err += chunk;
    });
    // The first line is printed long after the handlers are there.
    await once(child.stdout, 'data');
    for (const signal of ['SIGUSR1', 'SIGUSR2'] as const) child.kill(signal);
    await once(child.stdout, 'data');
    child.kill('SIGTERM');
    const [code, signal] = await once(child, 'exit');
    assert.deepEqual([code, signal, err], [null, 'SIGTERM', '']);
  });

  it('does not open the debugger before its own code runs', () => {
    assert.match(readFileSync(MAIN, 'utf8').split('\n', 1)[0], / --disable-sigusr1\b/);
  });
});
