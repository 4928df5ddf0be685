/** PromQL of all dashboards: series are selected by the variables, and identified by cluster and host. */
import type { Colours } from './colours.ts';

/** The labels that identify a host: hosts of two clusters may share a name, and `cluster` may be missing. */
export const HOST = 'cluster, instance';
export const DEVICE = `${HOST}, device`;
export const VM = `${HOST}, vm`;

/**
 * The queries of a dashboard on the hosts that it selects.
 * @param hosts the matcher of the variable `host`
 */
function queriesOf(hosts: string) {
  /** The series of a metric. @param matchers further ones, such as `state="open"` */
  function selector(metric: string, ...matchers: readonly string[]): string {
    return `${metric}{${['cluster=~"$cluster"', hosts, ...matchers].join(', ')}}`;
  }

  /** The increase of a counter in each step of a graph. */
  function increase(metric: string, ...matchers: readonly string[]): string {
    return `increase(${selector(metric, ...matchers)}[$__rate_interval])`;
  }

  /** The increase of a counter per second. */
  function rate(metric: string, ...matchers: readonly string[]): string {
    return `rate(${selector(metric, ...matchers)}[$__rate_interval])`;
  }

  /** The increase of a counter over the time range of the dashboard. */
  function increaseInRange(metric: string, ...matchers: readonly string[]): string {
    return `increase(${selector(metric, ...matchers)}[$__range])`;
  }

  /**
   * The increase of a counter including its first sample. `increase()` is 0 for a counter that appears
   * with its first failure and has the value 1 from the start; a series that did not exist at the
   * beginning of the window therefore counts with its value.
   * @param window such as `$__range`
   */
  function increaseFromZero(window: string, metric: string): string {
    const series = selector(metric);
    return `(increase(${series}[${window}]) > 0 or (${series} unless ${series} offset ${window}))`;
  }

  return { selector, increase, rate, increaseInRange, increaseFromZero };
}

/** Queries of the one host that a dashboard shows. Its name is no pattern: `[::1]:10055` would match nothing. */
export const ofHost = queriesOf('instance="$host"');
/** Queries of all hosts that the variable selects. */
export const ofHosts = queriesOf('instance=~"$host"');

export function sum(by: string, expression: string): string {
  return by ? `sum by (${by}) (${expression})` : `sum(${expression})`;
}

/**
 * The code of the value that `label` has. The metrics have one series for each state; a timeline needs
 * one series of numbers for each row.
 */
export function stateCodes(
  by: string,
  label: string,
  colours: Colours,
  series: (matcher: string) => string,
): string {
  const terms = Object.keys(colours).map(
    (value, i) => `${series(`${label}="${value}"`)} * ${i + 1}`,
  );
  return `max by (${by}) (${terms.join(' or ')})`;
}

/**
 * Processes that hold devices with an ongoing violation, each with one violation of its device: the label
 * `rule` names it, and the value is the code of its severity, of the most severe one if there are several.
 */
export function holders(
  selector: (metric: string, ...matchers: readonly string[]) => string,
  severities: Colours,
  ...matchers: readonly string[]
): string {
  const held = selector('vfioscope_device_holder_info', ...matchers);
  const codes = stateCodes(`${DEVICE}, rule`, 'severity', severities, (is) =>
    selector('vfioscope_violation_info', 'device!=""', ...matchers, is),
  );
  return `max by (${DEVICE}, pid, comm, systemd_unit) (${held}) * on (${DEVICE}) group_left (rule) topk by (${DEVICE}) (1, ${codes})`;
}
