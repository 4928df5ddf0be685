/** Whether the jq filters of runbooks match the answers of the API: jq prints null for an unknown field. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Served } from '../../test/kit/served.ts';
import { ALERTS } from './catalogue.ts';

const EIO = 5;
/** Names in a filter that are jq's own. */
const JQ_NAMES = ['select', 'tsv'];

const commands = ALERTS.flatMap(({ runbook }) => runbook.confirm).map(({ command }) => command);
const filters = commands.flatMap((command) => {
  const [, path, filter] =
    /^curl -s '?http:\/\/127\.0\.0\.1:10055([^ ']+)'? \| jq (?:-r )?('[^']+'|\S+)/.exec(command) ??
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

describe('the jq filters of runbooks', () => {
  let served: Served;

  before(() => {
    served = new Served({
      host: {
        kernel: [6, 12],
        pidsWithKvmFiles: () => undefined,
        controlGroup: () => ({ path: '/vmm.service', unit: 'vmm.service' }),
        waitingTasks: () => ({ tasks: [], missing: [] }),
      },
    });
    served.run((scenario) => {
      const parent = scenario.parent({ name: 'gpu0', driver: 'nv' });
      const vm = scenario.createVm();
      const device = scenario.create(parent);
      scenario.open(device, { vm });
      scenario.closeVm(vm);
      scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
      scenario.wait(11);
      scenario.createFails(parent, EIO);
      scenario.createBegins(parent);
    });
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
