/** The names of attributes, compared with the registry of OpenTelemetry's semantic conventions. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import * as REGISTRY from '@opentelemetry/semantic-conventions/incubating';
import { SCHEMA_URL } from '../../src/telemetry/schema-url.ts';
import { ATTRIBUTES } from '../../src/telemetry/trace-attributes.ts';
import { agentResource, RESOURCE_ATTRIBUTES } from './resource.ts';

const PACKAGE = dirname(
  dirname(createRequire(import.meta.url).resolve('@opentelemetry/semantic-conventions')),
);

/** By name of the attribute: whether the registry has deprecated it. */
const REGISTERED = registered();

function registered(): ReadonlyMap<string, boolean> {
  const deprecated = new Set<string>();
  for (const file of ['stable_attributes.d.mts', 'experimental_attributes.d.mts']) {
    const text = readFileSync(join(PACKAGE, 'dist', file), 'utf8');
    for (const documented of text.split('/**')) {
      const [, constant] = /declare const (ATTR_\w+):/.exec(documented) ?? [];
      if (constant && documented.includes('@deprecated')) deprecated.add(constant);
    }
  }
  assert.ok(deprecated.size > 50, 'deprecated attributes are recognised');
  const names = Object.entries(REGISTRY).flatMap(([constant, name]) =>
    constant.startsWith('ATTR_') && typeof name === 'string'
      ? [[name, deprecated.has(constant)] as const]
      : [],
  );
  return new Map(names);
}

const OF_SPANS = Object.keys(ATTRIBUTES);
const OF_RESOURCE = Object.keys(RESOURCE_ATTRIBUTES);
const ALL = [...OF_SPANS, ...OF_RESOURCE];

describe('the names of attributes', () => {
  it('are in the registry and not deprecated, unless they begin with vfio.', () => {
    for (const name of ALL.filter((one) => !one.startsWith('vfio.'))) {
      assert.equal(REGISTERED.get(name), false, name);
    }
  });

  it('are no others for what the registry has a name for', () => {
    for (const name of ALL.filter((one) => one.startsWith('vfio.'))) {
      assert.equal(REGISTERED.has(name), false, name);
      assert.equal(REGISTERED.has(name.slice('vfio.'.length)), false, name);
    }
  });

  it('are of the version that the schema URL names', () => {
    const { version } = JSON.parse(readFileSync(join(PACKAGE, 'package.json'), 'utf8')) as {
      version: string;
    };
    assert.equal(SCHEMA_URL, `https://opentelemetry.io/schemas/${version}`);
  });

  it('are no namespaces of other attributes', () => {
    for (const name of ALL) {
      const below = [...ALL, ...REGISTERED.keys()].filter((one) => one.startsWith(`${name}.`));
      if (name.startsWith('vfio.')) assert.deepEqual(below, [], name);
    }
  });

  it('are lower case, with dots and underscores', () => {
    for (const name of ALL) assert.match(name, /^[a-z][a-z0-9]*(\.[a-z]+(_[a-z]+)*)+$/);
  });

  it('are on the resource or on spans, not on both', () => {
    assert.deepEqual(
      OF_SPANS.filter((name) => OF_RESOURCE.includes(name)),
      [],
    );
  });
});

describe('the resource of the agent', () => {
  it('has the attributes of the table and the schema URL', async () => {
    const resource = agentResource();
    await resource.waitForAsyncAttributes?.();
    assert.equal(resource.schemaUrl, SCHEMA_URL);
    // A machine without an id has none to send.
    const missing = OF_RESOURCE.filter((name) => resource.attributes[name] === undefined);
    assert.deepEqual(
      missing.filter((name) => name !== 'host.id'),
      [],
    );
    assert.deepEqual(
      Object.keys(resource.attributes).filter((name) => !OF_RESOURCE.includes(name)),
      [],
    );
    assert.equal(resource.attributes['service.name'], 'vfioscope');
  });

  it('has an id that is the same within one run and another in the next', () => {
    const program = `
      const { agentResource } = await import('./agent/runtime/resource.ts');
      for (let i = 0; i < 2; i++) console.log(agentResource().attributes['service.instance.id']);
    `;
    const run = () =>
      execFileSync(process.execPath, ['--input-type=module', '-e', program], {
        cwd: new URL('../..', import.meta.url).pathname,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      })
        .trim()
        .split('\n');
    const [[first, again], [next]] = [run(), run()];
    assert.match(first, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-/);
    assert.equal(again, first);
    assert.notEqual(next, first);
  });

  it('has what the variables of OpenTelemetry set', () => {
    const { env } = process;
    Object.assign(env, {
      OTEL_RESOURCE_ATTRIBUTES: 'host.name=node-7,service.instance.id=mine',
      OTEL_SERVICE_NAME: 'other',
    });
    try {
      const resource = agentResource();
      const values = Object.fromEntries(resource.getRawAttributes().toReversed());
      assert.deepEqual(
        [values['host.name'], values['service.instance.id'], values['service.name']],
        ['node-7', 'mine', 'other'],
      );
    } finally {
      delete env.OTEL_RESOURCE_ATTRIBUTES;
      delete env.OTEL_SERVICE_NAME;
    }
  });
});
