/** What of the rules and dashboards depends on where they are used. */
import { readSettings } from '../../agent/config/file.ts';
import { UserProblem } from '../../src/problem.ts';
import { faults, type Schema, type Value, withDefaults } from '../../src/schema.ts';

export const SETTINGS_SCHEMA = {
  type: 'object',
  properties: {
    selector: {
      type: 'string',
      default: 'job="vfioscope"',
      description:
        'PromQL matchers that select the agents, such as `job="monitoring/vfioscope"` for a PodMonitor of that namespace',
    },
    cluster_label: {
      type: 'string',
      default: 'cluster',
      pattern: '^[a-zA-Z_]\\w*$',
      description: 'the label that names the cluster of a target; targets may lack it',
    },
    runbook_url: {
      type: 'string',
      default: 'http://{instance}/docs/runbooks/{alert}',
      description:
        'address of a runbook: `{alert}` is the name of the alert, `{instance}` the address of an agent that answers, which serves them itself',
    },
    runbook_url_without_agent: {
      type: 'string',
      default: 'docs/runbooks/{alert}.md',
      description:
        'address of a runbook where `{instance}` is needed and no agent answers Prometheus. Set it to where your team reads `docs/`: the default is only the path of the page in the source tree',
    },
    keep_firing: {
      type: 'boolean',
      default: true,
      description:
        'write `keep_firing_for`; false for vmalert before 1.91, which refuses rules that have it',
    },
    thresholds: {
      type: 'object',
      default: {},
      properties: {
        one_shot_seconds: number(900, 'how long a one-shot violation keeps its alert firing'),
        operation_stuck_seconds: number(
          600,
          'a call in progress for so long is stuck, whether a rule says so or not',
        ),
        restarts_per_hour: number(3, 'so many starts of an agent within an hour are too many'),
        notices: number(10, 'so many violations of severity info within 15 minutes are too many'),
        fleet_share: number(0.2, 'share of the agents of a cluster that are down at once'),
        fleet_rule_share: number(0.1, 'share of the hosts of a cluster that violate one rule'),
        targets_share: number(0.5, 'share of the targets of yesterday that must still be there'),
      },
    },
  },
} as const satisfies Schema;

export type MixinSettings = Value<typeof SETTINGS_SCHEMA>;

export const DEFAULT_SETTINGS = withDefaults(SETTINGS_SCHEMA, {}) as MixinSettings;

function number<const Default extends number>(fallback: Default, description: string) {
  return { type: 'number', default: fallback, minimum: 0, description } as const;
}

/** @param path of a YAML file @throws {UserProblem} that names what is wrong in it, and where */
export function readMixinSettings(path: string): MixinSettings {
  const { settings: given, place } = readSettings(path);
  const settings = withDefaults(SETTINGS_SCHEMA, given);
  const [fault] = faults(SETTINGS_SCHEMA, settings);
  if (!fault) return settings as MixinSettings;
  const what = `${place(fault.path)}: ${fault.path.join('.')} ${fault.message}`;
  throw new UserProblem(
    fault.kind === 'unknown' ? 'config.unknown-key' : 'config.invalid-value',
    what,
    'use the settings that docs/mixin.md lists',
  );
}
