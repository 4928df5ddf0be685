/** Series of findings, as the cases of alerts need them. */

export const DEVICE = '8d4a4f5e-0c1b-4a53-9b5b-6f0c6a6e7a01';

/** A condition about a device that lasts from the first minute on, until a minute. */
export function lasting(rule: string, severity: string, minutes: number): string[] {
  const values = minutes < 30 ? `_ 1x${minutes - 1} stale` : '_ 1x60';
  return [
    `vfioscope_violation_info{id="v1-0",rule="${rule}",severity="${severity}",device="${DEVICE}",vm="",parent="gpu0"} ${values}`,
    `vfioscope_violations_open{rule="${rule}",severity="${severity}"} ${values}`,
  ];
}

/** A counter that an act moves in the third minute. */
export function acted(rule: string, severity: string): string {
  return `vfioscope_violations_total{rule="${rule}",severity="${severity}"} 0x2 1x60`;
}

/** The labels of an alert about that device. */
export function ofDevice(rule: string): Record<string, string> {
  return { rule, device: DEVICE, parent: 'gpu0' };
}
