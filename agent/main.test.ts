/** The built program as its user meets it: exit codes and words. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { obstacles } from '../src/kernel/host.ts';

const ROOT = new URL('..', import.meta.url).pathname;
const MAIN = `${ROOT}dist/agent/main.js`;
const NOBODY = ['--reuid', '65534', '--clear-groups', '--inh-caps=-all'];
const works = obstacles().length === 0 ? 'probes can work on this kernel' : false;

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
    timeout: 30_000,
  });
  return { code: status, out: stdout, err: stderr };
}

function vfioscope(...words: string[]): Outcome {
  return outcome(process.execPath, [MAIN, ...words]);
}

/** As a user without any rights. */
function asUser(...words: string[]): Outcome {
  return outcome('setpriv', [...NOBODY, process.execPath, MAIN, ...words]);
}

/** @returns why the program cannot be run as another user here */
function notAsUser(): string | false {
  if (process.getuid?.() !== 0) return 'only root can become somebody else';
  const readable = [process.execPath, '-e', `fs.readFileSync(${JSON.stringify(MAIN)})`];
  const { code } = outcome('setpriv', [...NOBODY, ...readable]);
  return code === 0 ? false : 'this Node or checkout is not readable for other users';
}

/** That a failure is told in words: what is wrong, then what to do, and no stack trace. */
function assertPlain({ code, out, err }: Outcome, what: RegExp): void {
  assert.equal(code, 2, err);
  assert.equal(out, '');
  assert.match(err, what);
  const lines = /^vfioscope: \S[^\n]*\n(\(Did you mean [^\n]*\n)? {2}\S[^\n]*\n$/;
  assert.match(err, lines, 'one line says what, one what to do');
  assert.doesNotMatch(err, /\n\s+at |Error:|node:|undefined/);
}

if (!existsSync(MAIN)) execFileSync(process.execPath, ['agent/build.ts'], { cwd: ROOT });

describe('vfioscope', () => {
  it('tells its version', () => {
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
    it(`helps with exit code 0: ${words.join(' ')}`, () => {
      const { code, out, err } = vfioscope(...words);
      assert.deepEqual([code, err], [0, '']);
      assert.match(out, /^Usage: vfioscope/);
      assert.doesNotMatch(out, /undefined/);
    });
  }

  it('shows all settings in the help of run, and the exit codes in that of doctor', () => {
    assert.match(vfioscope('run', '--help').out, /rules\.remove_stall_seconds +.* \(10\)/);
    assert.match(vfioscope('doctor', '--help').out, /Exit code: 0 .* 1 .* 2 /);
  });

  it('lists its rules, whether or not they can be tried here', () => {
    const { code, out, err } = vfioscope('rules');
    assert.deepEqual([code, err], [0, '']);
    assert.match(out, /^rule +severity +on \d/);
    assert.match(out, /\nremove-stall +warning … /);
  });

  it('explains a rule, without colours where nobody sees them', () => {
    const { code, out, err } = vfioscope('explain', 'remove-stall');
    assert.deepEqual([code, err], [0, '']);
    assert.match(out, /^remove-stall\nA removal waits /);
  });

  it('asks for a command when it gets none', () => {
    const { code, out, err } = vfioscope();
    assert.equal(code, 1);
    assert.match(out + err, /Usage: vfioscope/);
  });

  for (const [words, what] of [
    [['run', '--no-such-flag'], /unknown option '--no-such-flag'/],
    [['--no-such-flag'], /unknown option '--no-such-flag'/],
    [['rum'], /unknown command 'rum'/],
    [['run', 'extra'], /too many arguments/],
    [['run', '--config'], /argument missing/],
    [['run', '--ring-bytes', 'many'], /'--ring-bytes <n>'.*whole number/],
    [['run', '--listen', 'nowhere'], /flag --listen: listen /],
    [['run', '--log-level', 'loud'], /flag --log-level: log\.level /],
    [['run', '--config', '/no/such/file.yaml'], /cannot read the configuration .*ENOENT/],
    [['explain'], /missing required argument 'rule'/],
    [['explain', 'remove-stal'], /there is no rule remove-stal\n {2}.*did you mean remove-stall/],
  ] as const) {
    it(`says what is wrong with: ${words.join(' ')}`, () => assertPlain(vfioscope(...words), what));
  }
});

describe('vfioscope on a kernel without kprobes', { skip: works }, () => {
  it('does not run, and says why in one message', () => {
    assertPlain(vfioscope('run'), /^vfioscope: cannot watch this host: /);
  });

  it('says so even when its probe objects are missing', () => {
    assertPlain(vfioscope('run', '--probes', '/no/such/directory'), /cannot watch this host/);
  });

  it('has a doctor that explains it', () => {
    const { code, out, err } = vfioscope('doctor');
    assert.deepEqual([code, err], [2, '']);
    assert.match(
      out,
      /\ncannot work here: .*\n[\s\S]*\nwhat to do\n[\s\S]*\nvfioscope cannot work here\n$/,
    );
    assert.doesNotMatch(out, /undefined/);
  });

  it('has a doctor for machines too', () => {
    const { code, out } = vfioscope('doctor', '--json');
    const report = JSON.parse(out) as { exit: number; problem: { what: string; next: string } };
    assert.deepEqual([code, report.exit], [2, 2]);
    assert.ok(report.problem.what && report.problem.next);
  });
});

describe('vfioscope for a user without rights', { skip: notAsUser() }, () => {
  it('does not run, and names the rights that are missing', () => {
    assertPlain(asUser('run'), /lacks CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF$/m);
  });

  it('helps', () => {
    assert.equal(asUser('--help').code, 0);
  });

  it('has a doctor that names them', () => {
    const { code, out } = asUser('doctor');
    assert.equal(code, 2);
    assert.match(out, /no +capabilities +none\n/);
    assert.match(out, /cannot work here: this process lacks CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF\n/);
  });
});
