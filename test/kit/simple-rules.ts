/** Minimal rules, to test what the engine does with findings. */

import type { Finding, ObservedTransition, Rule, RuleContext } from '../../src/engine/rule.ts';

/** What every rule has to have. */
export const SOUND = {
  title: 'A rule of this test',
  severity: 'warning',
  description: '',
  remediation: '',
  references: '',
  evidence: '',
  provocation: { by: 'nothing', how: '' },
  basis: 'event',
  examples: { fires: [], doesNotFire: [] },
} as const;

/** Raises a one-shot violation for every open. */
export function onOpen(
  finding: (transition: ObservedTransition) => Partial<Finding>,
  more: Partial<Rule> = {},
): Rule {
  return {
    ...SOUND,
    id: 'on-open',
    on: {
      'vfio.device.open:end': (transition, { report }) =>
        report({
          device: transition.device,
          message: `opened at ${transition.event.time}`,
          ...finding(transition),
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
        const message = `open at ${context.now}`;
        context.report({ device, ongoing: true, message, ...finding(context) });
      }
    },
  };
}
