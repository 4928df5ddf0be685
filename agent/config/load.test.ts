import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { RULES } from '../../src/catalogue.ts';
import { UserProblem } from '../../src/problem.ts';
import type { Schema } from '../../src/schema.ts';
import { describeSettings, loadConfig, type Override } from './load.ts';
import { RENAMED_SETTINGS } from './renamed.ts';
import { CONFIG_SCHEMA } from './schema.ts';

let directory: string;
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'vfioscope-config-'));
});
after(() => rmSync(directory, { recursive: true }));

function file(text: string): string {
  const path = join(directory, 'vfioscope.yaml');
  writeFileSync(path, text);
  return path;
}

interface Problem {
  readonly code: string;
  readonly what: string;
  readonly next: string;
}

/** The problem with a file; its message is without the directory. */
function problemWith(text: string): Promise<Problem> {
  return problemOf(() => loadConfig(file(text), []));
}

async function problemOf(load: () => Promise<unknown>): Promise<Problem> {
  try {
    await load();
  } catch (error) {
    if (!(error instanceof UserProblem)) throw error;
    const { code } = error;
    return { code, what: error.message.replace(`${directory}/`, ''), next: error.next };
  }
  throw new assert.AssertionError({ message: 'it was accepted' });
}

/** Each line stands for nine of the one before. */
function bomb(): string {
  const lines = ['a0: &a0 [x, x, x, x, x, x, x, x, x]'];
  for (let i = 1; i < 9; i++) lines.push(`a${i}: &a${i} [${`*a${i - 1},`.repeat(9)}]`);
  return lines.join('\n');
}

function listen(value: unknown): Override {
  return { flag: '--listen', path: ['listen'], value };
}

const DEFAULTS = {
  listen: '127.0.0.1:10055',
  log: { level: 'info', format: 'auto' },
  kernel_log: { enabled: true },
  vm: { read_command_line: true },
  ring: { bytes: 2 ** 20 },
  attach: { method: 'auto', module_btf: true },
  pin: { enabled: false, directory: '/sys/fs/bpf/vfioscope' },
  state: { directory: '/run/vfioscope' },
  budget: {
    ...{ enabled: true, probes_percent: 5, agent_percent: 50 },
    ...{ detach_after_seconds: 30, reattach_after_seconds: 300 },
  },
  metrics: { per_device: true, max_devices: 1000, process: true },
  otel: {},
  traces: { max_span_age_seconds: 43_200 },
  retention: { ended: 1000, violations: 1000 },
  rules: {
    disabled: [],
    open_stall_seconds: 10,
    close_stall_seconds: 10,
    create_stall_seconds: 10,
    bind_stall_seconds: 10,
    vm_destroy_stall_seconds: 30,
    call_stall_seconds: 30,
    remove_stall_seconds: 10,
    parent_unregister_stall_seconds: 5,
    request_ignored_seconds: 30,
    never_registered_seconds: 5,
    create_serialised_seconds: 1,
    vm_pinned_seconds: 10,
    kvm_ref_leak_seconds: 5,
    never_opened_seconds: 14400,
    cdev_unbound_seconds: 60,
    grace_seconds: 2,
    drivers_needing_kvm: ['intel_vgpu_mdev', 'i915', 'vfio_ap_mdev', 'vfio_ap'],
    drivers_one_device_per_vm: ['intel_vgpu_mdev', 'i915', 'vfio_ap_mdev', 'vfio_ap'],
  },
};

describe('settings', () => {
  it('have defaults for everything', async () => {
    assert.deepEqual(await loadConfig(undefined, []), DEFAULTS);
  });

  for (const [title, text] of [
    ['is empty', ''],
    ['has only comments', '# nothing\n'],
    ['is an empty map', '{}\n'],
  ] as const) {
    it(`are the defaults when the file ${title}`, async () => {
      assert.deepEqual(await loadConfig(file(text), []), DEFAULTS);
    });
  }

  it('of the file replace single defaults', async () => {
    const text = 'log:\n  level: debug\nrules:\n  disabled: [nested-open]\n  grace_seconds: 0.5\n';
    const config = await loadConfig(file(text), []);
    assert.deepEqual(config.log, { level: 'debug', format: 'auto' });
    const { rules } = DEFAULTS;
    assert.deepEqual(config.rules, { ...rules, disabled: ['nested-open'], grace_seconds: 0.5 });
    assert.equal(config.listen, DEFAULTS.listen);
  });

  it('of flags replace those of the file, and leave their neighbours', async () => {
    const path = file('listen: 127.0.0.1:1\nlog:\n  level: debug\n  format: json\n');
    const level = { flag: '--log-level', path: ['log', 'level'], value: 'warn' };
    const config = await loadConfig(path, [listen('[::1]:2'), level]);
    assert.deepEqual([config.listen, config.log], ['[::1]:2', { level: 'warn', format: 'json' }]);
  });

  it('are all in the help, with description and default', () => {
    const lines = describeSettings();
    assert.equal(lines.length, 42);
    assert.ok(
      lines.some((line) => /^ {2}ring\.bytes +size of the ring buffer.* \(1048576\)$/.test(line)),
    );
    for (const line of lines) assert.doesNotMatch(line, /undefined/);
  });
});

describe('a file that is wrong', () => {
  for (const [title, text, what, next] of [
    [
      'an unknown key',
      'listen: a:1\n\nlisten_on: b:2\n',
      /^vfioscope\.yaml:3: unknown setting listen_on$/,
      /^use one of listen, log, kernel_log, vm, ring, attach, pin, state, budget, metrics, otel, traces, retention, rules$/,
    ],
    [
      'an unknown key further in',
      'log:\n  level: info\n  colour: red\n',
      /^vfioscope\.yaml:3: unknown setting log\.colour$/,
      /^use one of level, format$/,
    ],
    [
      'a wrong type',
      '# the ring\nring:\n  bytes: many\n',
      /^vfioscope\.yaml:3: ring\.bytes must be a whole number$/,
      /power of two/,
    ],
    [
      'a fraction for a whole number',
      'ring:\n  bytes: 4096.5\n',
      /^vfioscope\.yaml:2: ring\.bytes must be a whole number/,
      /power of two/,
    ],
    [
      'text for a flag',
      'metrics: {per_device: "no"}\n',
      /^vfioscope\.yaml:1: metrics\.per_device must be true or false/,
      /series/,
    ],
    [
      'a value for a section',
      '\nlog: debug\n',
      /^vfioscope\.yaml:2: log must be a mapping \(key: value\)$/,
      /level, format/,
    ],
    [
      'an empty section',
      'log:\n',
      /^vfioscope\.yaml:1: log must be a mapping \(key: value\)$/,
      /level, format/,
    ],
    [
      'a value that is not one of several',
      'log:\n  level: verbose\n',
      /^vfioscope\.yaml:2: log\.level must be one of debug, info, warn, error$/,
      /^correct log\.level/,
    ],
    [
      'too small a number',
      'retention:\n  ended: 0\n',
      /^vfioscope\.yaml:2: retention\.ended must be at least 1$/,
      /ended devices/,
    ],
    [
      'a rule that does not exist',
      'rules:\n  disabled:\n    - no-such-rule\n',
      /^vfioscope\.yaml:2: rules\.disabled names no-such-rule, which is not a rule$/,
      new RegExp(RULES.map(({ id }) => id).join(', ')),
    ],
    [
      'a rule that is not a string',
      'rules:\n  disabled: [7]\n',
      /^vfioscope\.yaml:2: rules\.disabled\.0 must be a string/,
      /ids of rules/,
    ],
    [
      'rules that are not a list',
      'rules:\n  disabled: nested-open\n',
      /^vfioscope\.yaml:2: rules\.disabled must be a list/,
      /ids of rules/,
    ],
    ['a list instead of settings', '- listen\n', /^vfioscope\.yaml:1: expected settings/, /--help/],
    ['text instead of settings', 'hello\n', /^vfioscope\.yaml:1: expected settings/, /--help/],
    [
      'bad YAML',
      'listen: a:1\nlog: [1, 2\nring: 3\n',
      /^vfioscope\.yaml:[23]: \S/,
      /correct the YAML/,
    ],
    [
      'a key given twice',
      'listen: a:1\nlisten: b:2\n',
      /^vfioscope\.yaml:2: .*unique/i,
      /correct the YAML/,
    ],
    [
      'an alias without an anchor',
      'listen: a:1\nlog: *missing\n',
      /^vfioscope\.yaml:2: .*alias/i,
      /correct the YAML/,
    ],
    [
      'a variable of OpenTelemetry with an invalid value',
      'otel:\n  OTEL_SERVICE_NAME: gpu-host\n  OTEL_EXPORTER_OTLP_PROTOCOL: http/json\n',
      /^vfioscope\.yaml:3: otel\.OTEL_EXPORTER_OTLP_PROTOCOL must be one of http\/protobuf, grpc, not "http\/json"$/,
      /^correct it \(`http\/protobuf` or `grpc`/,
    ],
    [
      'a variable that is unknown',
      'otel:\n  OTEL_EXPORTER_OLTP_ENDPOINT: http://127.0.0.1:4318\n',
      /^vfioscope\.yaml:2: otel\.OTEL_EXPORTER_OLTP_ENDPOINT is not a variable that vfioscope supports$/,
      /OTEL_EXPORTER_OTLP_ENDPOINT/,
    ],
    [
      'a certificate that does not exist',
      'otel:\n  OTEL_EXPORTER_OTLP_CERTIFICATE: /no/such/file.pem\n',
      /^vfioscope\.yaml:2: otel\.OTEL_EXPORTER_OTLP_CERTIFICATE names \/no\/such\/file\.pem, which cannot be read \(ENOENT\)$/,
      /certificate authorities/,
    ],
    [
      'a list of variables',
      'otel: [OTEL_SDK_DISABLED]\n',
      /^vfioscope\.yaml:1: otel must be a mapping/,
      /OTEL_/,
    ],
    [
      'an address without port',
      'listen: localhost\n',
      /^vfioscope\.yaml:1: listen /,
      /address and port/,
    ],
  ] as const) {
    it(`is reported with its line and the next step: ${title}`, async () => {
      const problem = await problemWith(text);
      assert.match(problem.code, /^config\./);
      assert.match(problem.what, what);
      assert.match(problem.next, next);
    });
  }

  for (const [title, text, what] of [
    ['aliases that stand for gigabytes', bomb(), /^vfioscope\.yaml:\d+: .*alias/i],
    [
      'more aliases than settings can need',
      `a: &a 1\nb: [${'*a,'.repeat(200)}]`,
      /:2: .*100 aliases/,
    ],
    ['lists in lists without end', '['.repeat(100_000), /vfioscope\.yaml:1: ./],
    ['a mapping as a key', '? {a: 1}\n: 2\n', /:1: a key must be a name/],
    ['a list as a key', '\n[a, b]: 2\n', /:2: a key must be a name/],
    ['a set', 'rules: !!set {a, b}\n', /:1: the tag !!set is not supported/],
    ['an ordered mapping', '!!omap\n- listen: a:1\n', /: the tag !!omap is not supported/],
    ['binary data', 'listen: !!binary aGk=\n', /:1: the tag !!binary is not supported/],
    ['a tag of somebody else', 'listen: !secret a:1\n', /:1: .*!secret/],
    ['a key given twice in a list', 'rules:\n  disabled: [{a: 1, a: 2}]\n', /:2: .*unique/i],
    [
      'a NUL in a path',
      'pin:\n  directory: "/a\\0b"\n',
      /:2: pin\.directory must not have control/,
    ],
    ['a NUL in an address', 'listen: "a\\0:1"\n', /:1: listen is not valid/],
    ['an escape in a variable', 'otel: {OTEL_SERVICE_NAME: "a\\eb"}\n', /:1: .*control/],
    ['a long value, which is not quoted whole', `listen: ${'x'.repeat(5000)}\n`, /^.{0,200}$/],
    ['more than is read', `# ${'x'.repeat(300_000)}\n`, /has more than 262144 bytes$/],
  ] as const) {
    it(`is reported at once and costs little: ${title}`, async () => {
      const { code, what: message } = await problemWith(text);
      assert.match(code, /^config\./);
      assert.match(message, what);
    });
  }

  it('is read in one pass, whatever number of keys it has', async () => {
    // Compared with each other, these took minutes.
    const keys = Array.from({ length: 20_000 }, (_, i) => `k${i}: 1`).join('\n');
    assert.match((await problemWith(keys)).what, /:1: unknown setting k0$/);
  });

  it('is not read on without end when it is a device', async () => {
    const { code } = await problemOf(() => loadConfig('/dev/zero', []));
    assert.equal(code, 'config.too-large');
  });

  it('is reported by name when it is missing', async () => {
    const { what, next } = await problemOf(() => loadConfig(join(directory, 'no.yaml'), []));
    assert.equal(what, 'cannot read the configuration no.yaml: ENOENT');
    assert.match(next, /--config/);
  });

  it('is reported by name when it is a directory', async () => {
    assert.match(
      (await problemOf(() => loadConfig(directory, []))).what,
      /cannot read .*: EISDIR$/,
    );
  });
});

describe('--listen', () => {
  for (const address of [
    '127.0.0.1:0',
    '0.0.0.0:65535',
    'localhost:80',
    'a-host.example:1',
    '[::]:9',
    '[fe80::1]:99',
    '[::ffff:10.0.0.1]:7',
    '[fe80::1%eth0]:7',
  ]) {
    it(`accepts ${address}`, async () => {
      assert.equal((await loadConfig(undefined, [listen(address)])).listen, address);
    });
  }

  for (const address of [
    '',
    ':80',
    'localhost',
    'localhost:',
    'localhost:http',
    '::1:80',
    '[::1]',
    '[::1:80',
    '127.0.0.1:123456',
    '127.0.0.1:65536',
    '127.0.0.1:99999',
    'http://localhost:80',
    'a\0b:80',
    'a b:80',
    '\u001b[2J:80',
  ]) {
    it(`refuses "${address}", and names the flag`, async () => {
      const { what, next } = await problemOf(() => loadConfig(undefined, [listen(address)]));
      assert.match(what, /^flag --listen: listen /);
      assert.match(next, /address and port/);
    });
  }

  it('is named when both it and the file set the address', async () => {
    const path = file('listen: 127.0.0.1:1\n');
    const { what } = await problemOf(() => loadConfig(path, [listen('x')]));
    assert.match(what, /^flag --listen/);
  });
});

describe('a setting with the name of an earlier version', () => {
  it('is refused with its new name, at its line', async () => {
    const problem = await problemWith('listen: a:1\nkeep:\n  ended: 5\n');
    assert.deepEqual(problem, {
      code: 'config.renamed',
      what: 'vfioscope.yaml:2: the setting keep was renamed to retention',
      next: 'write retention instead of keep',
    });
  });

  it('does not exist any more, and its new name does', () => {
    const exists = (path: string) => {
      let schema: Schema | undefined = CONFIG_SCHEMA;
      for (const key of path.split('.')) schema = schema?.properties?.[key];
      return schema !== undefined;
    };
    for (const [old, name] of Object.entries(RENAMED_SETTINGS)) {
      assert.deepEqual([exists(old), exists(name)], [false, true], old);
    }
  });
});
