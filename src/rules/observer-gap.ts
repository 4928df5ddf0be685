import type { Rule } from '../engine/rule.ts';
import { seconds } from '../engine/words.ts';
import { emptySnapshot, lose } from '../scenario/vfio.ts';

export const observerGap: Rule = {
  id: 'observer-gap',
  title: 'Events were lost, and no host snapshot has resynchronised the state',
  severity: 'warning',
  description:
    'Not all events reached vfioscope: its buffer was full, a probe could not run, or a record ' +
    'could not be read. What happened meanwhile is not known, so rules that judge by the state ' +
    'or the history of an object are suppressed for all objects that existed then. The next ' +
    'host snapshot resynchronises the state, usually within seconds; if this lasts, the ' +
    'snapshots fail, or events keep being lost.',
  remediation:
    'Check vfioscope_events_lost_total, which has the reason. If the ring was full, raise ' +
    'ring.bytes. If it lasts, search the log of vfioscope for incomplete host snapshots.',
  references:
    'The principle of vfioscope that a gap must be reported, not hidden; docs/design/loss.md',
  evidence:
    'How often events were found lost, and since when; it is about the host, not an object.',
  provocation: {
    by: 'user',
    how: 'A ring of one page, and more events at once than fit into it.',
  },
  basis: 'event',
  onClock({ world, now, report, resolve }) {
    if (!world.isUnverified) {
      resolve();
      return;
    }
    const { losses, lossesReconciled, unverifiedSince } = world;
    const times = losses - lossesReconciled;
    report({
      ongoing: true,
      message:
        `Events were found lost ${times === 1 ? 'once' : `${times} times`} ` +
        // Before the first event, the clock of the state has no time.
        `${unverifiedSince > 0 ? `in the last ${seconds(now - unverifiedSince)}` : 'since the agent started'}, ` +
        'and no host snapshot has resynchronised the state since.',
    });
  },
  examples: {
    fires: [
      {
        title: 'events are lost',
        run(scenario) {
          lose(scenario);
          scenario.wait(2);
        },
      },
      {
        title: 'events are lost again while the host snapshot is taken',
        run(scenario) {
          lose(scenario);
          lose(scenario);
          scenario.wait(1);
          lose(scenario);
          scenario.wait(2);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'nothing is lost',
        run(scenario) {
          scenario.open(scenario.create(scenario.parent()), { vm: scenario.createVm() });
          scenario.wait(10);
        },
      },
      {
        title: 'a host snapshot follows before the next second',
        run(scenario) {
          lose(scenario);
          emptySnapshot(scenario);
          scenario.wait(10);
        },
      },
    ],
  },
};
