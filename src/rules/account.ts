/** The whole account of a rule in sections, for whoever shows it: docs/rules and `vfioscope explain`. */
import { code } from '../markdown.ts';
import type { Kernels, KernelVersion, Rule } from './rule.ts';
import { pointsNeeded } from './rule.ts';
import { capital } from './words.ts';

export interface Section {
  readonly title: string;
  readonly paragraphs: readonly string[];
}

const BASIS: Readonly<Record<Rule['basis'], string>> = {
  event:
    'What it reports is in the events at hand, so it holds for any object. It is raised also about one ' +
    'that was there before the agent (`late`), and about one whose events were lost (`tainted`); which ' +
    'of these it is stands beside it.',
  state:
    'It follows from the state that the object is in. It is raised also about an object that was there ' +
    'before the agent (`late`), because a look at the host has told its state. While events may be ' +
    'missing (`tainted`) it is held back, until a look has put the state right.',
  history:
    'It follows from what happened before, or did not. It is raised only about an object that was seen ' +
    'from its beginning, with no event lost since. About any other (`late`, `tainted`) it is held back, ' +
    'and counted in `vfioscope_findings_held_back_total`.',
};

const BY: Readonly<Record<Rule['provocation']['by'], string>> = {
  user: 'By system calls alone.',
  driver: 'By a driver with a fault (test/kmod).',
  nothing: 'By no kernel; only sequences of events show it.',
};

/** Where a rule can speak, in a few words. */
export function whereWords({ from, before }: Omit<Kernels, 'because'> = {}): string {
  const text = ([major, minor]: KernelVersion) => `${major}.${minor}`;
  if (from && before) return `on kernels from ${text(from)} on and before ${text(before)}`;
  if (from) return `on kernels from ${text(from)} on`;
  return before ? `on kernels before ${text(before)}` : 'on all kernels';
}

/** Everything but the examples. */
export function accountOf(rule: Rule): Section[] {
  const { severity, severityVaries, meaning, advice, origin, evidence, provocation } = rule;
  return [
    { title: 'What is wrong', paragraphs: [meaning] },
    { title: 'What to do', paragraphs: [advice] },
    {
      title: 'How bad it is',
      paragraphs: [`${capital(severity)}. ${severityVaries ?? ''}`.trimEnd()],
    },
    { title: 'Where it can happen', paragraphs: where(rule) },
    { title: 'When it speaks', paragraphs: [BASIS[rule.basis], needs(rule)] },
    {
      title: 'What is kept as evidence',
      paragraphs: [
        evidence,
        'With every finding: all events of the objects concerned, in order, who has them open, and ' +
          'who created and removed them.',
      ],
    },
    {
      title: 'How it is provoked',
      paragraphs: [`${BY[provocation.by]} ${provocation.how}`],
    },
    { title: 'Where it comes from', paragraphs: [`${origin}.`] },
  ];
}

function where({ kernels, needsStep = [] }: Rule): string[] {
  const words = whereWords(kernels);
  const step =
    `Only where the kernel takes ${needsStep.map(code).join(' and ')} as a step of its own; where ` +
    'another point tells it, this cannot happen.';
  return [
    `${capital(words)}${kernels ? `: ${kernels.because}` : ''}.`,
    ...(needsStep.length > 0 ? [step] : []),
  ];
}

function needs(rule: Rule): string {
  const points = pointsNeeded(rule).map(code);
  return `It needs ${points.length === 1 ? 'the point' : 'the points'} ${points.join(', ')}.`;
}

/**
 * Breaks a paragraph into lines.
 * @param width in characters; longer words stay whole
 * @param hang what lines after the first begin with
 */
export function wrapped(text: string, width: number, hang = ''): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = `${hang}${word}`;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}
