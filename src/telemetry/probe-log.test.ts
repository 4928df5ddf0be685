import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Logger, pino } from 'pino';
import type { PointName } from '../events/points.ts';
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

function point(name: PointName, state: PointStatus['state'], reason?: string): PointStatus {
  const module = name.split('.')[0];
  const base = { point: name, module, description: '', state, missed: 0, limited: false };
  return reason === undefined ? base : { ...base, reason };
}

const GET = point('kvm.get', 'attached');
const INFERRED = point('kvm.get_safe', 'inferred', 'no such function; inferred from kvm.get');
const FAILED = point('kvm.put', 'failed', 'no function kvm_put_kvm');
const WAITING = point('mdev.create', 'waiting', 'the module mdev is not loaded');

describe('the log of points', () => {
  it('reports how many points of each module are watched', () => {
    const { log, lines } = logged();
    log.coverage([GET, INFERRED, WAITING]);
    assert.deepEqual(
      lines().map(({ event, msg }) => `${event}: ${msg}`),
      [
        'probes.attached: watching 2 of 2 points of the module kvm',
        'probes.waiting: not watching mdev yet: the module is not loaded; probes are attached when it is',
      ],
    );
  });

  it('warns of points that fail, once for each reason', () => {
    const { log, lines } = logged();
    log.coverage([
      GET,
      FAILED,
      { ...FAILED, point: 'kvm.vm.init' },
      point('kvm.vm.destroy', 'failed', 'other'),
    ]);
    const [attached, ...warnings] = lines();
    assert.equal(attached.msg, 'watching 1 of 4 points of the module kvm');
    assert.deepEqual(
      warnings.map(({ level, msg }) => [level, msg]),
      [
        [WARN, 'cannot watch kvm.put, kvm.vm.init: no function kvm_put_kvm'],
        [WARN, 'cannot watch kvm.vm.destroy: other'],
      ],
    );
    assert.deepEqual(warnings[0].points, ['kvm.put', 'kvm.vm.init']);
  });

  it('reports only the failure when all points of a module fail', () => {
    const { log, lines } = logged();
    log.coverage([FAILED]);
    assert.deepEqual(
      lines().map(({ event }) => event),
      ['probes.failed'],
    );
  });

  it('does not take a module for unloaded whose points are all detached', () => {
    const { log, lines } = logged();
    log.coverage([GET]);
    lines();
    log.coverage([point('kvm.get', 'detached', 'detached: over budget')]);
    assert.deepEqual(lines(), []);
  });

  it('reports a module again only when it changed', () => {
    const { log, lines } = logged();
    log.coverage([GET, WAITING]);
    lines();
    log.coverage([{ ...GET, missed: 3 }, WAITING]);
    assert.deepEqual(lines(), []);
    log.coverage([GET, point('mdev.create', 'attached')]);
    assert.deepEqual(
      lines().map(({ msg }) => msg),
      ['watching 1 of 1 points of the module mdev'],
    );
    log.coverage([GET, WAITING]);
    assert.deepEqual(
      lines().map(({ event }) => event),
      ['probes.waiting'],
    );
  });
});
