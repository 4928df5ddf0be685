/** That log, API, records and metrics have the names of the table, and the same values under them. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { pino } from 'pino';
import { forgetSent, OFFSET, Traced } from '../../test/kit/traced.ts';
import { Views } from '../http/views.ts';
import { LifecycleLog } from './lifecycle-log.ts';
import { METRICS } from './metrics/catalogue.ts';
import { NAMES } from './names.ts';
import { ATTRIBUTES } from './trace-attributes.ts';

type Fields = Readonly<Record<string, unknown>>;

it('a violation has the same names and values in log, API and records', () => {
  forgetSent();
  const runner = new Traced();
  const lines: Fields[] = [];
  const write = (line: string) => lines.push(JSON.parse(line) as Fields);
  runner.sinks.push(new LifecycleLog(pino({}, { write }), runner.ids, () => OFFSET));
  runner.run((scenario) => {
    const device = scenario.create(scenario.parent());
    scenario.open(device, { vm: scenario.createVm() });
    scenario.removeBegins(device);
    scenario.wait(11);
  });
  const [record] = runner.records('vfio.violation');
  const line = lines.find(({ event }) => event === 'violation.raised') ?? assert.fail();
  const views = new Views(runner.world, () => OFFSET, runner.host, runner.ids);
  const [violation] = runner.violations();
  const shown = JSON.parse(JSON.stringify(views.violation(violation))) as Fields;

  for (const { log, api, attribute } of NAMES) {
    assert.ok(attribute in ATTRIBUTES, attribute);
    assert.ok(log in line, log);
    assert.ok(api in shown, api);
    if (log === 'evidence') continue;
    const value = log === 'vm' ? (shown.vm as { id: string }).id : shown[api];
    assert.equal(line[log], value, log);
    assert.equal(record.attributes[attribute], value, attribute);
  }
  // What both have under one name is the same, down to the times in it.
  for (const name of ['holders', 'blocked', 'createdBy', 'removedBy', 'process']) {
    assert.deepEqual(line[name], shown[name], name);
  }
  assert.equal(line.trace_id, shown.traceId);
  assert.equal(record.spanContext?.traceId, shown.traceId);
  assert.equal(line.eventTime, (shown.firstSeen as { at: string }).at);
});

it('labels of metrics have the names of the table', () => {
  const labels = new Set(METRICS.flatMap((metric) => metric.labels ?? []));
  for (const { label } of NAMES) assert.ok(label === undefined || labels.has(label), label);
});

it('a device has the same names and values in log, API and spans', () => {
  forgetSent();
  const runner = new Traced();
  const lines: Fields[] = [];
  const write = (line: string) => lines.push(JSON.parse(line) as Fields);
  runner.sinks.push(new LifecycleLog(pino({}, { write }), runner.ids, () => OFFSET));
  const { uuid } = runner.run((scenario) => scenario.create(scenario.parent()));
  const device = runner.device(uuid) ?? assert.fail();
  const views = new Views(runner.world, () => OFFSET, runner.host, runner.ids);
  const shown = JSON.parse(JSON.stringify(views.device(device))) as Fields;
  const { attributes } = runner.named('vfio.device.create');
  const line = lines.find(({ event }) => event === 'device.created') ?? assert.fail();
  for (const { log, api, attribute } of NAMES) {
    if (!['mdevType', 'parent', 'incarnation'].includes(log)) continue;
    assert.equal(line[log], shown[api], log);
    assert.equal(attributes[attribute], shown[api], attribute);
  }
  assert.deepEqual([line.device, attributes['vfio.device.name']], [shown.id, shown.id]);
  assert.equal(line.trace_id, shown.traceId);
});
