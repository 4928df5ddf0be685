/** docs/rules: a page for each rule, and a table of all. */
import { table } from '../markdown.ts';
import { accountOf, type Section, wrapped } from './account.ts';
import type { Topic } from './catalogue.ts';
import { exampleLines } from './example-lines.ts';
import { type Example, isPossible, type KernelVersion, type Rule, type Severity } from './rule.ts';

/**
 * provoked: a real kernel was made to break the rule, and the agent said so. replayed: its
 * examples are sequences of events. impossible: this kernel cannot be made to.
 */
export interface Trial {
  readonly outcome: 'provoked' | 'replayed' | 'impossible';
  /** With which it was raised. */
  readonly severity?: Severity;
  /** Why it was not provoked. */
  readonly because?: string;
}

/** What was tried on one kernel of the lab. */
export interface Trials {
  /** major.minor, as in test/lab/kernels.json. */
  readonly kernel: string;
  /** As uname tells it; undefined when nothing was tried. */
  readonly release: string | undefined;
  /** By rule. */
  readonly rules: Readonly<Record<string, Trial>>;
}

const WIDTH = 100;
const NOTE = '<!-- Generated from src/rules by `npm run generate`. Do not edit. -->';

/** All files, by name in docs/rules. */
export function ruleDocuments(
  topics: readonly Topic[],
  trials: readonly Trials[],
): Map<string, string> {
  const pages = topics
    .flatMap(({ rules }) => rules)
    .map((rule) => [`${rule.id}.md`, rulePage(rule, trials)] as const);
  return new Map([['README.md', index(topics, trials)], ...pages]);
}

/** @throws {Error} when a rule was provoked where it says that it cannot happen */
export function trialOf(rule: Rule, { kernel, rules }: Trials): Trial {
  const trial: Trial | undefined = rules[rule.id];
  if (!isPossible(rule, versionOf(kernel))) {
    if (trial?.outcome === 'provoked') {
      throw new Error(`${rule.id} was provoked on ${kernel}, but says that it cannot happen there`);
    }
    return { outcome: 'impossible', because: rule.kernels?.because ?? '' };
  }
  if (trial) return trial;
  const { by, how } = rule.provocation;
  return { outcome: 'replayed', ...(by === 'nothing' ? { because: how } : {}) };
}

function versionOf(kernel: string): KernelVersion {
  const [major = 0, minor = 0] = kernel.split('.').map(Number);
  return [major, minor];
}

function rulePage(rule: Rule, trials: readonly Trials[]): string {
  const { fires, silent } = rule.examples;
  return [
    NOTE,
    `# ${plain(rule.title)}`,
    `Rule \`${rule.id}\`.`,
    ...accountOf(rule).flatMap(sectionText),
    '## On the kernels of the lab',
    trialTable(rule, trials),
    '## Examples that break it',
    'What the kernel tells of them: time, process, event; `=>` is where the rule speaks.',
    ...fires.flatMap((example) => exampleText(example, rule)),
    '## Near misses, about which it is silent',
    ...silent.flatMap((example) => exampleText(example, rule)),
    `[All rules](README.md)\n`,
  ].join('\n\n');
}

function sectionText({ title, paragraphs }: Section): string[] {
  return [`## ${title}`, ...paragraphs.map((text) => wrapped(plain(text), WIDTH).join('\n'))];
}

function exampleText(example: Example, rule: Rule): string[] {
  const { also = [] } = example;
  const others = also.map((id) => `[${id}](${id}.md)`).join(', ');
  const lines = exampleLines(example, rule).flatMap((line) =>
    line.startsWith('=>') ? wrapped(line, WIDTH, '   ') : [line],
  );
  return [
    `### ${plain(example.title)}`,
    ...(others ? [`Here speaks: ${others}.`] : []),
    `\`\`\`\n${lines.join('\n')}\n\`\`\``,
  ];
}

function trialTable(rule: Rule, trials: readonly Trials[]): string {
  return table(
    ['kernel', 'outcome', 'seen, or why not'],
    trials.map((one) => {
      const { outcome, severity, because = '' } = trialOf(rule, one);
      return [one.kernel, outcome, severity ? `raised as ${severity}` : because];
    }),
  );
}

function index(topics: readonly Topic[], trials: readonly Trials[]): string {
  const count = topics.reduce((sum, { rules }) => sum + rules.length, 0);
  const releases = trials.flatMap(({ kernel, release }) =>
    release ? [`${kernel} is \`${release}\``] : [],
  );
  return [
    NOTE,
    '# Rules',
    wrapped(
      `The ${count} wrong orders, stalls and leaks that vfioscope knows. \`vfioscope rules\` tells which of them ` +
        'are active on a host and why the others are not, `vfioscope explain RULE` tells in the ' +
        'terminal what the pages here tell.',
      WIDTH,
    ).join('\n'),
    'For each kernel of the lab:',
    [
      '- **provoked**: that kernel was made to break the rule, and the test holds the agent to the',
      '  rule, its severity and its evidence.',
      '- replayed: the examples of its page are played as sequences of events, on each run of the',
      '  unit tests.',
      '- impossible: it cannot happen on that kernel; below the tables stands why.',
    ].join('\n'),
    ...(releases.length > 0 ? [wrapped(`${releases.join(', ')}.`, WIDTH).join('\n')] : []),
    countText(topics, trials),
    ...topics.flatMap((topic) => topicText(topic, trials)),
    '## Why not provoked',
    `${reasons(topics, trials)}\n`,
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
