/** The legal lives as pictures, for docs/automata.md. */
import { AUTOMATA, type Automaton } from './automata.ts';

/** Mermaid, with all inputs between two states on one arrow. */
export function automataDocument(): string {
  return [
    '<!-- Generated from src/lifecycle/automata.ts. Do not edit. -->',
    '# Legal lives',
    'Each kind of object has a table of the steps that its life may take. The state that the agent ' +
      'shows follows from it, these pictures are drawn from it, and a step that it does not have is ' +
      'an illegal one: the agent follows the kernel there, and rules judge it. What was there before ' +
      'the agent, or was found after a loss, begins in the state in which it was found.',
    ...AUTOMATA.map(section),
  ]
    .join('\n\n')
    .concat('\n');
}

function section({ title, initial, rows }: Automaton): string {
  const arrows = new Map<string, string[]>();
  for (const [from, input, to] of rows) {
    const key = `${from} --> ${to}`;
    arrows.set(key, [...(arrows.get(key) ?? []), input]);
  }
  const lasts = [...new Set(rows.map(([, , to]) => to))].filter(
    (state) => !rows.some(([from]) => from === state),
  );
  const lines = [
    `[*] --> ${initial}`,
    ...[...arrows].map(([arrow, inputs]) => `${arrow}: ${inputs.join(' / ')}`),
    ...lasts.map((state) => `${state} --> [*]`),
  ];
  const picture = lines.map((line) => `  ${line}`).join('\n');
  return `## ${title}\n\n\`\`\`mermaid\nstateDiagram-v2\n${picture}\n\`\`\``;
}
