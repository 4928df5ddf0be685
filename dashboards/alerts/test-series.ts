/** Input series about violations, for the test cases of alerts. */

export const DEVICE = '8d4a4f5e-0c1b-4a53-9b5b-6f0c6a6e7a01';

/** An ongoing violation of a device that opens in the first minute. @param minutes until it is resolved */
export function ongoingSeries(rule: string, severity: string, minutes: number): string[] {
  const values = minutes < 30 ? `_ 1x${minutes - 1} stale` : '_ 1x60';
  return [
    `vfioscope_violation_info{violation_id="v1-0",rule="${rule}",severity="${severity}",device="${DEVICE}",vm="vm3",vm_name="web-3",parent="gpu0"} ${values}`,
    `vfioscope_violations_open{rule="${rule}",severity="${severity}"} ${values}`,
  ];
}

/** A one-shot violation in the third minute; promtool begins at 0 s. */
export function oneShotSeries(rule: string, severity: string): string {
  return `vfioscope_last_violation_timestamp_seconds{rule="${rule}",severity="${severity}"} _ _ _ 180x60`;
}

/** The series of a VM, which says how its operator knows it. @param names such as `vm_name="web-3"` */
export function vmSeries(vm: string, pid: number, names: Readonly<Record<string, string>>): string {
  const unknown = { vm_name: '', vm_uuid: '', systemd_unit: '', container_id: '', pod_uid: '' };
  const labels = {
    ...{ vm, pid: `${pid}`, comm: 'qemu-system-x86', trace_id: '' },
    ...{ ...unknown, ...names },
  };
  const text = Object.entries(labels).map(([name, value]) => `${name}="${value}"`);
  return `vfioscope_vm_info{${text.join(',')}} 1x60`;
}

/** A critical violation of that device from the third minute on. */
export function criticalSeries(rule: string, values = '_ _ _ 180x60'): string {
  const labels = Object.entries({ violation_id: 'v1-0', ...criticalLabels(rule) });
  const text = labels.map(([name, value]) => `${name}="${value}"`).join(',');
  return `vfioscope_critical_violation_timestamp_seconds{${text}} ${values}`;
}

/** The labels of an alert about that violation. */
export function criticalLabels(rule: string): Record<string, string> {
  return {
    ...{ rule, device: DEVICE, parent: 'gpu0', vm_pid: '600', vm_comm: 'qemu-system-x86' },
    vm_name: 'web-3',
    ...{ holder_pid: '600', holder_comm: 'qemu-system-x86' },
    systemd_unit: 'machine-qemu-1-web-3.scope',
  };
}

/** The labels of an alert about that device. */
export function deviceLabels(rule: string): Record<string, string> {
  return { rule, device: DEVICE, parent: 'gpu0', vm_name: 'web-3' };
}
