import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { notReady } from './served.ts';

const point = (module: string, state: 'attached' | 'inferred' | 'waiting' | 'failed') =>
  ({ module, state, reason: `${module} is ${state}` }) as const;

describe('an agent', () => {
  it('is ready when each loaded module is watched', () => {
    const points = [
      ...[point('mdev', 'attached'), point('mdev', 'failed')],
      ...[point('vfio', 'inferred'), point('kvm', 'waiting')],
    ];
    assert.equal(notReady(points, undefined), undefined);
  });

  it('is not ready while nothing is watched', () => {
    assert.match(notReady([point('mdev', 'waiting')], undefined) ?? '', /mdev is waiting/);
  });

  it('is not ready while a module is loaded of which nothing is watched', () => {
    const points = [point('kvm', 'attached'), point('mdev', 'failed'), point('mdev', 'failed')];
    assert.match(notReady(points, undefined) ?? '', /module mdev is loaded.*mdev is failed/);
  });

  it('is not ready while points are to be attached again', () => {
    const points = [point('kvm', 'attached'), point('kvm', 'failed')];
    assert.match(notReady(points, 'too many open files') ?? '', /again: too many open files/);
  });
});
