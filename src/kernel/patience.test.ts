import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PatientAsker } from './patience.ts';

describe('a patient asker', () => {
  const never = () => new Promise<string>(() => {});
  const file = async (name: string) => name;

  it('passes an answer on, and an error as none', async () => {
    const asker = new PatientAsker(1);
    assert.equal(await asker.ask('a', file), 'a');
    assert.equal(await asker.ask('b', () => Promise.reject(new Error('gone'))), undefined);
    assert.equal(await asker.ask('c', file), 'c');
  });

  it('gives up on who does not answer, and asks others meanwhile', async () => {
    const asker = new PatientAsker(2, 1);
    assert.equal(await asker.ask('stuck', never), undefined);
    assert.equal(await asker.ask('stuck', file), undefined, 'not asked again');
    assert.equal(await asker.ask('b', file), 'b');
  });

  it('asks nobody while as many as allowed do not answer', async () => {
    const asker = new PatientAsker(1, 1);
    let answer = (_: string) => {};
    const late = () => new Promise<string>((resolve) => (answer = resolve));
    assert.equal(await asker.ask('stuck', late), undefined);
    assert.equal(await asker.ask('b', file), undefined);
    answer('at last');
    await new Promise(setImmediate);
    assert.equal(await asker.ask('b', file), 'b');
  });
});
