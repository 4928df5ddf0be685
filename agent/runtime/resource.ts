/** What OpenTelemetry's resource says about this agent, the same for spans, log records and metrics. */
import { release, type, version } from 'node:os';
import {
  defaultResource,
  detectResources,
  envDetector,
  hostDetector,
  osDetector,
  type Resource,
  resourceFromAttributes,
  serviceInstanceIdDetector,
} from '@opentelemetry/resources';
import { SCHEMA_URL } from '../../src/telemetry/schema-url.ts';
import { VERSION } from '../version.ts';

/**
 * The attributes, with what they mean. docs/traces.md is generated from this table. `process.pid` and the other
 * names that spans use for the processes they are about are not here: many stores put the attributes of the
 * resource and of the span into one list.
 */
export const RESOURCE_ATTRIBUTES = {
  'service.name': '`vfioscope`, or `OTEL_SERVICE_NAME`',
  'service.version': 'version of vfioscope',
  'service.instance.id': 'a random UUID for each run of the agent',
  'telemetry.sdk.name': '`opentelemetry`',
  'telemetry.sdk.language': '`nodejs`',
  'telemetry.sdk.version': "version of OpenTelemetry's SDK",
  'host.id': '`/etc/machine-id`; none if that cannot be read',
  'host.name': 'host name, in a container that of the container',
  'host.arch': '`amd64` or `arm64`',
  'os.type': '`linux`',
  'os.version': 'release of the kernel, as `uname -r`',
  'os.description': 'release and build of the kernel, as `uname -srv`',
  'process.runtime.name': '`nodejs`',
  'process.runtime.version': 'version of Node.js',
  'process.executable.path': 'path of Node.js',
} as const satisfies Readonly<Record<string, string>>;

/** Attributes of the table above, and no others. */
type Known = { readonly [Name in keyof typeof RESOURCE_ATTRIBUTES]?: string };

/** The same at each call within one run of the agent. The variables of OpenTelemetry take precedence. */
export function agentResource(): Resource {
  const own: Known = {
    ...{ 'service.name': 'vfioscope', 'service.version': VERSION },
    'os.description': `${type()} ${release()} ${version()}`,
    ...{ 'process.runtime.name': 'nodejs', 'process.runtime.version': process.versions.node },
    'process.executable.path': process.execPath,
  };
  const detectors = [serviceInstanceIdDetector, hostDetector, osDetector, envDetector];
  return defaultResource()
    .merge(resourceFromAttributes(own, { schemaUrl: SCHEMA_URL }))
    .merge(detectResources({ detectors }));
}
