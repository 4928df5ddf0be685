/** The finding that a group has lost its container, which two rules report: each about another cause. */
import type { ObservedTransition, RuleContext } from './rule.ts';
import { deviceWords, openWords } from './words.ts';

/**
 * Reports each device of the group that is certainly open.
 * @param how "was closed", as it stands in the message
 */
export function reportDetached(
  { group, event }: ObservedTransition,
  { report }: RuleContext,
  how: string,
): void {
  for (const device of group?.devices ?? []) {
    if (!device.isOpen) continue;
    report({
      device,
      vm: device.vm,
      task: device.opens[0].task,
      message:
        `Group ${event.groupId} ${how} by ${event.comm()} (pid ${event.pid}) while ` +
        `${deviceWords(device)} was ${openWords(device)}.`,
    });
  }
}
