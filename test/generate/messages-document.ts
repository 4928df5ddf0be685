/** docs/rules/messages.md: what the violations of each rule say, on one page, to be read in one go. */

import type { Topic } from '../../src/catalogue.ts';
import { wrapped } from '../../src/engine/description.ts';
import { kernelOf, play } from '../../src/engine/play.ts';
import type { Rule } from '../../src/engine/rule.ts';
import { NOTE, plain, WIDTH } from './rules-document.ts';

export function messagesDocument(topics: readonly Topic[]): string {
  return [
    NOTE,
    '# What violations say',
    wrapped(
      'The message of each violation in the examples of its rule, and what to do. A message names who, what, ' +
        'which VM, since when and why, as far as each was observed; "probably", "may" and "at least" mark what ' +
        'was not.',
      WIDTH,
    ).join('\n'),
    ...topics.flatMap(({ title, rules }) => [`## ${title}`, ...rules.flatMap(messagesOf)]),
    `[All rules](README.md)\n`,
  ].join('\n\n');
}

function messagesOf(rule: Rule): string[] {
  const messages = new Set(rule.examples.fires.flatMap(({ run }) => raisedBy(rule, run)));
  return [
    `### [${rule.id}](${rule.id}.md): ${plain(rule.title)}`,
    ...[...messages].map((message) => quoted(plain(message))),
    wrapped(`What to do: ${plain(rule.remediation)}`, WIDTH).join('\n'),
  ];
}

function raisedBy(rule: Rule, run: Rule['examples']['fires'][number]['run']): string[] {
  const messages: string[] = [];
  play(run, [rule], kernelOf(rule), {
    step() {},
    violation({ severity, message }, change) {
      if (change === 'raised' || change === 'escalated') messages.push(`${severity}: ${message}`);
    },
  });
  return messages;
}

function quoted(text: string): string {
  return wrapped(text, WIDTH - 2)
    .map((line) => `> ${line}`)
    .join('\n');
}
