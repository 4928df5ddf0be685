/** Alerts on many hosts at once: one for the fleet instead of one for each host. */
import { type AlertGroup, API } from './alert.ts';
import { VERSIONS } from './steps.ts';

const HOSTS = ['host1', 'host2', 'host3', 'host4', 'host5', 'host6', 'host7', 'host8'];

/** One series for each host. */
function onHosts(
  name: string,
  values: (host: number) => string,
  labels = '',
  cluster = 'east',
): string[] {
  const more = labels ? `,${labels}` : '';
  return HOSTS.map(
    (host, i) =>
      `${name}{cluster="${cluster}",job="vfioscope",instance="${host}:10055"${more}} ${values(i)}`,
  );
}

/** The labels of the alert about a single host. */
function agentDown(host: string): Record<string, string> {
  return {
    ...{ alertname: 'VfioscopeAgentDown', severity: 'warning' },
    ...{ cluster: 'east', job: 'vfioscope', instance: `${host}:10055` },
  };
}

const ANSWERS = {
  shows: 'On one of the hosts: whether its agent answers.',
  command: `curl -sS ${API}/-/healthy`,
};

export const FLEET: AlertGroup = {
  title: 'The fleet',
  description:
    'What concerns many hosts of a cluster at once. The notification about a single host is then one of ' +
    'thousands: [inhibition](#set-up) leaves out those that VfioscopeFleetViolation stands for.',
  alerts: [
    {
      name: 'VfioscopeFleetDown',
      severity: 'critical',
      for: 600,
      rationale:
        'A fifth of all agents does not fail at once for a reason of their hosts: an upgrade, a network or a ' +
        'setting is wrong, and the next hosts follow. It pages, because all of them are unobserved.',
      expr:
        '(count by (cluster, job) (up == 0) >= 3)\n' +
        '/ on (cluster, job) count by (cluster, job) (up) > $fleet_share',
      about: 'fleet',
      summary:
        '{{ $value | humanizePercentage }} of the agents{{ with $labels.cluster }} of {{ . }}{{ end }} cannot be scraped',
      description:
        '{{ $value | humanizePercentage }} of the agents{{ with $labels.cluster }} of {{ . }}{{ end }} have not answered for ten minutes. Their devices and VMs are not observed, and alerts about them have cleared for that reason only.',
      runbook: {
        firstDo: 'Stop what is being rolled out: an upgrade, a setting, a firewall rule.',
        firstDont: 'Do not restart agents one by one before you know what they have in common.',
        confirm: [
          {
            shows: 'On the host of Prometheus: the targets that fail, with their last error.',
            command: `curl -sS http://localhost:9090/api/v1/targets | jq '.data.activeTargets[] | select(.health == "down") | [.labels.instance, .lastError]'`,
          },
          ANSWERS,
          {
            shows: 'On one of them: what the agent logs.',
            command: 'sudo journalctl --no-pager -u vfioscope -n 50',
          },
        ],
        fix: 'Roll back what they have in common. [VfioscopeAgentDown](VfioscopeAgentDown.md) is about a single host.',
        why: 'At least three agents of a cluster, and more than a fifth of all, cannot be scraped.',
        falsePositives: 'A cluster is taken out of service: remove it from the targets.',
      },
      fires: {
        title: 'an upgrade breaks three agents of eight',
        series: onHosts('up', (host) => (host < 3 ? '1x5 0x30' : '1x40')),
        at: 18,
        labels: { cluster: 'east', job: 'vfioscope' },
        others: HOSTS.slice(0, 3).map(agentDown),
      },
      doesNotFire: {
        title: 'two agents are down',
        series: onHosts('up', (host) => (host < 2 ? '1x5 0x30' : '1x40')),
        at: 8,
      },
      also: [
        {
          title: 'no agent answers that could show the runbook',
          series: onHosts('up', () => '1x5 0x30'),
          at: 18,
          labels: { cluster: 'east', job: 'vfioscope' },
          others: HOSTS.map(agentDown),
          text: {
            summary: '100% of the agents of east cannot be scraped',
            description:
              '100% of the agents of east have not answered for ten minutes. Their devices and VMs are not observed, and alerts about them have cleared for that reason only.',
            runbook_url: 'docs/runbooks/VfioscopeFleetDown.md',
          },
        },
      ],
    },
    {
      name: 'VfioscopeTargetsGone',
      severity: 'critical',
      for: 900,
      rationale:
        'A target that service discovery no longer finds raises no alert of its own: nothing is down where ' +
        'nothing is expected. Half of yesterday’s targets do not disappear on purpose.',
      expr:
        '(max_over_time(cluster:vfioscope_targets:count[1d]) >= 4)\n' +
        'unless cluster:vfioscope_targets:count > $targets_share * max_over_time(cluster:vfioscope_targets:count[1d])',
      about: 'fleet',
      summary:
        'Most targets of vfioscope{{ with $labels.cluster }} of {{ . }}{{ end }} have disappeared from Prometheus',
      description:
        'Prometheus had {{ $value }} targets of vfioscope{{ with $labels.cluster }} of {{ . }}{{ end }} within the last day, and has less than half of them now. No alert about the others can fire.',
      runbook: {
        firstDo: 'Look at the service discovery of the job in Prometheus (step 1).',
        firstDont: 'Do not conclude from the absence of alerts that these hosts are well.',
        confirm: [
          {
            shows: 'On the host of Prometheus: how many targets there were, and are.',
            command: `promtool query range --start=$(date -d '-1 day' +%s) --step=1h http://localhost:9090 cluster:vfioscope_targets:count`,
          },
          {
            shows: 'There: what Prometheus logs about its configuration and service discovery.',
            command:
              'sudo journalctl --no-pager -u prometheus --since -1h | grep -iE "config|discovery"',
            nothing: 'Prometheus has logged nothing of the kind for an hour',
          },
          ANSWERS,
        ],
        fix: 'Correct the job or the service discovery.',
        why: 'Fewer than half of the targets of the last day are left.',
        falsePositives:
          'Most hosts were taken out of service within a day. It clears by itself a day later.',
      },
      fires: {
        title: 'seven of eight targets disappear',
        series: onHosts('up', (host) => (host < 7 ? '1x60 stale' : '1x200')),
        at: 90,
        labels: { cluster: 'east', job: 'vfioscope' },
      },
      doesNotFire: {
        title: 'two of eight hosts are taken out of service',
        series: onHosts('up', (host) => (host < 2 ? '1x60 stale' : '1x200')),
        at: 90,
      },
      also: [
        {
          title: 'all targets of one of two clusters disappear',
          series: [
            ...onHosts('up', () => '1x60 stale'),
            ...onHosts('up', () => '1x200', '', 'west'),
          ],
          at: 90,
          labels: { cluster: 'east', job: 'vfioscope' },
        },
      ],
    },
    {
      name: 'VfioscopeFleetViolation',
      severity: 'critical',
      for: 0,
      rationale:
        'A tenth of all hosts does not violate the same rule within an hour by accident: a driver, a kernel or a ' +
        'tool was rolled out. Stopping that is worth a page; thousands of tickets are not.',
      expr:
        '(count by (cluster, job, rule) (max by (cluster, job, instance, rule) (time() - vfioscope_last_violation_timestamp_seconds{severity!="info"} < 3600)) >= 3)\n' +
        '> on (cluster, job) group_left () $fleet_rule_share * count by (cluster, job) (up)',
      about: 'fleet',
      summary:
        '{{ $value }} hosts{{ with $labels.cluster }} of {{ . }}{{ end }} violate {{ $labels.rule }}',
      description:
        'Within an hour, {{ $value }} hosts{{ with $labels.cluster }} of {{ . }}{{ end }} have violated the rule {{ $labels.rule }}. They probably have a driver, a kernel or a tool in common that was changed.',
      runbook: {
        firstDo: 'Stop what is being rolled out, and take one of the hosts to look at.',
        firstDont: 'Do not work through the tickets of single hosts.',
        confirm: [
          {
            shows:
              'On the host of Prometheus: since when, on which hosts (`RULE` is the label `rule`).',
            command: `promtool query instant http://localhost:9090 'sort(vfioscope_last_violation_timestamp_seconds{rule="RULE"})'`,
          },
          {
            shows: 'On one of the hosts: the violations, with their evidence.',
            command: `curl -sS '${API}/api/v1/violations?rule=RULE' | jq '.violations[] | {id, rule, message}'`,
          },
          {
            ...VERSIONS,
            shows: 'On one of them: which kernel and drivers it has.',
          },
        ],
        fix: 'Roll back what they have in common; the page of the rule says what causes it.',
        why: 'At least three hosts of a cluster, and more than a tenth of all, violate one rule.',
        falsePositives: 'A load test on many hosts.',
      },
      fires: {
        title: 'a driver is rolled out that refuses devices on three hosts of eight',
        series: [
          ...onHosts('up', () => '1x40'),
          ...onHosts(
            'vfioscope_last_violation_timestamp_seconds',
            (host) => (host < 3 ? '60x40' : '-9000x40'),
            'rule="create-failed",severity="error"',
          ),
        ],
        at: 30,
        labels: { cluster: 'east', job: 'vfioscope', rule: 'create-failed' },
      },
      doesNotFire: {
        title: 'three hosts of eight violate different rules',
        series: [
          ...onHosts('up', () => '1x40'),
          ...['open-failed', 'create-failed', 'bind-failed'].map(
            (rule, i) =>
              `vfioscope_last_violation_timestamp_seconds{cluster="east",job="vfioscope",instance="host${i}:10055",rule="${rule}",severity="error"} 60x40`,
          ),
        ],
        at: 30,
      },
    },
  ],
};
