/**
 * The field `event` of log lines. docs/logs.md is generated from this table, and a test compares it with the
 * lines that the code writes.
 */
export const LOG_EVENTS: readonly {
  readonly events: readonly string[];
  /** When a line is written. */
  readonly when: string;
}[] = [
  {
    events: ['parent.registered', 'parent.unregistered'],
    when: 'a driver registers or unregisters a parent of mdevs',
  },
  { events: ['device.created', 'device.create_failed'], when: 'a write to `create` returns' },
  {
    events: ['device.opened', 'device.closed'],
    when: 'a process has opened or closed a device file',
  },
  {
    events: [
      'cdev.opened',
      'cdev.closed',
      'cdev.bind_failed',
      'cdev.attached',
      'cdev.attach_failed',
    ],
    when: 'a process has opened a device cdev, which only holds the device, has closed it, could not bind it, or has attached it to an address space or could not',
  },
  { events: ['device.removal_waiting'], when: 'a removal has begun and waits for users' },
  { events: ['device.removed', 'device.remove_failed'], when: 'a removal returns' },
  {
    events: ['device.bound', 'device.released'],
    when: 'a device that is not an mdev is registered with VFIO, and freed',
  },
  { events: ['vm.created', 'vm.destroyed'], when: 'KVM has created or destroyed a VM' },
  {
    events: ['vm.identified'],
    when: 'name or UUID of the guest of a VM are known, some milliseconds after `vm.created`: with `vmName`, `vmUuid`, `systemdUnit`, `container`, `pod`. There is no such line for a VM without a name',
  },
  {
    events: ['violation.raised', 'violation.escalated', 'violation.resolved'],
    when: 'a violation is found, its severity rises, an ongoing one ends',
  },
  {
    events: ['violation.waiters_found'],
    when: 'it is known who waits behind a call that does not return: once for each violation, mostly a second after it was raised, with a line for each of the first 8',
  },
  {
    events: ['violation.repeated'],
    when: 'a one-shot violation happened again: every 10 s at most, and for each further device; with the count, `processes` (the first 16, with the `occurrences` of each) and `otherOccurrences`',
  },
  {
    events: ['violation.lines_suppressed'],
    when: 'the rate limit below suppressed lines of a rule',
  },
  {
    events: ['probes.attached', 'probes.waiting', 'probes.failed'],
    when: 'the points of a module are watched, wait for the module, or cannot be watched',
  },
  {
    events: ['snapshot.done', 'snapshot.incomplete'],
    when: 'a host snapshot has been processed, or could not read something',
  },
  {
    events: ['events.lost'],
    when: 'events did not reach the agent: every second at most, by reason',
  },
  {
    events: ['budget.detached', 'budget.exhausted', 'budget.restored'],
    when: 'the cost is over the [budget](design/budget.md) and points were detached; or that would not help; or the points are attached again',
  },
  { events: ['budget.unmeasured'], when: 'the kernel does not count what the probes cost' },
  {
    events: ['rule.error', 'http.failed', 'otlp.failed'],
    when: 'a rule or a response of the API threw an error, which is a bug',
  },
  {
    events: ['criticals.restored'],
    when: 'earlier runs of the agent have found critical violations since the host was booted',
  },
  {
    events: ['criticals.set_aside', 'criticals.not_kept'],
    when: 'the file of critical violations is of another boot or damaged, and was renamed; or they cannot be kept over a restart',
  },
  { events: ['agent.listening'], when: 'the HTTP server accepts connections' },
  { events: ['agent.stopping'], when: 'a signal stops the agent' },
  {
    events: ['agent.signal_ignored'],
    when: 'SIGUSR1 or SIGUSR2 was received, see [below](#rotation)',
  },
  {
    events: [
      ...['pins.created', 'pins.continued', 'pins.replaced'],
      ...['pins.setting_ignored', 'pins.unused'],
    ],
    when: 'what became of [pinned probes](restarts.md) at the start',
  },
  {
    events: ['kernel_log.unavailable'],
    when: 'the kernel log must not be read, so violations have no lines of it',
  },
  {
    events: ['probes.stale_removed'],
    when: 'probe definitions left by a killed agent were removed',
  },
  {
    events: [
      ...['otlp.started', 'otlp.setting_ignored', 'otlp.dropped'],
      ...['otlp.shutdown_timeout', 'otlp.sdk'],
    ],
    when: 'the [export over OTLP](traces.md)',
  },
];
