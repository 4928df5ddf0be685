/** PromQL of all dashboards: series are selected by the variables, and identified by cluster and host. */
import type { Colours } from './colours.ts';

/** The labels that identify a host: hosts of two clusters may share a name, and `cluster` may be missing. */
export const HOST = 'cluster, instance';
export const DEVICE = `${HOST}, device`;
export const VM = `${HOST}, vm`;

/** The series of a metric on the selected hosts. @param matchers further ones, such as `state="open"` */
export function selector(metric: string, ...matchers: readonly string[]): string {
  return `${metric}{${['cluster=~"$cluster"', 'instance=~"$host"', ...matchers].join(', ')}}`;
}

/** The increase of a counter in each step of a graph. */
export function increase(metric: string, ...matchers: readonly string[]): string {
  return `increase(${selector(metric, ...matchers)}[$__rate_interval])`;
}

/** The increase of a counter per second. */
export function rate(metric: string, ...matchers: readonly string[]): string {
  return `rate(${selector(metric, ...matchers)}[$__rate_interval])`;
}

/** The increase of a counter over the time range of the dashboard. */
export function increaseInRange(metric: string, ...matchers: readonly string[]): string {
  return `increase(${selector(metric, ...matchers)}[$__range])`;
}

/**
 * The increase of a counter including its first sample. `increase()` is 0 for a counter that appears
 * with its first failure and has the value 1 from the start; a series that did not exist at the
 * beginning of the window therefore counts with its value.
 * @param window such as `$__range`
 */
export function increaseFromZero(window: string, metric: string): string {
  const series = selector(metric);
  return `(increase(${series}[${window}]) > 0 or (${series} unless ${series} offset ${window}))`;
}

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
