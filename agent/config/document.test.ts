import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { it } from 'node:test';
import { LINUX_6_12 } from '../../src/scenario/kernels.ts';
import type { Schema } from '../../src/schema.ts';
import { engineOptions } from '../runtime/rule-options.ts';
import { loadConfig } from './load.ts';
import { CONFIG_SCHEMA } from './schema.ts';

/** Every setting by its path, with its default. */
function settings({ properties = {} }: Schema, path = ''): [string, unknown][] {
  return Object.entries(properties).flatMap(([key, child]) =>
    child.properties ? settings(child, `${path}${key}.`) : [[`${path}${key}`, child.default]],
  );
}

it('docs/configuration.md lists every setting with its default', () => {
  const document = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8');
  const listed = [...document.matchAll(/^\| `([a-z_.]+)` \| `([^`]*)` \|.*\|.*\|$/gm)];
  const expected = settings(CONFIG_SCHEMA).map(([path, value]) => [
    path,
    typeof value === 'string' ? value : JSON.stringify(value).replaceAll(',', ', '),
  ]);
  assert.deepEqual(
    listed.map(([, path, value]) => [path, value]),
    expected,
  );
});

it('settings of rules reach the rules, in ns and as sets', async () => {
  const config = await loadConfig(undefined, []);
  const rules = {
    ...config.rules,
    request_ignored_seconds: 1.5,
    drivers_needing_kvm: ['mine'],
    drivers_one_device_per_vm: [],
  };
  const host = { traits: LINUX_6_12, pidsWithKvmFiles: () => undefined };
  const { thresholds, drivers } = engineOptions({ ...config, rules }, host);
  assert.equal(thresholds?.requestIgnored, 1.5e9);
  assert.deepEqual([...(drivers?.needKvm ?? [])], ['mine']);
  assert.equal(drivers?.oneDevicePerVm.size, 0);
});
