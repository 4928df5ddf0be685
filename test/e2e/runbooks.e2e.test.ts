// SPDX-License-Identifier: Apache-2.0
/**
 * Every command of every runbook, run on a real kernel while what its alert is about exists there. What they
 * print is shown in the runbooks:
 *
 *     VFIOSCOPE_KEEP=yes node --test test/e2e/runbooks.e2e.test.ts && npm run generate
 *
 * With VFIOSCOPE_ONLY=VfioscopeCallStalled,… those runbooks alone, which keeps what the others printed before.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ALERTS } from '../../dashboards/alerts/catalogue.ts';
import { isPossible } from '../../src/engine/rule.ts';
import { buildDrivers } from '../lab/lab.ts';
import { SUITE_MS, VM_MS } from '../until.ts';
import { LabSession } from './lab-session.ts';
import { BY_DRIVER, IN_PARALLEL } from './provocations/all.ts';
import { HARDWARE } from './provocations/groups.ts';
import type { Provocation } from './provocations/provocation.ts';
import { SETTINGS } from './provocations/session.ts';
import { readOutputs, writeOutputs } from './runbooks/outputs.ts';
import { PROVOKED } from './runbooks/provoked.ts';
import { isChosen, RunbookSession } from './runbooks/runner.ts';
import { NOT_RUN } from './runbooks/stand-ins.ts';
import { KERNEL, traitsOf } from './traits.ts';

const DRIVER = fileURLToPath(new URL('../kmod', import.meta.url));

/** The provocations that are used, by the beginnings of their descriptions: one for each class of alerts. */
const USED: readonly string[] = [
  'a device is opened before its group is added to kvm-vfio',
  'a device is removed that a thread with a name of its own opened',
  'a driver does not return from the open of a device',
  'a driver does not return when a PCI device is bound to it',
  'a parent is unregistered while a VMM has a device of it open',
  'the driver of an mdev is unbound from it',
  'a driver takes a reference on the VM when a device is opened, and does not put it',
  'one device more is created than its parent has instances for',
  'a device is removed, and its driver does not return its instance',
  'the driver refuses a device after it has registered it',
  'a process opens a group again that it has sent to another process',
  'a device that a VM uses is removed by a process of another control group',
  'a driver creates two vfio_devices for one device',
  'a driver leaves it to devres to unregister its vfio_device, which happens after',
];

const UUID_CONFLICT: Provocation = {
  rules: ['duplicate-uuid'],
  how: 'a UUID is created on another parent',
  async run(session) {
    const device = randomUUID();
    await session.create(undefined, device);
    await session.lab.createRefused('mtty', device);
    await session.expect('duplicate-uuid', { device }, { severity: 'warning', evidence: [] });
    await session.remove(device);
  },
};

/** Whether a violation of one of its rules is what a chosen runbook is about. */
function isForChosen({ rules }: Provocation): boolean {
  return Object.entries(PROVOKED).some(
    ([violation, names]) => rules.includes(violation.split(' ')[0]) && names.some(isChosen),
  );
}

describe(`runbooks on a real ${KERNEL} kernel`, { timeout: SUITE_MS }, () => {
  let lab: LabSession;
  let session: RunbookSession;
  const all: readonly Provocation[] = Object.values(IN_PARALLEL).flat();
  const provocations = [
    ...USED.map((begin) => {
      const found = all.find(({ how }) => how.startsWith(begin));
      assert.ok(found, begin);
      return found;
    }),
    UUID_CONFLICT,
  ];

  before(async () => {
    let log = '';
    lab = await LabSession.open({
      kernel: KERNEL,
      timeoutMs: VM_MS,
      ...HARDWARE,
      logFormat: 'json',
      settings: SETTINGS,
      onAgentOutput: (text) => {
        log += text;
        if (session) session.log = log;
      },
    });
    const modules = await buildDrivers(lab.vm.kernel, DRIVER, ['faulty']);
    session = new RunbookSession(lab, `${modules}/faulty.ko`);
    await session.load();
    // What lists devices always has one to list, which nobody uses.
    await lab.create('mdpy');
  });
  after(() => lab?.close());

  /** What is wrong with the commands that were run since. */
  const wrong = () => session.wrong.splice(0);

  for (const provocation of provocations) {
    const { how, kernels } = provocation;
    if (kernels && !isPossible({ kernels }, traitsOf(KERNEL))) continue;
    if (!isForChosen(provocation)) continue;
    it(`are right while ${how}`, async () => {
      await provocation.run(session).catch(async (error: Error) => {
        if (BY_DRIVER.includes(provocation)) await session.clearAway();
        throw error;
      });
      assert.deepEqual(wrong(), []);
    });
  }

  it('were all run whose state can be provoked', () => {
    const missing = session.missing();
    assert.deepEqual(
      Object.values(PROVOKED)
        .flat()
        .filter((name) => missing.includes(name)),
      [],
    );
  });

  it('of all other alerts print no error on a host on which nothing is wrong', async () => {
    for (const name of session.missing()) await session.runbook(name);
    assert.deepEqual(wrong(), []);
    assert.deepEqual(session.missing(), []);
  });

  it('write their outputs when VFIOSCOPE_KEEP is set', () => {
    if (process.env.VFIOSCOPE_KEEP === undefined) return;
    writeOutputs({ ...(process.env.VFIOSCOPE_ONLY ? readOutputs() : {}), ...session.printed });
  });
});

/** How programs that no VM has describe their options, on machines that have them. */
const HELP: Readonly<Record<string, readonly string[]>> = {
  systemctl: ['--help'],
  journalctl: ['--help'],
  virsh: ['help', 'nodedev-list'],
  'promtool query instant': ['query', 'instant', '--help'],
  'promtool query range': ['query', 'range', '--help'],
};

describe('commands of runbooks that no VM of the lab can run', () => {
  const commands = ALERTS.flatMap(({ runbook }) => runbook.confirm.map(({ command }) => command));

  for (const [command, because] of Object.entries(NOT_RUN)) {
    it(`${because}: ${command}`, () => {
      assert.ok(commands.includes(command), 'no runbook has it');
      // programs: bash
      const checked = spawnSync('bash', ['-n', '-c', command], { encoding: 'utf8' });
      assert.equal(checked.status, 0, checked.stderr);
      const [begin, help] = Object.entries(HELP).find(([one]) => command.includes(one)) ?? [];
      if (begin === undefined) return;
      // programs: none (it is left out where the program is missing)
      const described = spawnSync(begin.split(' ')[0], help, { encoding: 'utf8' });
      if (described.error) return;
      for (const option of command.match(/(?<= )--[a-z-]+/g) ?? []) {
        assert.ok(`${described.stdout}${described.stderr}`.includes(option), option);
      }
    });
  }
});
