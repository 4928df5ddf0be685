/**
 * OpenTelemetry's own settings: the variables of its specification, which may stand in the
 * environment or under `otel` in the file, by the same names and with the same values. What the
 * environment says wins. docs/traces.md is made from this table.
 */
import { accessSync, constants } from 'node:fs';

/** @param name of the variable @param all values, which may be wrong themselves */
type Check = (value: string, name: string, all: Values) => string | undefined;
type Values = Readonly<Record<string, unknown>>;

interface Variable {
  /** What is wrong with a value, as the rest of a sentence. */
  readonly check: Check;
  /** What holds where it is not set, in words. */
  readonly fallback: string;
  readonly meaning: string;
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

export const OTEL_VARIABLES: Readonly<Record<string, Variable>> = {
  OTEL_SDK_DISABLED: variable(oneOf(['true', 'false']), 'false', '`true`: nothing is sent'),
  OTEL_TRACES_EXPORTER: variable(
    oneOf(['otlp', 'none']),
    '`otlp` if an endpoint is set',
    'whether spans are sent',
  ),
  OTEL_LOGS_EXPORTER: variable(
    oneOf(['otlp', 'none']),
    '`otlp` if an endpoint is set',
    'whether log records (violations, what lasts) are sent',
  ),
  OTEL_SERVICE_NAME: variable(text, 'vfioscope', '`service.name`'),
  OTEL_RESOURCE_ATTRIBUTES: variable(
    pairs,
    'none',
    'more attributes of the resource, `key=value,…`',
  ),
  OTEL_TRACES_SAMPLER: variable(
    oneOf(SAMPLERS),
    'parentbased_always_on',
    'which traces are sent. No life has a parent, so `parentbased_` makes no difference; a ratio is one of trace ids, so all agents choose the same',
  ),
  OTEL_TRACES_SAMPLER_ARG: variable(
    number((value) => value >= 0 && value <= 1, 'a number from 0 to 1'),
    '1',
    'the ratio',
  ),
  ...batch('OTEL_BSP', 'spans', 5000),
  ...batch('OTEL_BLRP', 'log records', 1000),
  OTEL_ATTRIBUTE_COUNT_LIMIT: variable(whole, '128', 'most attributes of a span or a log record'),
  OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT: variable(whole, 'none', 'longest text of an attribute'),
  OTEL_SPAN_LINK_COUNT_LIMIT: variable(whole, '128', 'most links of a span'),
  ...otlp('', ''),
  ...otlp('TRACES_', ', for spans only'),
  ...otlp('LOGS_', ', for log records only'),
};

/** All values that cannot be used, and names that are none. */
export function otelFaults(settings: Values): OtelFault[] {
  return Object.entries(settings).flatMap(([name, value]) => {
    const message = faultOf(name, value, settings);
    return message ? [{ name, message }] : [];
  });
}

/**
 * What holds: the file's values, and over them those of the environment that can be used. The
 * specification wants a warning for the others, and that the agent goes on.
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
  if (!known) return 'is none of the variables that vfioscope knows';
  if (value === null || typeof value === 'object') return 'must be a text, a number, true or false';
  return known.check(String(value).trim(), name, all);
}

function variable(check: Check, fallback: string, meaning: string): Variable {
  return { check, fallback, meaning };
}

function batch(prefix: string, what: string, delay: number): Record<string, Variable> {
  return {
    [`${prefix}_SCHEDULE_DELAY`]: variable(
      whole,
      String(delay),
      `ms that ${what} are gathered before they are sent`,
    ),
    [`${prefix}_EXPORT_TIMEOUT`]: variable(whole, '30000', `ms that sending ${what} may take`),
    [`${prefix}_MAX_QUEUE_SIZE`]: variable(
      whole,
      '2048',
      `most ${what} that wait; more are dropped and counted`,
    ),
    [`${prefix}_MAX_EXPORT_BATCH_SIZE`]: variable(whole, '512', `most ${what} in one request`),
  };
}

function otlp(signal: string, only: string): Record<string, Variable> {
  const name = (end: string) => `OTEL_EXPORTER_OTLP_${signal}${end}`;
  const inherited = (fallback: string) => (signal ? 'as for all' : fallback);
  const path = signal
    ? 'the whole address, used as it is'
    : 'over HTTP, `/v1/traces` and `/v1/logs` are added';
  return {
    [name('ENDPOINT')]: variable(
      address,
      signal ? 'as for all' : 'none: nothing is sent',
      `where the collector is, such as \`http://127.0.0.1:4318\`; ${path}${only}`,
    ),
    [name('PROTOCOL')]: variable(
      oneOf(PROTOCOLS),
      inherited('http/protobuf'),
      `\`http/protobuf\` or \`grpc\`${only}`,
    ),
    [name('HEADERS')]: variable(
      pairs,
      inherited('none'),
      `more headers, such as \`authorization=Bearer%20…\`${only}`,
    ),
    [name('TIMEOUT')]: variable(
      whole,
      inherited('10000'),
      `ms that one request may take, with all its retries${only}`,
    ),
    [name('COMPRESSION')]: variable(
      oneOf(['none', 'gzip']),
      inherited('none'),
      `\`gzip\` or \`none\`${only}`,
    ),
    [name('CERTIFICATE')]: variable(
      file,
      inherited("Node's own"),
      `file with the authorities that the collector is checked against${only}`,
    ),
    [name('CLIENT_CERTIFICATE')]: variable(
      file,
      inherited('none'),
      `file with the agent's certificate${only}`,
    ),
    [name('CLIENT_KEY')]: variable(file, inherited('none'), `file with its key${only}`),
    [name('INSECURE')]: variable(
      oneOf(['true', 'false']),
      inherited('false'),
      `gRPC without TLS where the address has no scheme${only}`,
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

/** gRPC takes HOST:PORT as well. */
function address(value: string, name: string, all: Values): string | undefined {
  const protocol = all[name.replace('ENDPOINT', 'PROTOCOL')] ?? all.OTEL_EXPORTER_OTLP_PROTOCOL;
  const url = protocol === 'grpc' && !value.includes('/') ? `http://${value}` : value;
  const isGood = /^https?:\/\//.test(url) && URL.canParse(url);
  return isGood ? undefined : `must be an address such as http://127.0.0.1:4318, not "${value}"`;
}

/** What is in it may be a secret, so it is not told. */
function pairs(value: string): string | undefined {
  const isGood = value.split(',').every((pair) => /^\s*[^=\s]+\s*=/.test(pair));
  return isGood ? undefined : 'must be KEY=VALUE, several with commas between them';
}

function file(path: string): string | undefined {
  try {
    accessSync(path, constants.R_OK);
    return undefined;
  } catch (error) {
    return `names ${path}, which cannot be read (${(error as NodeJS.ErrnoException).code})`;
  }
}
