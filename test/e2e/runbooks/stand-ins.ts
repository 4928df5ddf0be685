// SPDX-License-Identifier: Apache-2.0
/** Which commands of runbooks cannot run in the lab's VM, and shell functions for programs that others replace there. */

/** Commands that are not run, and why. A new one belongs here only if no VM of the lab can have what it needs. */
export const NOT_RUN: Readonly<Record<string, string>> = {
  'systemctl --no-pager status vfioscope': 'the VM has no systemd',
  'systemctl show vfioscope -p CPUQuotaPerSecUSec,Nice': 'the VM has no systemd',
  'systemctl show vfioscope -p NRestarts,Result,ExecMainStatus': 'the VM has no systemd',
  'sudo virsh -c qemu:///system nodedev-list --cap mdev':
    'only the VM of test/e2e/libvirt.e2e.test.ts has libvirtd',
  'sudo journalctl --no-pager -k -b -1 -n 100': 'the VM has no previous boot',
  'sudo journalctl --no-pager -b -u UNIT --since -30m': 'the VM has no units',
  'sudo journalctl --no-pager -u systemd-journald --since -1h | grep -i suppressed':
    'the VM has no journald',
  'sudo journalctl --no-pager -u prometheus --since -1h | grep -iE "config|discovery"':
    'the VM has no Prometheus',
  "curl -sS http://localhost:9090/api/v1/targets | jq '.data.activeTargets[].labels'":
    'the VM has no Prometheus',
  'curl -sS http://localhost:9090/api/v1/targets | jq \'.data.activeTargets[] | select(.health == "down") | [.labels.instance, .lastError]\'':
    'the VM has no Prometheus',
  'promtool query instant http://localhost:9090 \'sum by (instance, parent, state) (vfioscope_devices{mdev_type="TYPE"})\'':
    'the VM has no Prometheus',
  'promtool query instant http://localhost:9090 \'sort(vfioscope_last_violation_timestamp_seconds{rule="RULE"})\'':
    'the VM has no Prometheus',
  "promtool query range --start=$(date -d '-1 day' +%s) --step=1h http://localhost:9090 cluster:vfioscope_targets:count":
    'the VM has no Prometheus',
};

export function isRun(command: string): boolean {
  return !Object.hasOwn(NOT_RUN, command);
}

/** Where the test puts the log of the agent in the VM. */
export const AGENT_LOG = '/tmp/agent.log';

/** Bodies of shell functions, by the program that each replaces. */
export const STAND_INS: Readonly<Record<string, string>> = {
  // Everything runs as root.
  sudo: '"$@"',
  vfioscope: `${process.execPath} dist/agent/main.js "$@"`,
  // The kernel's own log, or the agent's. What is recent is taken for the last lines.
  journalctl:
    'case " $* " in *" -k -b --since "*) dmesg | tail -n 30;; *" -k "*) dmesg;; ' +
    `*" -n 50 "*) tail -n 50 ${AGENT_LOG};; *) cat ${AGENT_LOG};; esac`,
};
