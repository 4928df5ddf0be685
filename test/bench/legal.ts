// SPDX-License-Identifier: Apache-2.0
import type { Pipeline } from '../../agent/runtime/pipeline.ts';

/**
 * What a benchmark measures is only the cost of a legal history if no rule fires on it: an engine
 * that raises a violation for each device does other work, and much more of it.
 * @param except the id of a rule that may fire all the same
 * @throws naming the rules that fired
 */
export function noViolation({ rules }: Pipeline, except = ''): void {
  const violations = rules.list().filter(({ rule }) => rule !== except);
  if (violations.length === 0) return;
  const ids = [...new Set(violations.map(({ rule }) => rule))];
  const [{ rule, message }] = violations;
  throw new Error(
    `the recorded scenario must be legal, but rules fired on it (${violations.length} violations): ` +
      `${ids.join(', ')}. The first is of ${rule}: ${message}`,
  );
}

/** @throws also when a rule was suppressed, or a record lost, of a scenario that was read completely */
export function mustBeLegal(pipeline: Pipeline): void {
  noViolation(pipeline);
  const { rules, state } = pipeline;
  const lost = Object.values(state.losses).reduce((sum, count) => sum + count, 0);
  if (lost > 0) throw new Error(`${lost} records of the recorded scenario were lost on their way`);
  if (rules.suppressed.size > 0) {
    const ids = [...rules.suppressed.keys()].join(', ');
    throw new Error(`the recorded scenario must be legal, but rules were suppressed on it: ${ids}`);
  }
}
