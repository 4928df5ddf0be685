import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { UserProblem } from '../../src/problem.ts';
import { RULES } from '../../src/rules/catalogue.ts';
import { describeSettings, loadConfig, type Override } from './load.ts';

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
  readonly what: string;
  readonly next: string;
}

/** What is said about a file: the problem, without the directory, and what to do. */
function problemWith(text: string): Promise<Problem> {
  return problemOf(() => loadConfig(file(text), []));
}

async function problemOf(load: () => Promise<unknown>): Promise<Problem> {
  try {
    await load();
  } catch (error) {
    if (!(error instanceof UserProblem)) throw error;
    return { what: error.message.replace(`${directory}/`, ''), next: error.next };
  }
  throw new assert.AssertionError({ message: 'it was accepted' });
}

function listen(value: unknown): Override {
  return { flag: '--listen', path: ['listen'], value };
}

const DEFAULTS = {
  listen: '127.0.0.1:10055',
  log: { level: 'info', format: 'auto' },
  ring: { bytes: 2 ** 20 },
  attach: { method: 'auto', module_btf: true },
  pin: { enabled: false, directory: '/sys/fs/bpf/vfioscope' },
  metrics: { per_device: true, max_devices: 1000 },
  otel: {},
  keep: { ended: 1000, violations: 1000 },
  rules: {
    disabled: [],
    remove_stall_seconds: 10,
    parent_unregister_stall_seconds: 5,
    request_ignored_seconds: 30,
    never_registered_seconds: 5,
    create_serialised_seconds: 1,
    vm_pinned_seconds: 10,
    kvm_ref_leak_seconds: 5,
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

  it('are all told in the help, with default and meaning', () => {
    const lines = describeSettings();
    assert.equal(lines.length, 24);
    assert.ok(lines.some((line) => /^ {2}ring\.bytes +room for events .* \(1048576\)$/.test(line)));
    for (const line of lines) assert.doesNotMatch(line, /undefined/);
  });
});

describe('a file that is wrong', () => {
  for (const [title, text, what, next] of [
    [
      'an unknown key',
      'listen: a:1\n\nlisten_on: b:2\n',
      /^vfioscope\.yaml:3: unknown setting listen_on$/,
      /known here: listen, log, ring, attach, pin, metrics, otel, keep, rules/,
    ],
    [
      'an unknown key further in',
      'log:\n  level: info\n  colour: red\n',
      /^vfioscope\.yaml:3: unknown setting log\.colour$/,
      /known here: level, format/,
    ],
    [
      'a wrong type',
      '# the ring\nring:\n  bytes: many\n',
      /^vfioscope\.yaml:3: ring\.bytes must be integer$/,
      /power of two/,
    ],
    [
      'a fraction for a whole number',
      'ring:\n  bytes: 4096.5\n',
      /^vfioscope\.yaml:2: ring\.bytes must be integer/,
      /power of two/,
    ],
    [
      'text for a flag',
      'metrics: {per_device: "no"}\n',
      /^vfioscope\.yaml:1: metrics\.per_device must be boolean/,
      /series/,
    ],
    [
      'a value for a section',
      '\nlog: debug\n',
      /^vfioscope\.yaml:2: log must be object/,
      /level, format/,
    ],
    ['an empty section', 'log:\n', /^vfioscope\.yaml:1: log must be object/, /level, format/],
    [
      'a word that is not one of the values',
      'log:\n  level: verbose\n',
      /^vfioscope\.yaml:2: log\.level is not one of its values$/,
      /debug, info, warn, error/,
    ],
    [
      'too small a number',
      'keep:\n  ended: 0\n',
      /^vfioscope\.yaml:2: keep\.ended must be >= 1/,
      /ended devices/,
    ],
    [
      'a rule that is none',
      'rules:\n  disabled:\n    - no-such-rule\n',
      /^vfioscope\.yaml:2: rules\.disabled names no-such-rule, which is no rule$/,
      new RegExp(RULES.map(({ id }) => id).join(', ')),
    ],
    [
      'a rule that is no text',
      'rules:\n  disabled: [7]\n',
      /^vfioscope\.yaml:2: rules\.disabled\.0 must be string/,
      /ids of rules/,
    ],
    [
      'rules that are no list',
      'rules:\n  disabled: nested-open\n',
      /^vfioscope\.yaml:2: rules\.disabled must be array/,
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
      'an alias of nothing',
      'listen: a:1\nlog: *missing\n',
      /^vfioscope\.yaml:2: .*alias/i,
      /correct the YAML/,
    ],
    [
      'a variable of OpenTelemetry with a value that is none of its own',
      'otel:\n  OTEL_SERVICE_NAME: gpu-host\n  OTEL_EXPORTER_OTLP_PROTOCOL: http/json\n',
      /^vfioscope\.yaml:3: otel\.OTEL_EXPORTER_OTLP_PROTOCOL must be one of http\/protobuf, grpc, not "http\/json"$/,
      /it is: `http\/protobuf` or `grpc`/,
    ],
    [
      'a variable that OpenTelemetry does not have',
      'otel:\n  OTEL_EXPORTER_OLTP_ENDPOINT: http://127.0.0.1:4318\n',
      /^vfioscope\.yaml:2: otel\.OTEL_EXPORTER_OLTP_ENDPOINT is none of the variables/,
      /OTEL_EXPORTER_OTLP_ENDPOINT/,
    ],
    [
      'a certificate that is not there',
      'otel:\n  OTEL_EXPORTER_OTLP_CERTIFICATE: /no/such/file.pem\n',
      /^vfioscope\.yaml:2: otel\.OTEL_EXPORTER_OTLP_CERTIFICATE names \/no\/such\/file\.pem, which cannot be read \(ENOENT\)$/,
      /authorities/,
    ],
    [
      'a list of variables',
      'otel: [OTEL_SDK_DISABLED]\n',
      /^vfioscope\.yaml:1: otel must be object/,
      /OTEL_/,
    ],
    [
      'an address without port',
      'listen: localhost\n',
      /^vfioscope\.yaml:1: listen /,
      /address and port/,
    ],
  ] as const) {
    it(`is told with its line, and what to do: ${title}`, async () => {
      const problem = await problemWith(text);
      assert.match(problem.what, what);
      assert.match(problem.next, next);
    });
  }

  it('is told by name when it is missing', async () => {
    const { what, next } = await problemOf(() => loadConfig(join(directory, 'no.yaml'), []));
    assert.equal(what, 'cannot read the configuration no.yaml: ENOENT');
    assert.match(next, /--config/);
  });

  it('is told by name when it is a directory', async () => {
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
  ]) {
    it(`takes ${address}`, async () => {
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
  ]) {
    it(`refuses "${address}", and says that it was the flag`, async () => {
      const { what, next } = await problemOf(() => loadConfig(undefined, [listen(address)]));
      assert.match(what, /^flag --listen: listen /);
      assert.match(next, /address and port/);
    });
  }

  it('is to blame when both it and the file set the address', async () => {
    const path = file('listen: 127.0.0.1:1\n');
    const { what } = await problemOf(() => loadConfig(path, [listen('x')]));
    assert.match(what, /^flag --listen/);
  });
});
