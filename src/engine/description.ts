/** A rule described in sections, for docs/rules and `vfioscope explain`. */

import { TRAITS, type TraitName } from '../events/traits.ts';
import { code } from '../markdown.ts';
import { SECOND } from '../units.ts';
import { OCCURRENCE_WINDOW } from './found.ts';
import type { ErrnoMeaning, Kernels, Rule } from './rule.ts';
import { pointsNeeded } from './rule.ts';
import { capital, uncapital } from './words.ts';

export interface Section {
  readonly title: string;
  readonly paragraphs: readonly string[];
  readonly errnos?: readonly ErrnoMeaning[];
}

const BASIS: Readonly<Record<Rule['basis'], string>> = {
  event: 'The events at hand prove it, so it fires for any object, whatever its quality.',
  state:
    'It follows from the state of the object. After a loss of events (quality `unverified`) it is ' +
    'suppressed until a host snapshot has resynchronised the state.',
  history:
    'It follows from earlier events, or from their absence. For an object that existed before the ' +
    'agent, or about which events may be lost (quality `partial` or `unverified`), it is suppressed ' +
    'and counted in `vfioscope_findings_suppressed_total`.',
};

const BY: Readonly<Record<Rule['provocation']['by'], string>> = {
  user: 'By system calls alone.',
  driver: 'By a driver with a fault (test/kmod).',
  nothing: 'Not on a real kernel; only its examples are played.',
};

/** The kernels on which a rule can fire, by what they do. */
export function whereWords({ where }: Pick<Kernels, 'where'> = { where: {} }): string {
  const clauses = Object.entries(where).map(([name, wanted]) => {
    const { statement, otherwise } = TRAITS[name as TraitName];
    return wanted ? statement : otherwise;
  });
  return clauses.length === 0 ? 'on all kernels' : `on kernels where ${clauses.join(', and ')}`;
}

/** Everything but the examples, which belong to the last section. */
export function sectionsOf(rule: Rule): Section[] {
  const { severity, severityVaries, description, remediation, references, evidence, provocation } =
    rule;
  return [
    { title: 'Severity', paragraphs: [`${capital(severity)}. ${severityVaries ?? ''}`.trimEnd()] },
    { title: 'When it fires', paragraphs: whenItFires(rule) },
    { title: 'What is wrong', paragraphs: [description] },
    ...(rule.errnos
      ? [{ title: 'What the errno means', paragraphs: [], errnos: rule.errnos }]
      : []),
    { title: 'What to do', paragraphs: [remediation, `Evidence: ${uncapital(evidence)}`] },
    { title: 'References', paragraphs: [`${references}.`] },
    { title: 'How to reproduce', paragraphs: [`${BY[provocation.by]} ${provocation.how}`] },
  ];
}

function whenItFires({ basis, blindSpot, ...rule }: Rule): string[] {
  const { kernels, traits = [], needsStep = [], occurrences } = rule;
  const where = [`${capital(whereWords(kernels))}.`];
  if (kernels) where.push(`It cannot happen on others: ${kernels.because}.`);
  if (traits.length > 0) {
    const statements = traits.map((name) => TRAITS[name].statement);
    where.push(`It has to be known whether ${statements.join(', and whether ')}.`);
  }
  if (needsStep.length > 0) {
    const steps = needsStep.map(code).join(' and ');
    where.push(
      `It needs a kernel function of its own for ${steps}, not a point inferred from another.`,
    );
  }
  const points = pointsNeeded(rule).map(code);
  const needs = `It needs the ${points.length === 1 ? 'point' : 'points'} ${points.join(', ')}.`;
  return [
    where.join(' '),
    `${BASIS[basis]} ${needs}`,
    ...(occurrences
      ? [
          `Findings within ${OCCURRENCE_WINDOW / (3600 * SECOND)} h of each other are one violation with a count if they have in common ` +
            `${occurrences}.`,
        ]
      : []),
    ...byCdevWords(rule),
    ...(blindSpot ? [`Not visible: ${uncapital(blindSpot)}`] : []),
  ];
}

/** Points that only an open by a cdev, or only one by a group in a container, passes. */
const ONE_WAY = /^vfio\.(cdev\.|group\.(unset_container|detach))/;

/** What holds for devices that are opened by their cdev; nothing for a rule that is not about opens. */
function byCdevWords({
  notByCdev,
  ...rule
}: Parameters<typeof pointsNeeded>[0] & Pick<Rule, 'notByCdev'>): string[] {
  if (notByCdev) return [`Devices that are opened by their cdev: ${notByCdev}.`];
  const points = pointsNeeded(rule);
  // A rule about a step that only one of the two ways has.
  if (points.some((point) => ONE_WAY.test(point))) return [];
  return points.some((point) => point.startsWith('vfio.device.'))
    ? ['It holds for devices that are opened by their group and by their cdev alike.']
    : [];
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
