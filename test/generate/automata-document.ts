/** The legal lifecycles as state diagrams, for docs/automata.md. */
import { AUTOMATA, type Automaton } from '../../src/lifecycle/automata.ts';

/** A page with one Mermaid diagram for each automaton. All inputs between two states share one arrow. */
export function automataDocument(): string {
  return [
    '<!-- Generated from src/lifecycle/automata.ts. Do not edit. -->',
    '# Legal lifecycles',
    'Each kind of tracked object has a table of legal steps. The state that the agent shows ' +
      'is computed from this table, and the diagrams on this page are drawn from it. If the kernel ' +
      'takes another step, the agent follows the kernel, and rules judge the ' +
      'step. An object that existed before the agent, or that a host snapshot found after a loss, ' +
      'starts in the state in which it was found.',
    ...AUTOMATA.map(section),
  ]
    .join('\n\n')
    .concat('\n');
}

function section({ title, description, initial, rows }: Automaton): string {
  const arrows = new Map<string, string[]>();
  for (const [from, input, to] of rows) {
    const key = `${from} --> ${to}`;
    arrows.set(key, [...(arrows.get(key) ?? []), input]);
  }
  const finalStates = [...new Set(rows.map(([, , to]) => to))].filter(
    (state) => !rows.some(([from]) => from === state),
  );
  const lines = [
    `[*] --> ${initial}`,
    ...[...arrows].map(([arrow, inputs]) => `${arrow}: ${inputs.join(' / ')}`),
    ...finalStates.map((state) => `${state} --> [*]`),
  ];
  const diagram = lines.map((line) => `  ${line}`).join('\n');
  return `## ${title}\n\n${description}\n\n\`\`\`mermaid\nstateDiagram-v2\n${diagram}\n\`\`\``;
}
