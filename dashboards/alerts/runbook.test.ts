/** What runbooks say, and whether their jq filters match the answers of the API: jq prints null for an unknown field. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { RULES } from '../../src/catalogue.ts';
import type { VmIdentity } from '../../src/events/host.ts';
import { LINUX_6_12 } from '../../src/scenario/kernels.ts';
import { Served } from '../../test/kit/served.ts';
import { ALERTS } from './catalogue.ts';
import { runbookPage } from './runbook.ts';

const EIO = 5;
/** Names in a filter that are jq's own. */
const JQ_NAMES = ['select', 'sort_by', 'tsv'];

const commands = ALERTS.flatMap(({ runbook }) => runbook.confirm).map(({ command }) => command);
const filters = commands.flatMap((command) => {
  const [, path, filter] =
    /^curl -sS '?http:\/\/127\.0\.0\.1:10055([^ ']+)'? \| jq (?:-r )?('[^']+'|\S+)/.exec(command) ??
    [];
  // Without the query, because the scenario does not raise a violation of every rule.
  return path && filter
    ? [{ path: path.replace(/\?.*/, ''), filter: filter.replaceAll("'", '') }]
    : [];
});

/** All names of fields, and all strings, in a JSON value. */
function contentOf(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, inner]) => [name, ...contentOf(inner)]);
}

/** What a command reads that only root may: it has to say sudo, or it finds nothing and reads as "nobody". */
const ONLY_ROOT =
  /journalctl|\/stack|\/fd |sys\/kernel\/(debug|security)|vfioscope (doctor|rules)|virsh|mdevctl|limits/;
/** Labels of the targets, and those that each alert has. */
const OF_EACH = ['severity', 'alertname'];
const OF_TARGETS = ['instance', 'job'];

describe('runbooks', () => {
  for (const alert of ALERTS) {
    const { name, runbook, about, fires } = alert;
    const page = runbookPage(alert, RULES);
    const commands = runbook.confirm.map(({ command }) => command);

    it(`${name}: says first what to do and what not to do, in five lines at most`, () => {
      const [top = ''] = page.slice(page.indexOf('**First do.**')).split('## Confirm');
      assert.match(top, /^\*\*First do\.\*\* .*\n\n\*\*First don’t\.\*\* /s);
      const lines = top.split('\n').filter((line) => line !== '');
      assert.ok(lines.length <= 5, `${lines.length} lines`);
    });

    it(`${name}: names only labels that the alert has`, () => {
      const own = page.replaceAll(/<details.*?<\/details>/gs, '');
      const named = [...own.matchAll(/\blabels? ((?:`\w+`(?:,| and|, and)? ?)+)/g)].flatMap(
        ([, names]) => names.match(/\w+(?=`)/g) ?? [],
      );
      const known = [
        ...OF_EACH,
        ...(about === 'fleet' ? [] : OF_TARGETS),
        ...Object.keys(fires.labels),
      ];
      assert.deepEqual(
        named.filter((label) => !known.includes(label)),
        [],
      );
    });

    it(`${name}: has commands that say sudo where they need root`, () => {
      for (const command of commands.filter((one) => ONLY_ROOT.test(one))) {
        assert.match(command, /^sudo /);
        // Globs are expanded before sudo, by somebody who may not read the directory.
        if (/\/proc\/\[/.test(command)) assert.match(command, /^sudo sh -c '/);
      }
    });

    it(`${name}: asks for what is stuck now where it is about that`, () => {
      if (!alert.expr.includes('vfioscope_violation_info')) return;
      const queries = commands.filter((command) => command.includes('/violations?'));
      for (const query of queries) assert.match(query, /state=open/);
    });

    it(`${name}: does not order to stop a VM that must not be stopped`, () => {
      if (!/do not (close|stop)/i.test(runbook.firstDont)) return;
      assert.doesNotMatch(page, /\*\*Fix\.\*\* (Stop|Close)\b|[.:] Stop the (VM|process)/);
    });
  }

  it('promise no end of what they only start: it may need more than the step that they name', () => {
    const texts = [
      ...ALERTS.filter(({ runbook }) => runbook.rules).flatMap(({ runbook }) => [
        runbook.firstDo,
        runbook.fix,
      ]),
      ...RULES.map(({ remediation }) => remediation),
    ];
    assert.ok(texts.length > 80);
    for (const text of texts) assert.doesNotMatch(text, /by itself|by themselves|the rest follows/);
  });

  it('show whole stacks of all threads, since the innermost function comes first', () => {
    const reading = ALERTS.flatMap(({ runbook }) => runbook.confirm)
      .map(({ command }) => command)
      .filter((command) => command.includes('stack'));
    assert.ok(reading.length > 2);
    for (const command of reading) {
      assert.match(command, /\/task\//);
      assert.match(command, /cat \$t\/stack/);
    }
  });
});

/** What the host says of the VM, which would answer later than a scenario ends. */
const GUEST: VmIdentity = {
  ...{ commandLine: 'read', name: 'web-3', uuid: '4dea22b3-1d52-d8f3-2516-782e98ab3fa0' },
  group: { path: '/vmm.service', unit: 'vmm.service' },
};

describe('the jq filters of runbooks', () => {
  let served: Served;

  before(() => {
    served = new Served({
      host: {
        traits: LINUX_6_12,
        pidsWithKvmFiles: () => undefined,
        controlGroup: () => ({ path: '/vmm.service', unit: 'vmm.service' }),
        waitingTasks: () => ({ tasks: [], missing: [] }),
      },
    });
    let end = () => {};
    served.run((scenario) => {
      const parent = scenario.parent({ name: 'gpu0', driver: 'nv' });
      const vm = scenario.createVm();
      const device = scenario.create(parent);
      scenario.open(device, { vm });
      end = () => {
        scenario.closeVm(vm);
        scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
        scenario.wait(11);
        scenario.createFails(parent, EIO);
        scenario.createBegins(parent);
      };
    });
    for (const vm of served.world.vms) vm.identity = GUEST;
    served.run(end);
  });
  after(() => served.server.close());

  it('are found in the commands', () => {
    const count = commands.filter((command) => /127.*\| jq/.test(command)).length;
    assert.ok(count > 10);
    assert.equal(filters.length, count);
  });

  const distinct = new Map(filters.map((one) => [`${one.path} ${one.filter}`, one]));
  for (const [title, { path, filter }] of distinct) {
    it(`${title} selects fields and values that exist`, async () => {
      const { status, body } = await served.get(path);
      assert.equal(status, 200);
      const known = new Set([...contentOf(body), ...JQ_NAMES]);
      const unknown = (filter.match(/[A-Za-z]\w*/g) ?? []).filter((name) => !known.has(name));
      assert.deepEqual(unknown, []);
    });
  }
});
