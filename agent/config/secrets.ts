/** Keeps secrets of OpenTelemetry's settings out of logs and errors. */
import type { OtelSettings } from './otel.ts';

/** The paths that the protocol prescribes; any other may be a token. */
const USUAL_PATH = /^\/?(?:v1\/(?:traces|logs|metrics))?$/;
/** Shorter texts are no secrets, and would be replaced within other words. */
const SHORTEST = 4;
const HIDDEN = '…';

/** Where a collector is, without what may be a secret: user, password, query, and a path of its own. */
export function shownEndpoint(endpoint: string): string {
  const url = urlOf(endpoint);
  if (!url) return '(not shown: it may contain a secret)';
  const { protocol, host, pathname, search, hash, username, password } = url;
  const hasMore = !USUAL_PATH.test(pathname) || search + hash + username + password !== '';
  const path = USUAL_PATH.test(pathname) ? pathname.replace(/^\/$/, '') : '';
  const scheme = endpoint.includes('://') ? `${protocol}//` : '';
  return `${scheme}${host}${path}${hasMore ? ` (${HIDDEN})` : ''}`;
}

/** Removes these settings' secrets from texts of others, such as errors of the SDK. */
export function redactor(settings: OtelSettings): (text: string) => string {
  const secrets = [...new Set(Object.entries(settings).flatMap(secretsOf))]
    .filter(({ length }) => length >= SHORTEST)
    // A longer one may contain a shorter one.
    .sort((a, b) => b.length - a.length);
  return (text) => secrets.reduce((rest, secret) => rest.replaceAll(secret, HIDDEN), text);
}

function secretsOf([name, value]: readonly [string, string]): string[] {
  if (name.endsWith('_HEADERS')) {
    const values = value.split(',').map((pair) => pair.slice(pair.indexOf('=') + 1).trim());
    return values.flatMap((one) => [one, decoded(one)]);
  }
  if (!name.endsWith('_ENDPOINT')) return [];
  // What is not percent-encoded may be split elsewhere by others, such as at the first "@".
  const user = /^(?:\w+:\/\/)?(.*)@/.exec(value)?.[1] ?? '';
  const url = urlOf(value);
  const parts = [user, ...user.split(/[:@]/)];
  if (url) {
    parts.push(url.username, url.password, url.search.slice(1), url.hash.slice(1));
    parts.push(...url.searchParams.values());
    if (!USUAL_PATH.test(url.pathname)) parts.push(url.pathname.slice(1));
  }
  return parts.flatMap((part) => [part, decoded(part)]);
}

function urlOf(endpoint: string): URL | undefined {
  return URL.parse(endpoint.includes('://') ? endpoint : `http://${endpoint}`) ?? undefined;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
