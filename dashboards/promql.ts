/** PromQL as all dashboards write it: chosen by their variables, and told apart by cluster and host. */
import type { Colours } from './colours.ts';

/** What tells hosts apart; clusters may have hosts of one name, or no label `cluster` at all. */
export const HOST = 'cluster, instance';
export const DEVICE = `${HOST}, device`;
export const VM = `${HOST}, vm`;

/** The series of a metric on the chosen hosts. @param matchers more of them, such as `state="open"` */
export function of(metric: string, ...matchers: readonly string[]): string {
  return `${metric}{${['cluster=~"$cluster"', 'instance=~"$host"', ...matchers].join(', ')}}`;
}

/** How much a counter grew in each interval of a graph. */
export function growth(metric: string, ...matchers: readonly string[]): string {
  return `increase(${of(metric, ...matchers)}[$__rate_interval])`;
}

/** Per second. */
export function rate(metric: string, ...matchers: readonly string[]): string {
  return `rate(${of(metric, ...matchers)}[$__rate_interval])`;
}

/** How much a counter grew in the whole time that the dashboard shows. */
export function grown(metric: string, ...matchers: readonly string[]): string {
  return `increase(${of(metric, ...matchers)}[$__range])`;
}

/**
 * How much a counter grew in a time, its first value included: one that is not there before the
 * first failure begins with 1, and Prometheus takes a beginning for no growth.
 * @param time such as `$__range`
 */
export function grownFromNothing(time: string, metric: string): string {
  const series = of(metric);
  return `(increase(${series}[${time}]) > 0 or (${series} unless ${series} offset ${time}))`;
}

export function sum(by: string, expression: string): string {
  return by ? `sum by (${by}) (${expression})` : `sum(${expression})`;
}

/**
 * A number for the value that `label` has, because a timeline draws one series of numbers for each
 * row, and the metrics have a series for each state.
 */
export function codes(
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
