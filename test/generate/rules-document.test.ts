import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { sectionsOf, whereWords, wrapped } from '../../src/engine/description.ts';
import { exampleLines, excerptOf } from '../../src/engine/example-lines.ts';
import type { Rule } from '../../src/engine/rule.ts';
import { TRAITS } from '../../src/events/traits.ts';
import type { Scenario } from '../../src/scenario/scenario.ts';
import { onOpen, SOUND, whileOpen } from '../kit/simple-rules.ts';
import { ruleDocuments, type Trials, trialOf } from './rules-document.ts';

const OLD: Rule = {
  ...SOUND,
  id: 'old',
  kernels: { where: { coreHoldsVm: false }, because: 'the core takes a reference' },
};

function tried(kernel: string, rules: Trials['rules'] = {}): Trials {
  return { kernel, release: `${kernel}.0-test`, rules };
}

describe('the outcome on a kernel', () => {
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
    ...{ title: 'A <thing> of `a<b>`', description: 'One _word of two_words.' },
    ...{ remediation: 'Wait.', evidence: 'None.' },
  };
  const trials = [tried('6.1', { old: { outcome: 'provoked', severity: 'error' } }), tried('6.12')];
  const documents = ruleDocuments([{ title: 'Old ones', rules: [rule] }], trials);

  it('are a table and a page for each rule', () => {
    assert.deepEqual([...documents.keys()], ['README.md', 'old.md']);
    for (const text of documents.values()) assert.doesNotMatch(text, /undefined|\n\n\n/);
  });

  it('show for each kernel what was tried, and once why not', () => {
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

describe('kernels with cdevs', () => {
  const other: Rule = { ...SOUND, id: 'other', provocation: { by: 'user', how: 'So.' } };
  const rule: Rule = {
    ...other,
    id: 'by-cdev',
    kernels: { where: { devicesHaveCdevs: true }, because: 'it has no cdevs' },
  };
  const provoked = { outcome: 'provoked', severity: 'warning' } as const;
  const index = ruleDocuments(
    [
      { title: 'By cdevs', rules: [rule] },
      { title: 'Others', rules: [other] },
    ],
    [tried('6.1', { other: provoked }), tried('6.12')],
    [tried('6.12-iommufd', { 'by-cdev': provoked }), tried('7.2-iommufd')],
  ).get('README.md');
  assert.ok(index);

  it('have columns beside rules about cdevs, whether one was provoked there or not', () => {
    assert.match(index, /\| severity \| 6\.1 \| 6\.12 \| 6\.12-iommufd \| 7\.2-iommufd \|\n/);
    assert.match(index, /\| impossible \| impossible \| \*\*provoked\*\* \| replayed \|\n/);
    assert.match(index, /\| severity \| 6\.1 \| 6\.12 \|\n/);
  });

  it('are counted, named and not part of “everywhere” by omission', () => {
    assert.match(index, /\| provoked \| 1 \| 0 \| 1 \| 0 \|\n/);
    assert.match(index, /6\.12-iommufd is `6\.12-iommufd\.0-test`/);
    assert.match(index, /\n- `by-cdev`, 6\.1, 6\.12: impossible: it has no cdevs\n/);
  });
});

describe('an account', () => {
  it('says on which kernels something can happen', () => {
    assert.equal(whereWords(), 'on all kernels');
    const { statement, otherwise } = TRAITS.coreHoldsVm;
    const words = (coreHoldsVm: boolean) => whereWords({ where: { coreHoldsVm } });
    assert.equal(words(true), `on kernels where ${statement}`);
    assert.equal(words(false), `on kernels where ${otherwise}`);
    assert.equal(
      whereWords({ where: { coreHoldsVm: true, mdevsStayUnbound: true } }),
      `on kernels where ${statement}, and ${TRAITS.mdevsStayUnbound.statement}`,
    );
  });

  it('says why not on others, and which steps have to be the kernel’s own', () => {
    const rule: Rule = {
      ...OLD,
      traits: ['opensDuringRemoval'],
      needsStep: ['kvm.get_safe'],
    };
    const [where] = sectionOf(rule, 'When it fires').paragraphs;
    assert.equal(
      where,
      `On kernels where ${TRAITS.coreHoldsVm.otherwise}. It cannot happen on others: the core takes a ` +
        'reference. It has to be known whether a device can be opened while its removal waits for ' +
        'its users. It needs a kernel function of its own for `kvm.get_safe`, not a point inferred from another.',
    );
  });

  it('gives the severity, and when it is another one', () => {
    const title = 'Severity';
    assert.deepEqual(sectionOf(OLD, title).paragraphs, ['Warning.']);
    const varying = sectionOf({ ...OLD, severityVaries: 'An error on 5.10.' }, title);
    assert.deepEqual(varying.paragraphs, ['Warning. An error on 5.10.']);
  });
});

function sectionOf(rule: Rule, title: string) {
  const section = sectionsOf(rule).find((one) => one.title === title);
  assert.ok(section);
  return section;
}

describe('the lines of an example', () => {
  it('have the events, the time that passes, and where the rule fires', () => {
    const rule = whileOpen(() => ({ message: 'it is open' }));
    const run = (scenario: Scenario) => {
      const open = scenario.open(scenario.create(scenario.parent()), { vm: scenario.createVm() });
      scenario.wait(3);
      scenario.close(open);
    };
    const lines = exampleLines({ title: 'a wait', run }, rule);
    const opened = lines.findIndex((line) => /vfio\.device\.get_fd end {2}= 20$/.test(line));
    assert.deepEqual(lines.slice(opened + 1, opened + 4), [
      '… 1 s pass',
      '=> warning: it is open',
      '… 2 s pass',
    ]);
    const closed = lines.findIndex((line) => /vfio\.device\.close end/.test(line));
    assert.equal(lines[closed + 1], '=> resolved');
  });

  it('number VMs from 1 in each, and name devices where there are two', () => {
    const run = (scenario: Scenario) => {
      const parent = scenario.parent();
      const vm = scenario.createVm();
      for (const device of [scenario.create(parent), scenario.create(parent)])
        scenario.open(device, { vm });
    };
    const rule = onOpen(() => ({ message: 'so' }));
    const lines = exampleLines({ title: 'two', run }, rule);
    assert.deepEqual(lines, exampleLines({ title: 'two', run }, rule));
    const opens = lines.filter((line) => line.includes('vfio.device.open end'));
    assert.equal(new Set(opens.map((line) => line.split('  ').at(-1))).size, 2);
    for (const line of opens) assert.match(line, / vm1 {2}…\d{4}$/);
  });

  it('leave out the middle of a long one, but not where the rule fires', () => {
    const run = (scenario: Scenario) => {
      const device = scenario.create(scenario.parent());
      for (let i = 0; i < 3; i++) scenario.close(scenario.open(device));
      for (let i = 0; i < 50; i++) scenario.create(scenario.parent());
    };
    const { lines } = excerptOf(
      { title: 'long', run },
      onOpen(() => ({ message: 'so' })),
    );
    assert.ok(lines.length < 60);
    assert.equal(lines.filter((line) => / \d+ more lines$/.test(line)).length, 1);
    assert.ok(lines.some((line) => line.startsWith('=> ')));
  });
});

describe('the excerpt of an example', () => {
  const alike = (scenario: Scenario) => scenario.create(scenario.parent());
  const opened = {
    title: 'it is opened',
    run: (scenario: Scenario) => void scenario.open(alike(scenario)),
  };
  const removed = {
    title: 'it is removed',
    run: (scenario: Scenario) => scenario.remove(alike(scenario)),
  };
  const unlike = {
    title: 'another type of device',
    run: (scenario: Scenario) => void scenario.open(scenario.bindPci('0000:01:00.0')),
  };
  const fires = { fires: [opened, unlike], doesNotFire: [removed] };
  const rule = onOpen(() => ({ message: 'so' }), { examples: fires });

  it('begins where it differs from its nearest counterpart', () => {
    const all = exampleLines(opened, rule);
    const { lines, omitted, sameAs } = excerptOf(opened, rule);
    assert.deepEqual([...all.slice(0, omitted), ...lines], all);
    assert.match(lines[0], /vfio\.device\.get_fd begin/);
    assert.match(exampleLines(removed, rule)[omitted], /mdev\.remove begin/);
    assert.equal(sameAs, 'it is removed');
    assert.equal(excerptOf(removed, rule).sameAs, 'it is opened');
  });

  it('begins at the first event that the rule needs where no counterpart begins alike', () => {
    const { lines, omitted, sameAs } = excerptOf(unlike, rule);
    assert.match(lines[0], /vfio\.device\.open begin/);
    assert.equal(sameAs, undefined);
    assert.equal(omitted, exampleLines(unlike, rule).indexOf(lines[0]));
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
