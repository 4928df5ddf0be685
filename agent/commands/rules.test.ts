import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'node:test';
import { RULES } from '../../src/catalogue.ts';
import { PROBE_TABLE } from '../../src/kernel/probe-table.ts';
import { LINUX_6_12 } from '../../src/scenario/kernels.ts';
import { ruleStates } from '../runtime/rule-options.ts';
import { listRulesOf, renderRules, ruleList } from './rules.ts';

const KERNEL = '6.12.57+deb13-amd64';

function statesWithout(...missing: string[]) {
  const points = PROBE_TABLE.map(({ point }) => ({
    point,
    state: missing.includes(point) ? ('failed' as const) : ('attached' as const),
  }));
  return ruleStates(points, LINUX_6_12);
}

/** The lines of the table as [id, rest]. */
function rows(text: string): string[][] {
  return text
    .split('\n')
    .map((line) => line.split(/ {2,}/))
    .filter(([id]) => RULES.some((rule) => rule.id === id));
}

describe('vfioscope rules', () => {
  it('lists every rule, in the order of the catalogue', () => {
    const text = renderRules(ruleList(KERNEL, statesWithout(), []));
    assert.deepEqual(
      rows(text).map(([id]) => id),
      RULES.map(({ id }) => id),
    );
    assert.doesNotMatch(text, /undefined|null/);
  });

  it('says of a running agent which points its budget has detached', async () => {
    const states = ruleStates(
      PROBE_TABLE.map(({ point }) => ({
        point,
        state: point === 'kvm.put' ? ('detached' as const) : ('attached' as const),
      })),
      LINUX_6_12,
    );
    const answers: unknown[] = [{ points: [], rules: states }, { rules: [{ id: 'x' }] }];
    const server = createServer((_request, response) => {
      response.end(JSON.stringify(answers.shift()));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const { rules } = await listRulesOf(url);
    const leak = rules.find(({ id }) => id === 'kvm-ref-leak');
    assert.deepEqual(
      [leak?.state, leak?.why],
      ['inactive', 'needs kvm.put; detached, because the cost was over the budget: kvm.put'],
    );
    assert.equal(rules.find(({ id }) => id === 'remove-stall')?.state, 'active');
    await assert.rejects(listRulesOf(url), /no vfioscope agent answers at .*rules\.0/);
    server.close();
    server.closeAllConnections();
    await assert.rejects(listRulesOf(url), { code: 'agent.no-answer' });
    await assert.rejects(listRulesOf('nonsense'), { code: 'agent.no-answer' });
  });

  it('says of a rule that lacks a point which one', () => {
    const list = ruleList(KERNEL, statesWithout('vfio.unregister'), []);
    const stall = list.rules.find(({ id }) => id === 'remove-stall');
    assert.deepEqual([stall?.state, stall?.why], ['inactive', 'needs vfio.unregister']);
    assert.match(
      renderRules(list),
      /\nremove-stall +warning … +inactive: needs vfio\.unregister\n/,
    );
  });

  it('counts them at its end', () => {
    const list = ruleList(KERNEL, statesWithout(), []);
    const active = list.rules.filter(({ state }) => state === 'active').length;
    assert.match(
      renderRules(list),
      new RegExp(`\\n${RULES.length} rules: ${active} active, 0 inac`),
    );
  });

  it('says why a step that the kernel does not take makes a rule pointless', () => {
    const points = PROBE_TABLE.map(({ point }) =>
      point === 'vfio.device.kvm_capture'
        ? { point, state: 'inferred' as const, reason: 'the core keeps none' }
        : { point, state: 'attached' as const },
    );
    const { rules } = ruleList(KERNEL, ruleStates(points, LINUX_6_12), []);
    const pinned = rules.find(({ id }) => id === 'vm-pinned-by-device');
    assert.deepEqual([pinned?.state, pinned?.why], ['impossible', 'the core keeps none']);
  });

  it('lists them also where nothing can be tried, and says why', () => {
    const old = { name: 'driversAreNotified', statement: '', value: false, evidence: '' } as const;
    const list = ruleList(KERNEL, [], [old], {
      code: 'host.missing-capabilities',
      message: 'this process lacks CAP_BPF',
      next: 'be root',
    });
    const text = renderRules(list);
    assert.equal(rows(text).length, RULES.length);
    const stateOf = (wanted: string) => list.rules.find(({ id }) => id === wanted)?.state;
    assert.equal(stateOf('remove-stall'), 'unknown');
    assert.equal(stateOf('notifier-error-ignored'), 'impossible');
    assert.match(text, /\ncannot find out which rules are active: this process lacks CAP_BPF\n/);
    assert.match(text, /\n {2}what to do: be root\n/);
    assert.doesNotMatch(text, /\d active|undefined/);
  });
});
