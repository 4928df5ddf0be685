/** Asks a running agent which rules are active: it knows more than a trial, such as what its budget took. */
import { messageOf } from '../../src/errors.ts';
import { UserProblem } from '../../src/problem.ts';
import { faults, type Value } from '../../src/schema.ts';
import type { RuleState } from '../runtime/rule-options.ts';

/** How long an agent may take to answer, ms: it is asked when it has too much to do. */
const PATIENCE_MS = 30_000;
const Text = { type: 'string' } as const;
const Texts = { type: 'array', items: Text } as const;

/** The part of /api/v1/probes that is used; an agent of another version may add to it. */
const Answer = {
  type: 'object',
  additionalProperties: true,
  properties: {
    rules: {
      type: 'array',
      items: {
        type: 'object',
        additionalProperties: true,
        properties: {
          ...{ id: Text, title: Text, missing: Texts, detached: Texts },
          active: { type: 'boolean' },
          // An older agent knows no traits.
          unknown: { ...Texts, optional: true },
          impossible: { type: 'string', optional: true },
        },
      },
    },
  },
} as const;

/**
 * The rules of a running agent.
 * @param url of its HTTP server, such as http://127.0.0.1:10055
 * @throws {UserProblem} when no agent answers there
 */
export async function rulesOfAgent(url: string): Promise<RuleState[]> {
  const problem = (what: string, cause?: unknown) =>
    new UserProblem(
      'agent.no-answer',
      `no vfioscope agent answers at ${url}: ${what}`,
      'give the address that its log names (agent.listening), such as http://127.0.0.1:10055',
      { cause },
    );
  let answer: unknown;
  try {
    const response = await fetch(new URL('/api/v1/probes', url), {
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    if (!response.ok) throw new Error(`status ${response.status}`);
    answer = await response.json();
  } catch (error) {
    throw problem(messageOf(error), error);
  }
  const [fault] = faults(Answer, answer);
  if (fault) throw problem(`${fault.path.join('.')} ${fault.message}`);
  const { rules } = answer as Value<typeof Answer>;
  return rules.map(({ unknown = [], ...rule }) => ({ ...rule, unknown }));
}
