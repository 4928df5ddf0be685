/** docs/runbooks: a page for each alert, in the order in which somebody who was paged needs its parts. */
import { wrapped } from '../../src/engine/description.ts';
import type { Rule } from '../../src/engine/rule.ts';
import type { Printed } from '../../test/e2e/runbooks/outputs.ts';
import { plain } from '../../test/generate/rules-document.ts';
import { rendered } from '../mixin/rendered.ts';
import { DEFAULT_SETTINGS } from '../mixin/settings.ts';
import { type Alert, API, type Step } from './alert.ts';
import { firingDelay } from './firing-delay.ts';
import { sample } from './sample.ts';

const NOTE = '<!-- Generated from dashboards/alerts by `npm run generate`. Do not edit. -->';
const WIDTH = 100;

/** Where the commands run, by what the alert is about. */
const WHERE = {
  host: 'Run these commands on the host that the label `instance` names.',
  unanswered:
    'Run these commands on the host that the label `instance` names, as far as it can be reached.',
  fleet: 'The alert is about no single host: each step says where its command runs.',
} as const;

/** About commands that ask the agent. */
const ASKING =
  'Where its agent listens elsewhere than on 127.0.0.1:10055, use the address in `instance`. An error of ' +
  '`curl` or `jq`, which has to be installed, is no all-clear.';

/**
 * @param rules of the whole catalogue
 * @param printed what the commands printed when they were run on a real kernel
 */
export function runbookPage(alert: Alert, rules: readonly Rule[], printed?: Printed): string {
  const { name, severity, rationale, expr, runbook } = alert;
  const quoted = (runbook.rules ?? []).map((id) => {
    const rule = rules.find((one) => one.id === id);
    if (!rule) throw new Error(`${name} refers to the rule ${id}, which does not exist`);
    return rule;
  });
  const asksAgent = runbook.confirm.some(({ command }) => command.includes(API));
  return [
    NOTE,
    `# ${name}`,
    text(`**First do.** ${runbook.firstDo}`),
    text(`**First don’t.** ${runbook.firstDont}`),
    '## Confirm',
    text(WHERE[alert.about ?? 'host'] + (asksAgent ? ` ${ASKING}` : '')),
    runbook.confirm.map((step, i) => stepText(step, i, printed)).join('\n\n'),
    '## Fix',
    text(runbook.fix),
    ...(quoted.length > 0 ? [byRule(quoted)] : []),
    '## Why it fires',
    text(runbook.why),
    text(`Severity ${severity}, fires ${firingDelay(alert.for)}. ${rationale}`),
    `\`\`\`promql\n${rendered(expr, DEFAULT_SETTINGS)}\n\`\`\``,
    '## False positives',
    text(runbook.falsePositives),
    '[All alerts](../alerts.md)\n',
  ].join('\n\n');
}

/** What each rule means and how to fix it, folded unless it is the only one. */
function byRule(rules: readonly Rule[]): string {
  const folded = rules.map(({ id, title, description, remediation }) =>
    [
      `<details${rules.length === 1 ? ' open' : ''}><summary><code>${id}</code>: ${html(title)}</summary>`,
      text(plain(description)),
      text(`**Fix.** ${plain(remediation)}`),
      `[The rule ${id}](../rules/${id}.md)`,
      '</details>',
    ].join('\n\n'),
  );
  const intro =
    rules.length === 1
      ? 'The rule that raises this alert:'
      : 'What it means and how to fix it depends on the rule, which the label `rule` names:';
  return [intro, ...folded].join('\n\n');
}

/** Markdown is not interpreted within a summary. */
function html(words: string): string {
  return words.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}

function text(words: string, indent = ''): string {
  return wrapped(words, WIDTH, indent).join('\n');
}

function stepText({ shows, command, nothing }: Step, index: number, printed?: Printed): string {
  const output = printed?.outputs[command] ?? '';
  const parts = [
    text(`${index + 1}. ${shows}`, '   '),
    `   \`\`\`sh\n   ${command}\n   \`\`\``,
    ...(output === '' ? [] : [sample(output, printed?.isProvoked === true, '   ')]),
    ...(nothing ? [`   ${text(`If it prints nothing, ${nothing}.`, '   ')}`] : []),
  ];
  return parts.join('\n\n');
}
