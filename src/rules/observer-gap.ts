import type { Rule } from './rule.ts';
import { lookAtNothing, lose } from './story-vfio.ts';
import { seconds } from './words.ts';

export const observerGap: Rule = {
  id: 'observer-gap',
  title: 'Events were lost, and the host has not been looked at since',
  severity: 'warning',
  meaning:
    'Not all events reached vfioscope: its buffer was full, a probe could not run, or a record could ' +
    'not be read. What happened meanwhile is not known, so rules that judge by the state or the ' +
    'history of an object are silent about all that were alive then. The next look at the host puts ' +
    'the state right, usually within seconds; if this lasts, that look fails, or events go on being ' +
    'lost.',
  advice:
    'Look at vfioscope_events_lost_total, which has the reason. If the ring was full, raise ring.bytes. ' +
    'If it lasts, look in the log of vfioscope for what it could not see when it looked at the host.',
  origin: 'The rule of this tool that a silent gap is worse than an alarm; docs/architecture.md',
  evidence:
    'How often events were found lost, and since when; it is about the host, not an object.',
  provocation: {
    by: 'user',
    how: 'A ring of one page, and more events at once than it has room for.',
  },
  basis: 'event',
  onClock({ world, now, report, resolve }) {
    if (!world.isTainted) {
      resolve();
      return;
    }
    const { losses, lossesPutRight, taintedSince } = world;
    const times = losses - lossesPutRight;
    report({
      lasting: true,
      says:
        `Events were found lost ${times === 1 ? 'once' : `${times} times`} in the last ` +
        `${seconds(now - taintedSince)}, and no look at the host has put its state right since.`,
    });
  },
  examples: {
    fires: [
      {
        title: 'events are lost',
        tell(story) {
          lose(story);
          story.wait(2);
        },
      },
      {
        title: 'events go on being lost while the host is looked at',
        tell(story) {
          lose(story);
          lose(story);
          story.wait(1);
          lose(story);
          story.wait(2);
        },
      },
    ],
    silent: [
      {
        title: 'nothing is lost',
        tell(story) {
          story.open(story.create(story.parent()), { vm: story.createVm() });
          story.wait(10);
        },
      },
      {
        title: 'a look at the host follows before the next second',
        tell(story) {
          lose(story);
          lookAtNothing(story);
          story.wait(10);
        },
      },
    ],
  },
};
