/** The settings of Alertmanager that docs/alerts.md recommends, and tests run. */
export const ALERTMANAGER = {
  route: {
    receiver: 'tickets',
    // One notification for each kind of alert, however many hosts it is about.
    group_by: ['cluster', 'alertname'],
    routes: [
      { matchers: ['severity = critical'], receiver: 'pager' },
      { matchers: ['severity = info'], receiver: 'nobody' },
    ],
  },
  receivers: [{ name: 'pager' }, { name: 'tickets' }, { name: 'nobody' }],
  inhibit_rules: [
    {
      // Whoever is paged for a device does not need the warnings about it.
      source_matchers: ['alertname =~ "Vfioscope(Memory|Dma)AtRisk"', 'device =~ ".+"'],
      target_matchers: ['alertname =~ "Vfioscope.+"', 'severity = warning', 'device =~ ".+"'],
      equal: ['cluster', 'instance', 'device'],
    },
    {
      // Nor those of single hosts, if many violate the same rule.
      source_matchers: ['alertname = VfioscopeFleetViolation'],
      target_matchers: ['alertname =~ "Vfioscope.+"', 'severity = warning', 'rule =~ ".+"'],
      equal: ['cluster', 'rule'],
    },
  ],
};
