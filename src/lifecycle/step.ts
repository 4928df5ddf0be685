/** Steps of the automata. A step that is not legal is recorded in the transition, for rules to judge. */
import { AUTOMATA, type Automaton } from './automata.ts';
import type { IllegalStep, Transition } from './transition.ts';

const TABLES = new Map<Automaton, ReadonlyMap<string, ReadonlyMap<string, string>>>(
  AUTOMATA.map((automaton) => [
    automaton,
    new Map(
      [...new Set(automaton.rows.map(([from]) => from))].map((state) => [
        state,
        new Map(
          automaton.rows.filter(([from]) => from === state).map(([, input, to]) => [input, to]),
        ),
      ]),
    ),
  ]),
);

/**
 * The state after the step. A step that is not in the table is recorded in the transition, and leads to
 * the state that the kernel object has then.
 */
export function next<State extends string, Input extends string>(
  automaton: Automaton<State, Input>,
  state: State,
  input: Input,
  object: IllegalStep['object'],
  transition: Transition,
): State {
  const to = TABLES.get(automaton as Automaton)
    ?.get(state)
    ?.get(input);
  if (to !== undefined) return to as State;
  transition.illegal = { automaton: automaton.name, object, from: state, input };
  return automaton.after[input];
}
