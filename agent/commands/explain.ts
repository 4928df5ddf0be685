/** `vfioscope explain RULE`: the whole story of a rule in the terminal. */
import { styleText } from 'node:util';
import { UserProblem } from '../../src/problem.ts';
import { accountOf, wrapped } from '../../src/rules/account.ts';
import { RULES } from '../../src/rules/catalogue.ts';
import { exampleLines } from '../../src/rules/example-lines.ts';
import type { Example, Rule, Severity } from '../../src/rules/rule.ts';
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
      `there is no rule ${id}`,
      `${like.length > 0 ? `did you mean ${like.join(' or ')}? ` : ''}vfioscope rules lists them all`,
    );
  }
  return new Telling(Math.max(NARROWEST, Math.min(width, WIDEST)), colour).of(rule);
}

/** Tells rules in lines of one width. */
class Telling {
  readonly #width: number;
  readonly #colour: boolean;

  constructor(width: number, colour: boolean) {
    this.#width = width;
    this.#colour = colour;
  }

  of(rule: Rule): string {
    const { fires, silent } = rule.examples;
    return [
      this.#styled(['bold', COLOURS[rule.severity]], rule.id),
      rule.title,
      ...accountOf(rule).flatMap(({ title, paragraphs }) => [
        ...this.#heading(title),
        ...paragraphs.flatMap((text) => wrapped(text, this.#width - 2).map(indented)),
      ]),
      ...this.#heading('Examples that break it'),
      ...fires.flatMap((example) => this.#example(example, rule)),
      ...this.#heading('Near misses, about which it is silent'),
      ...silent.flatMap((example) => this.#example(example, rule)),
    ].join('\n');
  }

  #heading(title: string): string[] {
    return ['', this.#styled(['bold'], title)];
  }

  /** Lines of events stay whole: they are read as a table. */
  #example(example: Example, rule: Rule): string[] {
    const { title, also = [] } = example;
    const others = also.length > 0 ? ` (here speaks ${also.join(', ')})` : '';
    const lines = exampleLines(example, rule).flatMap((line) =>
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
