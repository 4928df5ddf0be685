/** docs/runbooks: a page for each alert, for somebody who was woken by it. */
import { wrapped } from '../../src/rules/account.ts';
import { plain } from '../../src/rules/document.ts';
import type { Rule } from '../../src/rules/rule.ts';
import type { Alert, Step } from './alert.ts';
import { durationWords } from './words.ts';

const NOTE = '<!-- Generated from dashboards/alerts by `npm run generate`. Do not edit. -->';
const WIDTH = 100;

/** @param rules all that there are */
export function runbookPage(alert: Alert, rules: readonly Rule[]): string {
  const { name, severity, because, expr, runbook } = alert;
  const about = (runbook.rules ?? []).map((id) => {
    const rule = rules.find((one) => one.id === id);
    if (!rule) throw new Error(`${name} is about the rule ${id}, which there is not`);
    return rule;
  });
  return [
    NOTE,
    `# ${name}`,
    text(`Severity ${severity}; it fires ${durationWords(alert.for)}. ${because}`),
    '## What it means',
    text(runbook.means),
    ...(about.length > 0 ? [ruleList(about)] : []),
    '## How to confirm it',
    'On the host that the label `instance` names:',
    runbook.confirm.map(stepText).join('\n\n'),
    '## How to fix it',
    text(runbook.fix),
    ...about.map(({ id, advice }) => text(`${link(id)}: ${plain(advice)}`)),
    '## When it is false',
    text(runbook.falseWhen),
    '## The expression',
    `\`\`\`promql\n${expr}\n\`\`\``,
    '[All alerts](../alerts.md)\n',
  ].join('\n\n');
}

function ruleList(rules: readonly Rule[]): string {
  return rules
    .map(({ id, title, meaning }) => text(`- ${link(id)}: ${plain(`${title}. ${meaning}`)}`, '  '))
    .join('\n');
}

function link(rule: string): string {
  return `**[${rule}](../rules/${rule}.md)**`;
}

/** @param indent of the lines after the first */
function text(words: string, indent = ''): string {
  return wrapped(words, WIDTH, indent).join('\n');
}

function stepText({ does, command }: Step, index: number): string {
  return `${text(`${index + 1}. ${does}`, '   ')}\n\n   \`\`\`sh\n   ${command}\n   \`\`\``;
}
