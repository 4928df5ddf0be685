// The check of retired words finds what is planted, and what stands beside it in plain English not.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { RETIRED_WORDS, type WordException } from './retired-words.ts';
import { checkWords } from './words.ts';

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'vfioscope-words-'));
  mkdirSync(join(root, 'docs'));
});

afterEach(() => rmSync(root, { recursive: true }));

function check(text: string, exceptions: readonly WordException[] = []): string[] {
  writeFileSync(join(root, 'docs/a.md'), text);
  return checkWords(root, { words: RETIRED_WORDS, exceptions, paths: ['docs/'] });
}

const PLANTED = [
  'a look at the host',
  'vfioscope_host_looks_total',
  'It looked at the host.',
  "'seen.vm_file:begin'",
  'vfioscope_state_tainted',
  'quality **late**',
  'which puts the state right',
  'findingsHeldBack',
  'lends devices to virtual machines',
  'endedLives',
  'the life of a device',
  'every moment that begins it',
  'toldBy',
  'the driver tells it',
  'records are taken in',
  'goes on at the exact record',
  'its users let go',
  'a parent that was withdrawn',
  'madeBy: Task',
  'culprits',
  'a lasting condition',
  'a single act',
  'the mistake of a rule',
  'when the rule speaks',
  'rules stay silent',
  'one lane for each CPU',
  'opens the place of a probe',
  'tell(story)',
  'taped scenario',
  'the calm run',
  'await stage.expect()',
  'provocations/scene.ts',
  'npm run hunt',
  'the rooms of the agent',
  'house rules',
  'sight',
  'an obstacle',
  'once more',
  'read anew',
  'every wrong order',
  '  advice: "stop it",',
  'see / for what there is',
  'without further ado',
  'a released VM',
];

for (const text of PLANTED) {
  test(`found: ${text}`, () => {
    const problems = check(`# A page\n\n${text}\n`);
    assert.match(problems[0] ?? '', /^docs\/a\.md:3: ".+" is retired: /);
  });
}

test('plain English and the words that came instead pass', () => {
  const text = [
    'The lifecycle of a device, its lifetime and the life-cycle of a group descriptor.',
    'Look the function up; it looks like an inlined one. At that moment nothing runs; a moment later …',
    'The late agent reads what exists. No room in the ring: make room. It takes place in place.',
    'It acts through its VMM. The agent speaks OTLP. The first line says what the meaning is.',
    'npm run --silent build; the build stage of the Dockerfile; const seen = new Set(); seen.add(1);',
    'silently; storage; delivered; olives; planes; history; lentil',
  ].join('\n');
  assert.deepEqual(check(text), []);
});

test('an exception excuses its lines, in its path, and one that excuses nothing is found', () => {
  const excuse = { path: 'docs/', line: /kernel is tainted/, reason: 'a test' };
  assert.deepEqual(check('the kernel is tainted', [excuse]), []);
  assert.equal(check('the kernel is tainted', [{ ...excuse, path: 'src/' }]).length, 2);
  assert.match(check('nothing', [excuse])[0] ?? '', /excuses nothing/);
});

test('only the paths that are switched on are checked, and only text', () => {
  writeFileSync(join(root, 'README.md'), 'a story');
  writeFileSync(join(root, 'docs/a.vfr'), 'a story');
  const words = { words: RETIRED_WORDS, exceptions: [] };
  assert.deepEqual(checkWords(root, { ...words, paths: ['docs/'] }), []);
  assert.equal(checkWords(root, { ...words, paths: ['README.md'] }).length, 1);
});

test('a pattern finds at least one planted text: none is there for nothing', () => {
  for (const { pattern } of RETIRED_WORDS) {
    const problems = PLANTED.concat([
      'unseen',
      'implied',
      'blamed',
      'How bad it is',
      'Where the order broke',
    ]).filter(
      (text) =>
        checkWords(root, { words: [{ pattern, instead: '' }], exceptions: [], paths: write(text) })
          .length > 0,
    );
    assert.ok(problems.length > 0, String(pattern));
  }
});

function write(text: string): string[] {
  writeFileSync(join(root, 'docs/a.md'), text);
  return ['docs/'];
}
