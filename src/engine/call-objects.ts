/** Which objects a call in flight is about. */
import type { Call } from '../lifecycle/calls.ts';
import { Group, Parent, Vm } from '../lifecycle/objects.ts';
import { deviceOfCall } from '../lifecycle/operations.ts';
import type { Finding } from './rule.ts';

/** The device, VM or parent that a call is about, and the VM that a device is opened or closed for. */
export function objectsOf(call: Readonly<Call>): Pick<Finding, 'device' | 'vm' | 'parent'> {
  const { subject, request } = call;
  if (subject instanceof Vm) return { vm: subject };
  if (subject instanceof Parent) return { parent: subject };
  const [ofGroup] = subject instanceof Group ? subject.devices : [];
  const device = deviceOfCall(call) ?? ofGroup;
  const vm = call.open?.vm ?? request?.open?.vm ?? device?.vm;
  return { ...(device ? { device } : {}), ...(vm ? { vm } : {}) };
}
