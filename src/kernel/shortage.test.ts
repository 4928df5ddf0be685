import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { constants } from 'node:os';
import { describe, it } from 'node:test';
import { NO_TRAITS } from '../events/traits.ts';
import { choose } from './candidates.ts';
import { LibbpfError } from './libbpf.ts';
import { both } from './probe-point.ts';
import { DescriptorReserve, isShortage, Retries } from './shortage.ts';

const { EMFILE, EINVAL, ENOMEM } = constants.errno;
const openFiles = () => readdirSync('/proc/self/fd').length;

describe('what may succeed later', () => {
  it('is a shortage of descriptors or memory, whoever reports it', () => {
    const coded = (code: string) => Object.assign(new Error(code), { code });
    for (const code of ['EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN']) assert.ok(isShortage(coded(code)));
    assert.ok(isShortage(new LibbpfError('cannot attach', EMFILE, [])));
    assert.ok(isShortage(new LibbpfError('the kernel refused it', ENOMEM, [])));
    assert.ok(isShortage(Object.assign(new Error('open'), { errno: -EMFILE })));
  });

  it('is nothing else', () => {
    assert.equal(isShortage(new LibbpfError('the kernel refused it', EINVAL, [])), false);
    assert.equal(isShortage(Object.assign(new Error('no'), { code: 'ENOENT' })), false);
    assert.equal(isShortage('EMFILE'), false);
  });

  it('is never replaced by another way to observe a point', () => {
    const point = {
      ...({ point: 'mdev.create', module: 'mdev', description: '' } as const),
      candidates: [both('first', 'create'), both('second', 'create')],
    };
    const asked: string[] = [];
    const closed: number[] = [];
    const choice = choose(point, new Map(), {
      traits: NO_TRAITS,
      open(_module, { symbol, atReturn }) {
        asked.push(symbol);
        if (atReturn) throw Object.assign(new Error('too many open files'), { code: 'EMFILE' });
        return { method: 'kprobe', fd: 7 };
      },
      close: ({ fd }) => closed.push(fd),
    });
    assert.deepEqual(choice, { reason: 'too many open files', isShort: true });
    assert.deepEqual([asked, closed], [['first', 'first'], [7]]);
  });
});

describe('the reserve of descriptors', () => {
  it('holds what it was asked for, and gives all of it back', () => {
    const before = openFiles();
    const reserve = new DescriptorReserve();
    reserve.fill(40);
    assert.deepEqual([reserve.size, openFiles()], [40, before + 40]);
    reserve.fill(10);
    assert.deepEqual([reserve.size, openFiles()], [10, before + 10]);
    reserve.release();
    assert.deepEqual([reserve.size, openFiles()], [0, before]);
  });

  it('leaves some to others where there are too few', () => {
    const program = `
      const { DescriptorReserve } = await import('./src/kernel/shortage.ts');
      const { openSync } = await import('node:fs');
      const reserve = new DescriptorReserve();
      reserve.fill(1000);
      for (let i = 0; i < 16; i++) openSync('/dev/null');
      console.log(reserve.size);`;
    const shell = `ulimit -n 100; exec "$0" --input-type=module -e "$1"`;
    const held = execFileSync('sh', ['-c', shell, process.execPath, program], { encoding: 'utf8' });
    assert.ok(Number(held) > 20 && Number(held) < 84, held);
  });
});

describe('further attempts', () => {
  it('come later each time while something is short, and at once when it was not', () => {
    const retries = new Retries();
    assert.ok(retries.isDue(0));
    const delays: number[] = [];
    let now = 0;
    for (let i = 0; i < 8; i++) {
      retries.tried(true, now);
      const began = now;
      while (!retries.isDue(now)) now += 500;
      delays.push(now - began);
    }
    assert.deepEqual(delays, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
    retries.tried(false, now);
    assert.equal(retries.isDue(now + 60_000), true);
  });
});
