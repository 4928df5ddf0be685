/**
 * The settings of OpenTelemetry: the environment variables of its specification, which may also be given
 * under `otel` in the file, with the same names and values. The environment wins. The table in
 * docs/traces.md is generated from this one.
 */

import { accessSync, constants } from 'node:fs';
import { codeOf } from '../../src/errors.ts';

/** @param name of the variable @param all values of all variables, not checked yet */
type Check = (value: string, name: string, all: Values) => string | undefined;
type Values = Readonly<Record<string, unknown>>;

interface Variable {
  /** Returns what is wrong with a value, as the rest of a sentence. */
  readonly check: Check;
  /** The value when it is not set, in words. */
  readonly fallback: string;
  readonly description: string;
}

/** By name. */
export type OtelSettings = Readonly<Record<string, string>>;

/** A value that cannot be used. */
export interface OtelFault {
  readonly name: string;
  readonly message: string;
}

export const SAMPLERS = [
  ...['always_on', 'always_off', 'traceidratio'],
  ...['parentbased_always_on', 'parentbased_always_off', 'parentbased_traceidratio'],
] as const;
export const PROTOCOLS = ['http/protobuf', 'grpc'] as const;

const text: Check = () => undefined;
const whole = number((value) => Number.isInteger(value) && value > 0, 'a whole number above 0');
/** Node's timers count to no more. */
const milliseconds = number(
  (value) => Number.isInteger(value) && value > 0 && value < 2 ** 31,
  'a whole number from 1 to 2147483647',
);

export const OTEL_VARIABLES: Readonly<Record<string, Variable>> = {
  OTEL_SDK_DISABLED: variable(oneOf(['true', 'false']), 'false', '`true` disables sending'),
  OTEL_TRACES_EXPORTER: variable(
    oneOf(['otlp', 'none']),
    '`otlp` if an endpoint is set',
    'whether spans are sent',
  ),
  OTEL_LOGS_EXPORTER: variable(
    oneOf(['otlp', 'none']),
    '`otlp` if an endpoint is set',
    'whether log records (violations, operations in flight) are sent',
  ),
  OTEL_METRICS_EXPORTER: variable(
    oneOf(['otlp', 'none']),
    '`otlp` if an endpoint for metrics alone is set',
    'whether metrics are sent; `/metrics` has them in any case',
  ),
  OTEL_METRIC_EXPORT_INTERVAL: variable(
    milliseconds,
    '60000',
    'ms from one export of the metrics to the next',
  ),
  OTEL_METRIC_EXPORT_TIMEOUT: variable(
    milliseconds,
    '30000',
    'ms after which sending metrics times out; the interval, if that is shorter',
  ),
  OTEL_SERVICE_NAME: variable(text, 'vfioscope', '`service.name`'),
  OTEL_RESOURCE_ATTRIBUTES: variable(
    pairs,
    'none',
    'additional attributes of the resource, `key=value,…`',
  ),
  OTEL_TRACES_SAMPLER: variable(
    oneOf(SAMPLERS),
    'parentbased_always_on',
    'which traces are sent. Traces of vfioscope have no remote parent, so `parentbased_` makes no difference; a ratio selects by trace id, so all agents choose the same traces',
  ),
  OTEL_TRACES_SAMPLER_ARG: variable(
    number((value) => value >= 0 && value <= 1, 'a number from 0 to 1'),
    '1',
    'the ratio of `traceidratio`',
  ),
  ...batch('OTEL_BSP', 'spans', 5000),
  ...batch('OTEL_BLRP', 'log records', 1000),
  OTEL_ATTRIBUTE_COUNT_LIMIT: variable(
    whole,
    '128',
    'maximum number of attributes of a span or a log record',
  ),
  OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT: variable(
    whole,
    'none',
    'maximum length of the value of an attribute',
  ),
  OTEL_SPAN_LINK_COUNT_LIMIT: variable(whole, '128', 'maximum number of links of a span'),
  ...otlp('', ''),
  ...otlp('TRACES_', ', for spans only'),
  ...otlp('LOGS_', ', for log records only'),
  ...otlp('METRICS_', ', for metrics only'),
};

/** All values that cannot be used, and all unknown names. */
export function otelFaults(settings: Values): OtelFault[] {
  return Object.entries(settings).flatMap(([name, value]) => {
    const message = faultOf(name, value, settings);
    return message ? [{ name, message }] : [];
  });
}

/**
 * The effective values: those of the file, overridden by those of the environment that can be used. The
 * specification demands a warning for the others, and that the program continues.
 */
export function otelSettings(
  file: Values,
  env: NodeJS.ProcessEnv,
): { readonly settings: OtelSettings; readonly ignored: readonly OtelFault[] } {
  const settings: Record<string, string> = {};
  for (const [name, value] of Object.entries(file)) settings[name] = String(value).trim();
  const ignored: OtelFault[] = [];
  for (const [name, value = ''] of Object.entries(env)) {
    if (!Object.hasOwn(OTEL_VARIABLES, name) || value.trim() === '') continue;
    const message = faultOf(name, value, { ...file, ...env });
    if (message) ignored.push({ name, message });
    else settings[name] = value.trim();
  }
  return { settings, ignored };
}

function faultOf(name: string, value: unknown, all: Values): string | undefined {
  const known = Object.hasOwn(OTEL_VARIABLES, name) ? OTEL_VARIABLES[name] : undefined;
  if (!known) return 'is not a variable that vfioscope supports';
  if (value === null || typeof value === 'object')
    return 'must be a string, a number, true or false';
  const trimmed = String(value).trim();
  if (/\p{Cc}/u.test(trimmed)) return 'must not have control characters';
  return known.check(trimmed, name, all);
}

function variable(check: Check, fallback: string, description: string): Variable {
  return { check, fallback, description };
}

function batch(prefix: string, what: string, delay: number): Record<string, Variable> {
  return {
    [`${prefix}_SCHEDULE_DELAY`]: variable(
      whole,
      String(delay),
      `ms for which ${what} are batched before they are sent`,
    ),
    [`${prefix}_EXPORT_TIMEOUT`]: variable(
      whole,
      '30000',
      `ms after which sending ${what} times out`,
    ),
    [`${prefix}_MAX_QUEUE_SIZE`]: variable(
      whole,
      '2048',
      `maximum number of queued ${what}; more are dropped and counted`,
    ),
    [`${prefix}_MAX_EXPORT_BATCH_SIZE`]: variable(
      whole,
      '512',
      `maximum number of ${what} in one request`,
    ),
  };
}

function otlp(signal: string, only: string): Record<string, Variable> {
  const name = (end: string) => `OTEL_EXPORTER_OTLP_${signal}${end}`;
  const inherited = (fallback: string) => (signal ? 'the value for all signals' : fallback);
  const path = signal
    ? 'the complete URL'
    : 'over HTTP, `/v1/traces`, `/v1/logs` or `/v1/metrics` is added';
  return {
    [name('ENDPOINT')]: variable(
      address,
      signal ? 'the value for all signals' : 'none: nothing is sent',
      `URL of the collector, such as \`http://127.0.0.1:4318\`; ${path}${only}`,
    ),
    [name('PROTOCOL')]: variable(
      oneOf(PROTOCOLS),
      inherited('http/protobuf'),
      `\`http/protobuf\` or \`grpc\`${only}`,
    ),
    [name('HEADERS')]: variable(
      pairs,
      inherited('none'),
      `additional headers, such as \`authorization=Bearer%20…\`${only}`,
    ),
    [name('TIMEOUT')]: variable(
      whole,
      inherited('10000'),
      `ms after which one request, with all its retries, times out${only}`,
    ),
    [name('COMPRESSION')]: variable(
      oneOf(['none', 'gzip']),
      inherited('none'),
      `\`gzip\` or \`none\`${only}`,
    ),
    [name('CERTIFICATE')]: variable(
      file,
      inherited("Node's own"),
      `file with the certificate authorities that verify the collector${only}`,
    ),
    [name('CLIENT_CERTIFICATE')]: variable(
      file,
      inherited('none'),
      `file with the client certificate of the agent${only}`,
    ),
    [name('CLIENT_KEY')]: variable(
      file,
      inherited('none'),
      `file with the key of the client certificate${only}`,
    ),
    [name('INSECURE')]: variable(
      oneOf(['true', 'false']),
      inherited('false'),
      `gRPC without TLS when the endpoint has no scheme${only}`,
    ),
  };
}

function oneOf(words: readonly string[]): Check {
  return (value) =>
    words.includes(value) ? undefined : `must be one of ${words.join(', ')}, not "${value}"`;
}

function number(isGood: (value: number) => boolean, words: string): Check {
  return (value) =>
    value !== '' && isGood(Number(value)) ? undefined : `must be ${words}, not "${value}"`;
}

/** gRPC accepts HOST:PORT, too. The value may contain a secret, so it is not printed. */
function address(value: string, name: string, all: Values): string | undefined {
  const protocol = all[name.replace('ENDPOINT', 'PROTOCOL')] ?? all.OTEL_EXPORTER_OTLP_PROTOCOL;
  const url = protocol === 'grpc' && !value.includes('/') ? `http://${value}` : value;
  const isGood = /^https?:\/\//.test(url) && URL.canParse(url);
  return isGood ? undefined : 'must be a URL such as http://127.0.0.1:4318';
}

/** The value may contain a secret, so it is not printed. */
function pairs(value: string): string | undefined {
  const isGood = value.split(',').every((pair) => /^\s*[^=\s]+\s*=/.test(pair));
  return isGood ? undefined : 'must be KEY=VALUE, separated by commas';
}

function file(path: string): string | undefined {
  try {
    accessSync(path, constants.R_OK);
    return undefined;
  } catch (error) {
    return `names ${path}, which cannot be read (${codeOf(error)})`;
  }
}
