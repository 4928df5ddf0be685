import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Logger, pino } from 'pino';
import type { PointStatus } from '../events/source.ts';
import { ProbeLog } from './probe-log.ts';

interface Line {
  readonly level: number;
  readonly event: string;
  readonly msg: string;
  readonly points?: readonly string[];
}

const WARN = 40;

function logged(): { readonly log: ProbeLog; lines(): Line[] } {
  const lines: Line[] = [];
  const logger: Logger = pino({}, { write: (line: string) => lines.push(JSON.parse(line)) });
  return { log: new ProbeLog(logger), lines: () => lines.splice(0) };
}

function point(name: string, state: PointStatus['state'], reason?: string): PointStatus {
  const module = name.split('.')[0];
  const base = { point: name, module, meaning: '', state, missed: 0, limited: false };
  return reason === undefined ? base : { ...base, reason };
}

const GET = point('kvm.get', 'attached');
const IMPLIED = point('kvm.get_safe', 'implied', 'no such function; told by kvm.get');
const FAILED = point('kvm.put', 'failed', 'no function kvm_put_kvm');
const WAITING = point('mdev.create', 'waiting', 'the module mdev is not loaded');

describe('the log of what is watched', () => {
  it('tells of each module how much of it is seen', () => {
    const { log, lines } = logged();
    log.tell([GET, IMPLIED, WAITING]);
    assert.deepEqual(
      lines().map(({ event, msg }) => `${event}: ${msg}`),
      [
        'probes.attached: watching kvm: 2 of 2 points',
        'probes.waiting: waiting for the module mdev to be loaded',
      ],
    );
  });

  it('warns of points that fail, once for each reason', () => {
    const { log, lines } = logged();
    log.tell([GET, FAILED, { ...FAILED, point: 'kvm.vm.init' }, point('kvm.x', 'failed', 'other')]);
    const [attached, ...warnings] = lines();
    assert.equal(attached.msg, 'watching kvm: 1 of 4 points');
    assert.deepEqual(
      warnings.map(({ level, msg }) => [level, msg]),
      [
        [WARN, 'cannot watch kvm.put, kvm.vm.init: no function kvm_put_kvm'],
        [WARN, 'cannot watch kvm.x: other'],
      ],
    );
    assert.deepEqual(warnings[0].points, ['kvm.put', 'kvm.vm.init']);
  });

  it('says nothing else where all of a module fails', () => {
    const { log, lines } = logged();
    log.tell([FAILED]);
    assert.deepEqual(
      lines().map(({ event }) => event),
      ['probes.failed'],
    );
  });

  it('repeats itself only about a module that changed', () => {
    const { log, lines } = logged();
    log.tell([GET, WAITING]);
    lines();
    log.tell([{ ...GET, missed: 3 }, WAITING]);
    assert.deepEqual(lines(), []);
    log.tell([GET, point('mdev.create', 'attached')]);
    assert.deepEqual(
      lines().map(({ msg }) => msg),
      ['watching mdev: 1 of 1 points'],
    );
    log.tell([GET, WAITING]);
    assert.deepEqual(
      lines().map(({ event }) => event),
      ['probes.waiting'],
    );
  });
});
