import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { accountOf, whereWords, wrapped } from './account.ts';
import { ruleDocuments, type Trials, trialOf } from './document.ts';
import { exampleLines } from './example-lines.ts';
import type { Rule } from './rule.ts';
import { onOpen, SOUND, whileOpen } from './simple-rules.ts';
import type { Story } from './story.ts';

const OLD: Rule = {
  ...SOUND,
  id: 'old',
  kernels: { before: [6, 2], because: 'the core takes a reference' },
};

function tried(kernel: string, rules: Trials['rules'] = {}): Trials {
  return { kernel, release: `${kernel}.0-test`, rules };
}

describe('what is told of a kernel', () => {
  it('is what was found by provoking it', () => {
    const trial = { outcome: 'provoked', severity: 'warning' } as const;
    assert.deepEqual(trialOf(OLD, tried('6.1', { old: trial })), trial);
  });

  it('is that it is replayed where nothing was tried', () => {
    assert.deepEqual(
      trialOf({ ...SOUND, id: 'any', provocation: { by: 'user', how: 'So.' } }, tried('6.1')),
      {
        outcome: 'replayed',
      },
    );
  });

  it('is why, where no kernel can be made to do it', () => {
    const rule: Rule = { ...SOUND, id: 'any', provocation: { by: 'nothing', how: 'It crashes.' } };
    assert.deepEqual(trialOf(rule, tried('6.1')), { outcome: 'replayed', because: 'It crashes.' });
  });

  it('is that it is impossible where the rule says so', () => {
    assert.deepEqual(trialOf(OLD, tried('6.12')), {
      outcome: 'impossible',
      because: 'the core takes a reference',
    });
  });

  it('is a contradiction when it was provoked all the same', () => {
    const trials = tried('6.12', { old: { outcome: 'provoked' } });
    assert.throws(() => trialOf(OLD, trials), /old was provoked on 6\.12, but says/);
  });
});

describe('the documents', () => {
  const rule: Rule = {
    ...OLD,
    ...{ title: 'A <thing> of `a<b>`', meaning: 'One _word of two_words.' },
    ...{ advice: 'Wait.', evidence: 'None.' },
  };
  const trials = [tried('6.1', { old: { outcome: 'provoked', severity: 'error' } }), tried('6.12')];
  const documents = ruleDocuments([{ title: 'Old ones', rules: [rule] }], trials);

  it('are a table and a page for each rule', () => {
    assert.deepEqual([...documents.keys()], ['README.md', 'old.md']);
    for (const text of documents.values()) assert.doesNotMatch(text, /undefined|\n\n\n/);
  });

  it('tell of each kernel what was tried, and once why not', () => {
    const index = documents.get('README.md') ?? '';
    assert.match(index, /\| warning \| \*\*provoked\*\* \| impossible \|\n/);
    assert.match(index, /\n- `old`, 6\.12: impossible: the core takes a reference\n/);
    assert.match(index, /6\.1 is `6\.1\.0-test`, 6\.12 is `6\.12\.0-test`\./);
    const page = documents.get('old.md') ?? '';
    assert.match(
      page,
      /\| 6\.1 \| provoked \| raised as error \|\n\| 6\.12 \| impossible \| the core/,
    );
  });

  it('show text as it is', () => {
    const page = documents.get('old.md') ?? '';
    assert.match(page, /\n# A \\<thing> of `a<b>`\n/);
    assert.match(page, /\nOne \\_word of two_words\.\n/);
  });
});

describe('an account', () => {
  it('says on which kernels something can happen', () => {
    assert.equal(whereWords(), 'on all kernels');
    assert.equal(whereWords({ from: [6, 2] }), 'on kernels from 6.2 on');
    assert.equal(whereWords({ before: [6, 2] }), 'on kernels before 6.2');
    assert.equal(
      whereWords({ from: [6, 1], before: [6, 2] }),
      'on kernels from 6.1 on and before 6.2',
    );
  });

  it('says why not on others, and which steps have to be the kernel’s own', () => {
    const { paragraphs } = sectionOf(
      { ...OLD, needsStep: ['kvm.get_safe'] },
      'Where it can happen',
    );
    assert.equal(paragraphs[0], 'On kernels before 6.2: the core takes a reference.');
    assert.match(
      paragraphs[1],
      /^Only where the kernel takes `kvm\.get_safe` as a step of its own/,
    );
  });

  it('says how bad it is, and when it is not as bad', () => {
    const title = 'How bad it is';
    assert.deepEqual(sectionOf(OLD, title).paragraphs, ['Warning.']);
    const varying = sectionOf({ ...OLD, severityVaries: 'An error on 5.10.' }, title);
    assert.deepEqual(varying.paragraphs, ['Warning. An error on 5.10.']);
  });
});

function sectionOf(rule: Rule, title: string) {
  const section = accountOf(rule).find((one) => one.title === title);
  assert.ok(section);
  return section;
}

describe('the lines of an example', () => {
  it('have what happened, how long nothing did, and where the rule speaks', () => {
    const rule = whileOpen(() => ({ says: 'it is open' }));
    const tell = (story: Story) => {
      const open = story.open(story.create(story.parent()), { vm: story.createVm() });
      story.wait(3);
      story.close(open);
    };
    const lines = exampleLines({ title: 'a wait', tell }, rule);
    const opened = lines.findIndex((line) => /vfio\.device\.get_fd end {2}= 20$/.test(line));
    assert.deepEqual(lines.slice(opened + 1, opened + 4), [
      '… 1 s pass',
      '=> warning: it is open',
      '… 2 s pass',
    ]);
    const closed = lines.findIndex((line) => /vfio\.device\.close end/.test(line));
    assert.equal(lines[closed + 1], '=> resolved');
  });

  it('number VMs anew in each, and tell devices apart where there are two', () => {
    const tell = (story: Story) => {
      const parent = story.parent();
      const vm = story.createVm();
      for (const device of [story.create(parent), story.create(parent)]) story.open(device, { vm });
    };
    const rule = onOpen(() => ({ says: 'so' }));
    const lines = exampleLines({ title: 'two', tell }, rule);
    assert.deepEqual(lines, exampleLines({ title: 'two', tell }, rule));
    const opens = lines.filter((line) => line.includes('vfio.device.open end'));
    assert.equal(new Set(opens.map((line) => line.split('  ').at(-1))).size, 2);
    for (const line of opens) assert.match(line, / vm1 {2}…\d{4}$/);
  });

  it('leave out the middle of a long one, but not what the rule says there', () => {
    const tell = (story: Story) => {
      const device = story.create(story.parent());
      for (let i = 0; i < 3; i++) story.close(story.open(device));
      for (let i = 0; i < 50; i++) story.create(story.parent());
    };
    const lines = exampleLines(
      { title: 'long', tell },
      onOpen(() => ({ says: 'so' })),
    );
    assert.ok(lines.length < 60);
    assert.equal(lines.filter((line) => / \d+ more lines$/.test(line)).length, 1);
    assert.ok(lines.some((line) => line.startsWith('=> ')));
  });
});

describe('wrapping', () => {
  for (const [text, width, hang, lines] of [
    ['', 10, '', ['']],
    ['one', 2, '', ['one']],
    ['one two three', 7, '', ['one two', 'three']],
    ['- one two', 5, '  ', ['- one', '  two']],
    ['a verylongword b', 4, '', ['a', 'verylongword', 'b']],
  ] as const) {
    it(`of "${text}" to ${width}`, () => assert.deepEqual(wrapped(text, width, hang), lines));
  }
});
