import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Host, RuleContext } from './rule.ts';
import { runOf } from './run.ts';
import { onOpen, whileOpen } from './simple-rules.ts';
import { Telling } from './telling.ts';

describe('a finding while the kernel has missed calls that nobody was told of', () => {
  for (const [basis, raised, heldBack] of [
    ['event', 1, undefined],
    ['state', 0, 1],
    ['history', 0, 1],
  ] as const) {
    it(`is ${raised ? '' : 'not '}raised when it goes by ${basis}`, () => {
      const telling = new Telling({ rules: [onOpen(() => ({}), { basis })] });
      telling.engine.hasMissed = () => true;
      telling.tell((story) => story.open(story.create(story.parent())));
      assert.equal(telling.violations().length, raised);
      assert.equal(telling.engine.heldBack.get('on-open'), heldBack);
    });
  }

  it('is what it was when it is known already', () => {
    const telling = new Telling({ rules: [onOpen(() => ({}), { basis: 'state' })] });
    const device = telling.tell((story) => story.create(story.parent()));
    telling.tell((story) => story.close(story.open(device)));
    telling.engine.hasMissed = () => true;
    telling.tell((story) => story.open(device));
    assert.deepEqual(telling.changes, ['raised v1', 'repeated v1']);
  });
});

describe('an act', () => {
  it('is counted when the same object does it again', () => {
    const telling = new Telling({ rules: [onOpen(() => ({}))] });
    const device = telling.tell((story) => story.create(story.parent()));
    for (let i = 0; i < 3; i++) telling.tell((story) => story.close(story.open(device)));
    const [violation, ...others] = telling.violations();
    assert.deepEqual([violation.count, violation.lasting, others.length], [3, false, 0]);
    assert.ok(violation.lastSeen > violation.firstSeen);
    assert.equal(violation.explanation, `opened at ${violation.lastSeen}`);
    assert.deepEqual(telling.changes, ['raised v1', 'repeated v1', 'repeated v1']);
    assert.deepEqual([...telling.engine.raised], [['on-open warning', 1]]);
  });

  it('is another violation when another object does it', () => {
    const telling = new Telling({ rules: [onOpen(() => ({}))] });
    const parent = telling.tell((story) => story.parent());
    for (let i = 0; i < 2; i++) telling.tell((story) => story.open(story.create(parent)));
    assert.deepEqual(
      telling.violations().map(({ id, count }) => [id, count]),
      [
        ['v1', 1],
        ['v2', 1],
      ],
    );
  });

  it('is another violation when another rule finds it', () => {
    const rules = [onOpen(() => ({})), onOpen(() => ({}), { id: 'other' })];
    const telling = new Telling({ rules });
    telling.tell((story) => story.open(story.create(story.parent())));
    assert.deepEqual(
      telling.violations().map(({ rule }) => rule),
      ['on-open', 'other'],
    );
  });

  it('is told apart by its words when it is about no object', () => {
    const telling = new Telling({
      rules: [onOpen(({ event }) => ({ device: undefined, says: `${event.groupId}` }))],
    });
    telling.tell((story) => {
      const parent = story.parent();
      const [first, second] = [story.create(parent), story.create(parent)];
      for (const device of [first, second, first]) story.close(story.open(device));
    });
    assert.deepEqual(
      telling.violations().map(({ count }) => count),
      [2, 1],
    );
  });

  it('stays as severe as it has been at its worst', () => {
    const severities = ['warning', 'error', 'info'] as const;
    let next = 0;
    const telling = new Telling({ rules: [onOpen(() => ({ severity: severities[next++] }))] });
    const device = telling.tell((story) => story.create(story.parent()));
    for (const _ of severities) telling.tell((story) => story.close(story.open(device)));
    assert.equal(telling.violations()[0].severity, 'error');
    assert.deepEqual(
      [...telling.engine.raised],
      [
        ['on-open warning', 1],
        ['on-open error', 1],
      ],
    );
  });
});

describe('a lasting condition', () => {
  it('is one violation however many ticks see it', () => {
    const telling = new Telling({ rules: [whileOpen()] });
    telling.tell((story) => {
      story.open(story.create(story.parent()));
      story.wait(30);
    });
    const [violation, ...others] = telling.violations();
    assert.equal(others.length, 0);
    assert.deepEqual([violation.count, violation.lasting, violation.resolvedAt], [1, true, 0]);
    assert.equal(violation.lastSeen - violation.firstSeen, 29e9);
    assert.deepEqual(telling.changes, ['raised v1']);
    assert.deepEqual(telling.engine.open(), [violation]);
  });

  it('is told again when it gets worse, once', () => {
    const start = 1000e9;
    const severity = ({ now }: RuleContext) => (now > start + 5e9 ? 'error' : 'warning');
    const telling = new Telling({
      rules: [whileOpen((context) => ({ severity: severity(context) }))],
    });
    telling.tell((story) => {
      story.open(story.create(story.parent()));
      story.wait(20);
    });
    const [violation] = telling.violations();
    assert.deepEqual([violation.severity, violation.count], ['error', 1]);
    assert.deepEqual(telling.changes, ['raised v1', 'escalated v1']);
    assert.deepEqual(
      [...telling.engine.raised],
      [
        ['while-open warning', 1],
        ['while-open error', 1],
      ],
    );
  });

  it('is resolved, and raised as a new one when it comes back', () => {
    const telling = new Telling({ rules: [whileOpen()] });
    const device = telling.tell((story) => story.create(story.parent()));
    for (let i = 0; i < 2; i++) {
      telling.tell((story) => {
        const open = story.open(device);
        story.wait(2);
        story.close(open);
        story.wait(2);
      });
    }
    assert.deepEqual(telling.changes, ['raised v1', 'resolved v1', 'raised v2', 'resolved v2']);
    const [first, second] = telling.violations();
    assert.ok(first.resolvedAt > first.lastSeen && first.resolvedAt < second.firstSeen);
    assert.deepEqual(telling.engine.open(), []);
  });

  it('says how long it lasts by now, and asks only now and then who is behind it', () => {
    let asked = 0;
    const host: Host = {
      kernel: [6, 12],
      pidsWithKvmFiles: () => undefined,
      hasDeviceFile: () => {
        asked++;
        return true;
      },
    };
    const telling = new Telling({ rules: [whileOpen()], host });
    telling.tell((story) => {
      story.open(story.create(story.parent()));
      story.wait(14);
    });
    const [violation] = telling.violations();
    assert.equal(violation.explanation, `open at ${violation.lastSeen}`);
    assert.equal(asked, 3, 'at first, and at 5 s and 10 s');
  });

  it('is not resolved twice, nor when it never was', () => {
    const telling = new Telling({ rules: [whileOpen()] });
    const device = telling.tell((story) => story.create(story.parent()));
    telling.tell((story) => story.close(story.open(device)));
    assert.deepEqual(telling.changes, []);
  });
});

describe('the id of a violation', () => {
  const tell = (run: string) => {
    const telling = new Telling({ rules: [onOpen(() => ({}))], run });
    const parent = telling.tell((story) => story.parent());
    for (let i = 0; i < 2; i++) telling.tell((story) => story.open(story.create(parent)));
    return telling;
  };

  it('is its own in this run and in all others', () => {
    const runs = [runOf('a boot', 1e9), runOf('a boot', 2e9), runOf('another', 1e9)];
    const ids = runs.flatMap((run) =>
      tell(run)
        .violations()
        .map(({ id }) => id),
    );
    assert.equal(new Set(ids).size, 6);
    for (const id of ids) assert.match(id, /^v[12]-[0-9a-f]{10}$/);
  });

  it('is the same when the same recording is replayed', () => {
    assert.equal(runOf('a boot', 123_456_789_012), runOf('a boot', 123_456_789_012));
  });

  it('leads to it', () => {
    const telling = tell('run');
    const [first, second] = telling.violations();
    assert.deepEqual(
      [telling.engine.find('v1-run'), telling.engine.find('v2-run')],
      [first, second],
    );
    assert.equal(telling.engine.find('v1-other'), undefined);
  });
});
