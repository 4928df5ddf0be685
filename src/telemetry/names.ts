/**
 * What the same thing is called in log lines, in the API, on spans and records, and in metrics. docs/logs.md has
 * the table, and a test compares it with what is written.
 */
export interface Names {
  readonly what: string;
  /** A field of log lines. */
  readonly log: string;
  /** A field of a device, a VM or a violation in the API. */
  readonly api: string;
  readonly attribute: string;
  /** A label of metrics. */
  readonly label?: string;
}

export const NAMES: readonly Names[] = [
  {
    ...{ what: 'device of a violation', log: 'device', api: 'device' },
    ...{ attribute: 'vfio.device.name', label: 'device' },
  },
  {
    ...{ what: 'mdev type', log: 'mdevType', api: 'mdevType' },
    ...{ attribute: 'vfio.device.mdev_type', label: 'mdev_type' },
  },
  {
    ...{ what: 'parent', log: 'parent', api: 'parent' },
    ...{ attribute: 'vfio.device.parent', label: 'parent' },
  },
  {
    ...{ what: 'number of the device or VM', log: 'incarnation', api: 'incarnation' },
    attribute: 'vfio.incarnation',
  },
  {
    ...{ what: 'id of the VM', log: 'vm', api: 'vm' },
    ...{ attribute: 'vfio.vm.id', label: 'vm' },
  },
  {
    ...{ what: 'id of the violation', log: 'violation', api: 'id' },
    ...{ attribute: 'vfio.violation.id', label: 'violation_id' },
  },
  {
    ...{ what: 'rule', log: 'rule', api: 'rule' },
    ...{ attribute: 'vfio.violation.rule', label: 'rule' },
  },
  {
    ...{ what: 'severity of the violation', log: 'severity', api: 'severity' },
    ...{ attribute: 'vfio.violation.severity', label: 'severity' },
  },
  {
    ...{ what: 'how completely it was observed', log: 'quality', api: 'quality' },
    attribute: 'vfio.quality',
  },
  {
    ...{ what: 'events that prove it', log: 'evidence', api: 'evidence' },
    attribute: 'vfio.violation.evidence',
  },
];
