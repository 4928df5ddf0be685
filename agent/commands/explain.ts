/** `vfioscope explain RULE`: describes a rule in the terminal. */
import { styleText } from 'node:util';
import { RULES } from '../../src/catalogue.ts';
import { sectionsOf, wrapped } from '../../src/engine/description.ts';
import { excerptOf } from '../../src/engine/example-lines.ts';
import type { Example, Rule, Severity } from '../../src/engine/rule.ts';
import { UserProblem } from '../../src/problem.ts';
import { nearest } from './nearest.ts';

/** Longer lines are hard to read, however wide the terminal. */
const WIDEST = 100;
const NARROWEST = 40;

const COLOURS: Readonly<Record<Severity, 'cyan' | 'yellow' | 'red' | 'magenta'>> = {
  info: 'cyan',
  warning: 'yellow',
  error: 'red',
  critical: 'magenta',
};

export interface Page {
  /** Columns of the terminal; a usual width when it is none. */
  readonly width?: number | undefined;
  readonly colour: boolean;
}

/** @throws {UserProblem} when there is no such rule */
export function explain(id: string, { width = 80, colour }: Page): string {
  const rule = RULES.find((one) => one.id === id);
  if (!rule) {
    const like = nearest(
      id,
      RULES.map((one) => one.id),
    );
    throw new UserProblem(
      'rules.unknown',
      `there is no rule ${id}`,
      `${like.length > 0 ? `did you mean ${like.join(' or ')}? ` : ''}vfioscope rules lists them all`,
    );
  }
  return new RuleText(Math.max(NARROWEST, Math.min(width, WIDEST)), colour).of(rule);
}

/** Renders rules in lines of one width. */
class RuleText {
  readonly #width: number;
  readonly #colour: boolean;

  constructor(width: number, colour: boolean) {
    this.#width = width;
    this.#colour = colour;
  }

  of(rule: Rule): string {
    const { fires, doesNotFire } = rule.examples;
    return [
      this.#styled(['bold', COLOURS[rule.severity]], rule.id),
      rule.title,
      ...sectionsOf(rule).flatMap(({ title, paragraphs, errnos = [] }) => [
        ...this.#heading(title),
        ...[
          ...paragraphs,
          ...errnos.map(({ errno, where, means }) => `${errno} ${where}: ${means}.`),
        ].flatMap((text) => wrapped(text, this.#width - 2).map(indented)),
      ]),
      ...this.#heading('Fires'),
      ...fires.flatMap((example) => this.#example(example, rule)),
      ...this.#heading('Does not fire'),
      ...doesNotFire.flatMap((example) => this.#example(example, rule)),
    ].join('\n');
  }

  #heading(title: string): string[] {
    return ['', this.#styled(['bold'], title)];
  }

  /** Lines of events stay whole: they are read as a table. */
  #example(example: Example, rule: Rule): string[] {
    const { title, also = [] } = example;
    const others = also.length > 0 ? ` (fires ${also.join(', ')})` : '';
    const { lines: excerpt, omitted, sameAs } = excerptOf(example, rule);
    const before = sameAs ? `… ${omitted} lines as in “${sameAs}”` : `… ${omitted} lines`;
    const lines = [...(omitted > 0 ? [before] : []), ...excerpt].flatMap((line) =>
      line.startsWith('=>')
        ? wrapped(line, this.#width - 4, '   ').map((part) =>
            this.#styled([COLOURS[rule.severity]], part),
          )
        : [line],
    );
    const heading = wrapped(`- ${title}${others}`, this.#width - 2, '  ');
    return ['', ...heading.map(indented), ...lines.map((line) => `    ${line}`)];
  }

  #styled(format: Parameters<typeof styleText>[0], text: string): string {
    return this.#colour ? styleText(format, text, { validateStream: false }) : text;
  }
}

function indented(line: string): string {
  return `  ${line}`;
}
