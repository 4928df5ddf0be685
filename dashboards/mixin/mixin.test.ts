import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { lacks } from '../../test/kit/needs.ts';
import { rendered, scoped } from './rendered.ts';
import { DEFAULT_SETTINGS } from './settings.ts';

const skip = lacks('promtool');
const MAIN = new URL('main.ts', import.meta.url).pathname;
const COMMITTED = new URL('..', import.meta.url);

let directory: string;
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'vfioscope-mixin-'));
});
after(() => rmSync(directory, { recursive: true }));

function render(settings?: string) {
  const output = join(directory, 'rendered');
  const config = join(directory, 'mixin.yaml');
  if (settings !== undefined) writeFileSync(config, settings);
  const given = settings === undefined ? [] : ['--config', config];
  const run = spawnSync(process.execPath, [MAIN, ...given, '--output', output], {
    encoding: 'utf8',
  });
  return { ...run, output, read: (name: string) => readFileSync(join(output, name), 'utf8') };
}

describe('PromQL with the settings of a mixin', () => {
  const settings = { ...DEFAULT_SETTINGS, selector: 'job="a/b"', cluster_label: 'k8s' };
  for (const [expr, expected] of [
    ['absent(up)', 'absent(up{job="a/b"})'],
    ['vfioscope_vms{state="zombie"} > 0', 'vfioscope_vms{job="a/b",state="zombie"} > 0'],
    ['sum by (cluster, job) (up == 0)', 'sum by (k8s, job) (up{job="a/b"} == 0)'],
    ['avg_over_time(up[10m])', 'avg_over_time(up{job="a/b"}[10m])'],
    ['vfioscope_vms{}', 'vfioscope_vms{job="a/b"}'],
    ['cluster:vfioscope_targets:count > 1', 'cluster:vfioscope_targets:count > 1'],
    [
      'label_values(vfioscope_build_info, cluster)',
      'label_values(vfioscope_build_info{job="a/b"}, k8s)',
    ],
    ['x{cluster=~"$cluster"}', 'x{k8s=~"$cluster"}'],
    [
      'sum without (nodejs_version) (vfioscope_build_info)',
      'sum without (nodejs_version) (vfioscope_build_info{job="a/b"})',
    ],
    ['rate(process_cpu_seconds_total[5m])', 'rate(process_cpu_seconds_total{job="a/b"}[5m])'],
  ]) {
    it(expr, () => assert.equal(scoped(expr, settings), expected));
  }

  it('may have no selector', () => {
    assert.equal(scoped('up == 0', { ...DEFAULT_SETTINGS, selector: '' }), 'up == 0');
  });

  it('has its thresholds, and no unknown one', () => {
    assert.equal(rendered('time() - 1 < $one_shot_seconds', DEFAULT_SETTINGS), 'time() - 1 < 900');
    assert.throws(() => rendered('1 > $nothing', DEFAULT_SETTINGS), /no setting .* nothing/);
  });
});

describe('npm run mixin', () => {
  it('writes without settings what is committed', () => {
    const { status, read, output } = render();
    assert.equal(status, 0);
    for (const name of readdirSync(output)) {
      assert.equal(read(name), readFileSync(new URL(name, COMMITTED), 'utf8'), name);
    }
    assert.equal(readdirSync(output).length, 7);
  });

  it('renders rules that Prometheus accepts, with every setting where it belongs', { skip }, () => {
    const { status, read, output } = render(
      [
        'selector: job="monitoring/vfioscope"',
        'cluster_label: k8s_cluster',
        'runbook_url: https://wiki.example.org/{alert}.html',
        'keep_firing: false',
        'thresholds: { restarts_per_hour: 7 }',
      ].join('\n'),
    );
    assert.equal(status, 0);
    const check = spawnSync('promtool', ['check', 'rules', 'alerts.yml', 'recording.yml'], {
      ...{ cwd: output, encoding: 'utf8' },
    });
    assert.equal(check.status, 0, check.stderr);
    const all = readdirSync(output).map(read).join('\n');
    assert.doesNotMatch(all, /job=\\?"vfioscope\\?"|keep_firing_for/);
    const expressions = all.match(/\bexpr"?: .*/g) ?? [];
    assert.ok(expressions.length > 100);
    for (const expr of expressions) assert.doesNotMatch(expr, /(?<![$\w])cluster(?![\w":])/, expr);
    const alerts = read('alerts.yml');
    assert.match(
      alerts,
      /changes\(process_start_time_seconds\{job="monitoring\/vfioscope"\}\[1h\]\) >= 7/,
    );
    assert.match(alerts, /https:\/\/wiki\.example\.org\/VfioscopeAgentDown\.html\n/);
    assert.match(alerts, /VfioscopeRemovalStalled\.html$/m);
    assert.match(alerts, /\$labels\.k8s_cluster/);
    assert.match(alerts, /vfioscope_vm_info\{k8s_cluster=%/);
    assert.doesNotMatch(alerts, /[{,]cluster=/);
  });

  it('leads to a copy of the runbooks when no agent answers, and to the agents otherwise', () => {
    const { status, read } = render('runbook_url_without_agent: https://wiki.example.org/{alert}');
    assert.equal(status, 0);
    const [, url] =
      /runbook_url: '(.*VfioscopeFleetDown.*)'/.exec(read('alerts.yml').replaceAll('\\"', '"')) ??
      [];
    assert.equal(
      url,
      '{{ with query "topk(1, up{job="vfioscope"} == 1)" }}http://{{ . | first | label "instance" }}' +
        '/docs/runbooks/VfioscopeFleetDown{{ else }}https://wiki.example.org/VfioscopeFleetDown{{ end }}',
    );
  });

  for (const [title, settings, expected] of [
    [
      'an unknown setting',
      'selektor: x\n',
      /error\[config\.unknown-key\]: .*mixin\.yaml:1: selektor/,
    ],
    [
      'a wrong value',
      'thresholds:\n  notices: many\n',
      /error\[config\.invalid-value\]: .*mixin\.yaml:2: thresholds\.notices must be a number/,
    ],
    [
      'a label that is none',
      'cluster_label: a-b\n',
      /config\.invalid-value.*cluster_label is not valid/,
    ],
    ['no YAML', '{', /error\[config\.syntax\]/],
  ] as const) {
    it(`refuses ${title}`, () => {
      const { status, stderr } = render(settings);
      assert.equal(status, 2);
      assert.match(stderr, expected);
      assert.doesNotMatch(stderr, /^ +at /m);
    });
  }
});
