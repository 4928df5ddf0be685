/** Input series about violations, for the test cases of alerts. */

export const DEVICE = '8d4a4f5e-0c1b-4a53-9b5b-6f0c6a6e7a01';

/** An ongoing violation of a device that opens in the first minute. @param minutes until it is resolved */
export function ongoingSeries(rule: string, severity: string, minutes: number): string[] {
  const values = minutes < 30 ? `_ 1x${minutes - 1} stale` : '_ 1x60';
  return [
    `vfioscope_violation_info{violation_id="v1-0",rule="${rule}",severity="${severity}",device="${DEVICE}",vm="",parent="gpu0"} ${values}`,
    `vfioscope_violations_open{rule="${rule}",severity="${severity}"} ${values}`,
  ];
}

/** The counter of a rule, which a one-shot violation increases in the third minute. */
export function oneShotSeries(rule: string, severity: string): string {
  return `vfioscope_violations_total{rule="${rule}",severity="${severity}"} 0x2 1x60`;
}

/** The labels of an alert about that device. */
export function deviceLabels(rule: string): Record<string, string> {
  return { rule, device: DEVICE, parent: 'gpu0' };
}
