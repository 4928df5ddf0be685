import assert from 'node:assert/strict';
import { it } from 'node:test';
import { SeverityNumber } from '@opentelemetry/api';
import { levels } from 'pino';
import { SEVERITIES } from '../engine/rule.ts';
import { LEVELS, levelOf, priorityOf } from './severity.ts';

const DESCENDING = Object.values(LEVELS);

it('levels have the numbers of pino and of OpenTelemetry', () => {
  const names = { debug: 'DEBUG', info: 'INFO', warn: 'WARN', error: 'ERROR', fatal: 'FATAL' };
  for (const [level, { number, severityNumber }] of Object.entries(LEVELS)) {
    assert.equal(number, levels.values[level]);
    assert.equal(SeverityNumber[severityNumber], names[level as keyof typeof names]);
  }
});

it('levels are in the same order for pino, the journal and OpenTelemetry, and no two are the same', () => {
  for (const [i, { number, priority, severityNumber }] of DESCENDING.entries()) {
    if (i === 0) continue;
    const before = DESCENDING[i - 1];
    assert.ok(number > before.number);
    assert.ok(priority < before.priority);
    assert.ok(severityNumber > before.severityNumber);
  }
});

it('each severity of a violation has a level of its own, and the end of a violation is info', () => {
  assert.equal(new Set(SEVERITIES.map((severity) => levelOf(severity))).size, SEVERITIES.length);
  for (const severity of SEVERITIES) {
    assert.equal(levelOf(severity, true), 'info');
    assert.equal(LEVELS[levelOf(severity)].severityText, severity);
  }
});

it('a line has the priority of the level that it reaches', () => {
  assert.deepEqual(
    [10, 20, 30, 35, 40, 50, 60].map((number) => priorityOf(number)),
    [7, 7, 6, 6, 4, 3, 2],
  );
});
