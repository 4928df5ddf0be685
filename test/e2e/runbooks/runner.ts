// SPDX-License-Identifier: Apache-2.0
/** Runs the commands of runbooks in the lab's VM, as soon as the agent has reported what their alert is about. */
import assert from 'node:assert/strict';
import type { Alert, Step } from '../../../dashboards/alerts/alert.ts';
import { ALERTS } from '../../../dashboards/alerts/catalogue.ts';
import { shortened } from '../../../dashboards/alerts/sample.ts';
import type { ApiViolation } from '../provocations/account.ts';
import type { Expectation, Subject } from '../provocations/expectation.ts';
import { ProvocationSession } from '../provocations/session.ts';
import type { Printed } from './outputs.ts';
import { PROVOKED } from './provoked.ts';
import { AGENT_LOG, isRun, STAND_INS } from './stand-ins.ts';

/** The names of alerts, separated by commas; all when it is empty. */
const ONLY = (process.env.VFIOSCOPE_ONLY ?? '').split(',').filter(Boolean);

export function isChosen(name: string): boolean {
  return ONLY.length === 0 || ONLY.includes(name);
}

/** Commands that may print nothing although the alert's state exists: they look for a cause, which is another one here. */
const OF_A_CAUSE = /journalctl|mdevctl|vfioscope_otlp/;
/** What a command prints that did not do what it should. */
const ERROR = /No such file|[Pp]ermission denied|jq: error|not found|Usage:/;

const PREAMBLE = Object.entries(STAND_INS)
  .map(([name, body]) => `${name}() { ${body}; }`)
  .join('\n');

export class RunbookSession extends ProvocationSession {
  /** By the names of alerts. */
  readonly printed: Record<string, Printed> = {};
  /** What was wrong, one line each. */
  readonly wrong: string[] = [];
  readonly #done = new Set<string>();
  /** What the agent has logged so far. */
  log = '';

  /** Waits for the violation, and runs the runbooks about it while its state exists. */
  override async expect(
    rule: string,
    about: Subject,
    expectation: Expectation,
    ...more: [agent?: Pick<ProvocationSession['lab'], 'api'>]
  ): Promise<void> {
    await super.expect(rule, about, expectation, ...more);
    for (const name of PROVOKED[`${rule} ${expectation.severity}`] ?? []) {
      if (isChosen(name) && !this.#done.has(name))
        await this.runbook(name, { isProvoked: true, rule });
    }
  }

  /** The alerts whose runbooks were not run. */
  missing(): string[] {
    return ALERTS.map(({ name }) => name).filter((name) => isChosen(name) && !this.#done.has(name));
  }

  async runbook(name: string, { isProvoked = false, rule = '' } = {}): Promise<void> {
    this.#done.add(name);
    const alert = ALERTS.find((one) => one.name === name);
    assert.ok(alert, name);
    await this.lab.vm.run(['tee', AGENT_LOG], { input: this.log });
    const outputs: Record<string, string> = {};
    for (const step of alert.runbook.confirm) {
      if (!isRun(step.command)) continue;
      const output = await this.#step(alert, step, isProvoked, rule);
      outputs[step.command] = shortened(output, step.command.includes('journalctl'));
    }
    this.printed[name] = { isProvoked, outputs };
  }

  async #step({ name }: Alert, step: Step, isProvoked: boolean, rule: string): Promise<string> {
    const { command, nothing } = step;
    const text = await this.#substituted(command, rule);
    // programs: none (test/programs/check.ts reads the runbooks)
    const found = await this.lab.vm.run(['sh', '-c', `${PREAMBLE}\n${text}`]);
    const { exitCode, stdout, stderr } = found;
    const mayBeEmpty = nothing !== undefined && (!isProvoked || OF_A_CAUSE.test(command));
    const isEmpty = stdout.trim() === '';
    const complain = (what: string) => this.wrong.push(`${name}: ${text}: ${what}`);
    if (exitCode !== 0 && !(isEmpty && mayBeEmpty && exitCode === 1)) complain(`exit ${exitCode}`);
    if (stderr.trim() !== '') complain(stderr.trim());
    if (ERROR.test(stdout) && !/journalctl/.test(command)) complain(stdout.trim());
    if (isEmpty && !mayBeEmpty) complain('prints nothing');
    return stdout.trimEnd();
  }

  /** The command with what a reader puts in the place of its capitals, and the address of this agent. */
  async #substituted(command: string, rule: string): Promise<string> {
    const { violations } = await this.lab.api<{ violations: ApiViolation[] }>('/api/v1/violations');
    const violation = violations.find((one) => one.rule === rule);
    const pid = violation?.process?.pid;
    const values: Readonly<Record<string, string | undefined>> = {
      PID: pid === undefined ? undefined : `${pid}`,
      DEVICE: violation?.device,
      // The first PCI device stands for that of the violation, which is an mdev.
      ADDRESS: '0000:00:00.0',
      RULE: rule || 'duplicate-uuid',
    };
    const text = command.replaceAll(/\b(PID|DEVICE|ADDRESS|RULE)\b(?!-FD)/g, (name) => {
      const value = values[name];
      if (value === undefined) this.wrong.push(`${command}: the violation has no ${name}`);
      return value ?? name;
    });
    return text.replaceAll('127.0.0.1', '10.0.2.15');
  }
}
