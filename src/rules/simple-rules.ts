/** Rules that are as simple as can be, to test with them what is done with findings. */
import type { Moment } from '../lifecycle/moment.ts';
import type { Finding, Rule, RuleContext } from './rule.ts';

/** What every rule has to have. */
export const SOUND = {
  title: 'A rule of this test',
  severity: 'warning',
  meaning: '',
  advice: '',
  origin: '',
  evidence: '',
  provocation: { by: 'nothing', how: '' },
  basis: 'event',
  examples: { fires: [], silent: [] },
} as const;

/** Finds an act in every open. */
export function onOpen(
  finding: (moment: Moment) => Partial<Finding>,
  more: Partial<Rule> = {},
): Rule {
  return {
    ...SOUND,
    id: 'on-open',
    on: {
      'vfio.device.open:end': (moment, { report }) =>
        report({
          device: moment.device,
          says: `opened at ${moment.event.time}`,
          ...finding(moment),
        }),
    },
    ...more,
  };
}

/** Finds every open device at every tick; `resolve` at its last close. */
export function whileOpen(finding: (context: RuleContext) => Partial<Finding> = () => ({})): Rule {
  return {
    ...SOUND,
    id: 'while-open',
    on: {
      'vfio.device.close:end': ({ device }, { resolve }) => device && resolve(device),
    },
    onClock(context) {
      for (const device of context.world.devices) {
        if (device.openCount === 0) continue;
        const says = `open at ${context.now}`;
        context.report({ device, lasting: true, says, ...finding(context) });
      }
    },
  };
}
