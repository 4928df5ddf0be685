/** What the dashboards of a host, a device and a VM share. */
import { boardLink } from '../board.ts';
import { DEVICE_STATES, SEVERITIES } from '../colours.ts';
import { type LabelColumn, type TableOptions, table, type ValueColumn } from '../panels.ts';
import { DEVICE, ofHost, stateCodes } from '../promql.ts';

const { selector } = ofHost;

/** Seconds from which a removal or a zombie VM is unusual, and from which it is bad. */
export const TOO_LONG = [
  [10, 'orange'],
  [60, 'red'],
] as const;

/** A column with a link to the Device dashboard. */
export const toDevice = {
  name: 'Device',
  link: boardLink('device', 'Open this device', { host: 'Host', device: 'Device' }),
};

/** A link to the violation in the API of the agent, at the address of the scrape target. */
const toViolation = {
  title: 'Evidence, from the agent’s API',
  url: 'http://${__data.fields["Host"]}/api/v1/violations/${__data.fields["Id"]}',
};

/** The codes of the states of devices. */
export function deviceStates(...matchers: readonly string[]): string {
  return stateCodes(DEVICE, 'state', DEVICE_STATES, (is) =>
    selector('vfioscope_device_state', ...matchers, is),
  );
}

/**
 * What tables of devices show of each.
 * @param states PromQL of the codes of their states, with the labels that the table shows
 * @param among restricts series of devices to those that the table is about
 * @param matchers that do the same as far as labels can
 */
export function deviceColumns(
  states: string,
  among: (expr: string) => string,
  ...matchers: readonly string[]
): ValueColumn[] {
  const age = (metric: string) =>
    among(`time() - max by (${DEVICE}) (${selector(metric, ...matchers)})`);
  // A released device keeps its series for two more minutes.
  const released = selector('vfioscope_device_state', ...matchers, 'state="released"');
  return [
    { name: 'State', unit: 'none', codes: DEVICE_STATES, expr: states },
    {
      name: 'Open files',
      unit: 'none',
      expr: among(`max by (${DEVICE}) (${selector('vfioscope_device_open_files', ...matchers)})`),
    },
    { name: 'Age', unit: 's', expr: age('vfioscope_device_created_timestamp_seconds') },
    { name: 'Open for', unit: 's', expr: age('vfioscope_device_opened_timestamp_seconds') },
    {
      name: 'Removing for',
      unit: 's',
      thresholds: TOO_LONG,
      expr: `${age('vfioscope_device_remove_began_timestamp_seconds')} unless on (${DEVICE}) ${released}`,
    },
  ];
}

type InfoTableOptions = Omit<TableOptions, 'labels' | 'values' | 'hideValues'> & {
  /** Columns of the object that each row is of, where the dashboard is not about that object. */
  readonly of?: Readonly<Record<string, LabelColumn>>;
  /** PromQL with a series for each row. */
  readonly expr: string;
};

/** A table of the processes that hold devices. */
export function holdersTable({ of = {}, expr, ...rest }: InfoTableOptions) {
  return table({
    ...rest,
    labels: {
      instance: { name: 'Host' },
      ...of,
      pid: { name: 'Process' },
      comm: { name: 'Command' },
      systemd_unit: { name: 'systemd unit' },
    },
    hideValues: true,
    values: [{ name: 'Info', unit: 'none', expr }],
  });
}

/** A table of violations, with links to their evidence. */
export function violationsTable({ of = {}, expr, ...rest }: InfoTableOptions) {
  return table({
    ...rest,
    labels: {
      instance: { name: 'Host' },
      rule: { name: 'Rule' },
      severity: { name: 'Severity', colours: SEVERITIES },
      ...of,
      violation_id: { name: 'Id', link: toViolation },
    },
    hideValues: true,
    values: [{ name: 'Open', unit: 'none', expr }],
  });
}
