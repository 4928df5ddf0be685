/** docs/rules: a page for each rule, and a table of all. */

import type { Topic } from '../../src/catalogue.ts';
import { type Section, sectionsOf, wrapped } from '../../src/engine/description.ts';
import { excerptOf } from '../../src/engine/example-lines.ts';
import { type Example, isPossible, type Rule, type Severity } from '../../src/engine/rule.ts';
import { table } from '../../src/markdown.ts';
import { LAB_KERNELS } from '../../src/scenario/kernels.ts';

/**
 * provoked: a real kernel was made to violate the rule, and the agent reported it. replayed: only its
 * examples were played. impossible: it cannot happen on this kernel.
 */
export interface Trial {
  readonly outcome: 'provoked' | 'replayed' | 'impossible';
  /** The severity with which it was raised. */
  readonly severity?: Severity;
  /** Why it was not provoked. */
  readonly because?: string;
}

/** What was tried on one kernel of the lab. */
export interface Trials {
  /** major.minor, as in test/lab/kernels.json. */
  readonly kernel: string;
  /** As uname prints it; undefined when nothing was tried. */
  readonly release: string | undefined;
  /** By rule. */
  readonly rules: Readonly<Record<string, Trial>>;
}

export const WIDTH = 100;
export const NOTE = '<!-- Generated from src/rules by `npm run generate`. Do not edit. -->';

/**
 * All files, by name in docs/rules.
 * @param byCdev what was tried on kernels with device cdevs: only what differs there is
 */
export function ruleDocuments(
  topics: readonly Topic[],
  trials: readonly Trials[],
  byCdev: readonly Trials[] = [],
): Map<string, string> {
  const pages = topics
    .flatMap(({ rules }) => rules)
    .map(
      (rule) => [`${rule.id}.md`, rulePage(rule, [...trials, ...about([rule], byCdev)])] as const,
    );
  return new Map([['README.md', index(topics, trials, byCdev)], ...pages]);
}

const WITH_CDEVS =
  'Kernels whose names end in `-iommufd` are those of the same number, built with device cdevs and iommufd. Only what ' +
  'that changes was provoked on them, so they have columns where it matters.';

/** Those of kernels with cdevs, if one of the rules is about cdevs; else those in which one was provoked. */
function about(rules: readonly Rule[], byCdev: readonly Trials[]): Trials[] {
  const isAboutCdevs = rules.some(({ kernels }) => kernels?.where.devicesHaveCdevs);
  const isProvoked = (one: Trials) => rules.some(({ id }) => one.rules[id]?.outcome === 'provoked');
  return byCdev.filter((one) => isAboutCdevs || isProvoked(one));
}

/** @throws {Error} when a rule was provoked where it says that it cannot happen */
export function trialOf(rule: Rule, { kernel, rules }: Trials): Trial {
  const trial: Trial | undefined = rules[rule.id];
  if (!isPossible(rule, LAB_KERNELS[kernel])) {
    if (trial?.outcome === 'provoked') {
      throw new Error(`${rule.id} was provoked on ${kernel}, but says that it cannot happen there`);
    }
    return { outcome: 'impossible', because: rule.kernels?.because ?? '' };
  }
  if (trial) return trial;
  const { by, how } = rule.provocation;
  return { outcome: 'replayed', ...(by === 'nothing' ? { because: how } : {}) };
}

function rulePage(rule: Rule, trials: readonly Trials[]): string {
  const { fires, doesNotFire } = rule.examples;
  return [
    NOTE,
    `# ${plain(rule.title)}`,
    `Rule \`${rule.id}\`.`,
    ...sectionsOf(rule).flatMap(sectionText),
    trialTable(rule, trials),
    'Examples: time, process, event; `=>` is the message of the rule.',
    ...fires.map((example) => exampleText('Fires', example, rule)),
    ...doesNotFire.map((example) => exampleText('Does not fire', example, rule)),
    `[All rules](README.md)\n`,
  ].join('\n\n');
}

function sectionText({ title, paragraphs, errnos }: Section): string[] {
  const rows = errnos?.map(({ errno, where, means }) => [errno, where, plain(means)]);
  return [
    `## ${title}`,
    ...paragraphs.map((text) => wrapped(plain(text), WIDTH).join('\n')),
    ...(rows ? [table(['errno', 'returned', 'meaning'], rows)] : []),
  ];
}

/** Folded, from where it differs on. */
function exampleText(outcome: string, example: Example, rule: Rule): string {
  const { also = [] } = example;
  const { lines, omitted, sameAs } = excerptOf(example, rule);
  const others = also.map((id) => `[${id}](${id}.md)`).join(', ');
  const text = lines.flatMap((line) =>
    line.startsWith('=>') ? wrapped(line, WIDTH, '   ') : [line],
  );
  return [
    `<details><summary>${outcome}: ${plain(example.title)}</summary>`,
    ...(others ? [`Rules that fire instead or as well: ${others}.`] : []),
    ...(omitted > 0 ? [omittedText(omitted, sameAs)] : []),
    `\`\`\`\n${text.join('\n')}\n\`\`\``,
    '</details>',
  ].join('\n\n');
}

function omittedText(omitted: number, sameAs: string | undefined): string {
  const lines = omitted === 1 ? 'One line is left out' : `${omitted} lines are left out`;
  const text = sameAs ? `${lines}: they are the same as in “${plain(sameAs)}”.` : `${lines}.`;
  return wrapped(text, WIDTH).join('\n');
}

function trialTable(rule: Rule, trials: readonly Trials[]): string {
  return table(
    ['kernel', 'outcome', 'severity, or why not'],
    trials.map((one) => {
      const { outcome, severity, because = '' } = trialOf(rule, one);
      return [one.kernel, outcome, severity ? `raised as ${severity}` : because];
    }),
  );
}

function index(
  topics: readonly Topic[],
  trials: readonly Trials[],
  byCdev: readonly Trials[],
): string {
  const count = topics.reduce((sum, { rules }) => sum + rules.length, 0);
  const all = [...trials, ...byCdev];
  const releases = all.flatMap(({ kernel, release }) =>
    release ? [`${kernel} is \`${release}\``] : [],
  );
  return [
    NOTE,
    '# Rules',
    wrapped(
      `The ${count} ordering violations, stalls and leaks that vfioscope detects. \`vfioscope rules\` lists ` +
        'which of them are active on a host and why the others are not; `vfioscope explain RULE` ' +
        'describes a rule in the terminal as its page does here.',
      WIDTH,
    ).join('\n'),
    'For each kernel of the lab:',
    [
      '- **provoked**: that kernel was made to violate the rule, and the test checks the rule, its',
      '  severity and its evidence.',
      '- replayed: the unit tests play the examples of its page as sequences of events.',
      '- impossible: it cannot happen on that kernel; the reasons are below the tables.',
    ].join('\n'),
    ...(byCdev.length > 0 ? [wrapped(WITH_CDEVS, WIDTH).join('\n')] : []),
    ...(releases.length > 0 ? [wrapped(`${releases.join(', ')}.`, WIDTH).join('\n')] : []),
    countText(topics, all),
    ...topics.flatMap((topic) => topicText(topic, [...trials, ...about(topic.rules, byCdev)])),
    'What the violations of all of them say is on [one page](messages.md).',
    '## Why not provoked',
    `${reasons(topics, all)}\n`,
  ].join('\n\n');
}

function countText(topics: readonly Topic[], trials: readonly Trials[]): string {
  const rules = topics.flatMap((topic) => topic.rules);
  const rows = (['provoked', 'replayed', 'impossible'] as const).map((wanted) => [
    wanted,
    ...trials.map((one) =>
      String(rules.filter((rule) => trialOf(rule, one).outcome === wanted).length),
    ),
  ]);
  return table(['rules', ...trials.map(({ kernel }) => kernel)], rows);
}

function topicText({ title, rules }: Topic, trials: readonly Trials[]): string[] {
  if (rules.length === 0) return [];
  const rows = rules.map((rule) => [
    `[${rule.id}](${rule.id}.md)`,
    plain(rule.title),
    `${rule.severity}${rule.severityVaries ? ', varies' : ''}`,
    ...trials.map((one) => outcomeText(trialOf(rule, one))),
  ]);
  const head = ['rule', 'what is wrong', 'severity', ...trials.map(({ kernel }) => kernel)];
  return [`## ${title}`, table(head, rows)];
}

function outcomeText({ outcome }: Trial): string {
  return outcome === 'provoked' ? `**${outcome}**` : outcome;
}

/** Each reason once, with the kernels that it is true of. */
function reasons(topics: readonly Topic[], trials: readonly Trials[]): string {
  const lines = topics
    .flatMap(({ rules }) => rules)
    .flatMap((rule) => {
      const kernels = new Map<string, string[]>();
      for (const one of trials) {
        const { outcome, because } = trialOf(rule, one);
        if (!because) continue;
        const key = `${outcome}: ${because}`;
        kernels.set(key, [...(kernels.get(key) ?? []), one.kernel]);
      }
      return [...kernels].map(([why, on]) => {
        const where = on.length === trials.length ? 'everywhere' : on.join(', ');
        return wrapped(`- \`${rule.id}\`, ${where}: ${plain(why)}`, WIDTH, '  ').join('\n');
      });
    });
  return lines.join('\n');
}

/** Text that Markdown shows as it is, but for `code`. */
export function plain(text: string): string {
  return text
    .split('`')
    .map((part, i) => (i % 2 === 1 ? part : part.replace(/[<*[]|(?<![a-z0-9])_/gi, '\\$&')))
    .join('`');
}
