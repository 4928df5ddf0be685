// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { allSources, installedBy, problemsOf, startedBy } from './check.ts';

const SOURCES = allSources();

/** The result of the check for the repository with one more file. */
function problemsWith(file: string, text: string): string[] {
  return problemsOf([...SOURCES, { file, ...startedBy(file, text) }], installedBy);
}

const started = (file: string, text: string) => [...startedBy(file, text).programs].sort();
const inTypeScript = (text: string) => started('test/x.ts', text);

describe('programs that are started', () => {
  it('all have a package that is installed', () => {
    assert.deepEqual(problemsOf(SOURCES, installedBy), []);
  });

  it('are refused when the table does not have them, wherever they are started', () => {
    const unknown = { 'test/x.sh': 'frobnicate --all', 'test/x.ts': "spawn('frobnicate', [])" };
    for (const [file, text] of Object.entries(unknown)) {
      assert.deepEqual(problemsWith(file, text), [
        `${file}: starts frobnicate, which test/programs/table.ts does not have`,
      ]);
    }
    assert.match(problemsWith('test/y.ts', "await vm.sh('frobnicate')")[0], /frobnicate/);
  });

  it('are refused when no list that is installed there has their package', () => {
    assert.deepEqual(problemsWith('test/x.sh', 'podman run'), [
      'test/x.sh: starts podman of podman, which is not in test/packages.txt, test/lab/packages.txt',
    ]);
    const without = (list: string) =>
      new Set([...installedBy(list)].filter((name) => name !== 'mdevctl'));
    assert.match(problemsOf(SOURCES, without)[0], /starts mdevctl of mdevctl, which is not in/);
  });

  it('are refused as a row of the table when nothing starts them', () => {
    const sources = SOURCES.map((source) => ({
      ...source,
      programs: new Set([...source.programs].filter((program) => program !== 'mdevctl')),
    }));
    assert.deepEqual(problemsOf(sources, installedBy), [
      'test/programs/table.ts: nothing starts mdevctl, which PROGRAMS has',
    ]);
  });
});

describe('the search in shell text', () => {
  const inShell = (text: string) => started('test/x.sh', text);

  it('finds them wherever a command may stand', () => {
    const text = 'if a; then b | c; else x=1 d; fi && for i in 1; do (e); done; f > $(g) 2>&1 # h';
    assert.deepEqual(inShell(text), ['a', 'b', 'c', 'd', 'e', 'f', 'g']);
    assert.deepEqual(inShell('case $x in a | b) c ;; esac; [[ -e x ]] || ! d "$(e "`f`")"'), [
      ...['c', 'd', 'e', 'f'],
    ]);
  });

  it('follows programs that start others, and text for another shell', () => {
    assert.deepEqual(inShell('exec env -i A=1 timeout -k 1 5 a'), ['a', 'env', 'timeout']);
    assert.deepEqual(inShell("sh -c 'a && b'; trap 'c' EXIT; eval d"), ['a', 'b', 'c', 'd', 'sh']);
  });

  it('knows the functions of the set-up in a script that reads it', () => {
    assert.deepEqual(inShell('. "$(dirname "$0")/setup.sh"\nsay a; fail b; c'), ['c', 'dirname']);
  });

  it('leaves out functions and builtins, and follows functions that run their arguments', () => {
    assert.deepEqual(inShell('f() { a; }; f; cd /; echo b'), ['a']);
    assert.deepEqual(inShell('f() { shift; "$@"; }; f name a'), ['a']);
    assert.deepEqual(inShell('in_root() { chroot "$root" "$@"; }; in_root a'), ['a', 'chroot']);
  });
});

describe('the search in TypeScript', () => {
  it('finds what child_process, helpers and the VM are given', () => {
    assert.deepEqual(inTypeScript("execFileSync('a'); command('b'); vm.run(['c'])"), [
      'a',
      'b',
      'c',
    ]);
    assert.deepEqual(inTypeScript("vm.sh('d | e'); spawn('setpriv', ['--x', 'f'])"), [
      ...['d', 'e', 'f', 'setpriv'],
    ]);
  });

  it('follows constants, lists, conditions and templates', () => {
    assert.deepEqual(inTypeScript("const A = ['a', 'b']; vm.start([...A, 'c'])"), ['a']);
    assert.deepEqual(inTypeScript("vm.sh(x ? `a ${y}` : ['b', 'c'].join('; '))"), ['a', 'b', 'c']);
    assert.deepEqual(inTypeScript('vm.sh(all.map((one) => `a ${one}`).join(" && "))'), ['a']);
  });

  it('follows a function of the file that starts what it is given', () => {
    const text = "function run(program, words) { spawn(program, words); } run('a');";
    assert.deepEqual(inTypeScript(text), ['a']);
    const shell = "const shell = (text) => vm.run(['sh', '-c', text]); shell('a; b');";
    assert.deepEqual(inTypeScript(shell), ['a', 'b', 'sh']);
  });

  it('accepts a comment where it cannot determine the program, and reports it without one', () => {
    const call = 'spawn(settings.program);';
    assert.deepEqual(startedBy('test/x.ts', call).problems, [
      'line 1: cannot determine which program settings.program is',
    ]);
    assert.deepEqual(inTypeScript(`// programs: a, b\n${call}`), ['a', 'b']);
    // Other files may call what is exported.
    const { problems } = startedBy('test/x.ts', 'export function run(a) { spawn(a); } run("b")');
    assert.equal(problems.length, 1);
  });
});

it('the search in makefiles follows variables', () => {
  const text = 'CC ?= a\nX := $(shell b | c)\nall: d\n\t@$(CC) -o $@ $(X)\n\te\n';
  assert.deepEqual(started('bpf/Makefile', text), ['a', 'b', 'c', 'e']);
});
