/** Logs what was found in the directory of pinned probes, and what that means. */
import type { Logger } from 'pino';
import type { PinReport } from '../../src/kernel/pins.ts';
import { isPinned } from '../../src/kernel/pins-directory.ts';
import type { Config } from '../config/schema.ts';

/** @param report undefined where this agent pins nothing */
export function logPinning(log: Logger, report: PinReport | undefined, config: Config): void {
  if (!report) {
    const problem = besidePinned(config);
    if (problem) log.warn({ event: 'pins.unused' }, problem);
    return;
  }
  const { directory } = report;
  switch (report.state) {
    case 'new':
      log.info(
        { event: 'pins.created', directory },
        `probes are pinned in ${directory} and stay attached when the agent stops`,
      );
      break;
    case 'replaced': {
      const { why, unread, records } = report;
      log.warn(
        { event: 'pins.replaced', directory, why, unread, records },
        `the probes pinned in ${directory} cannot be used and were replaced: ${why}. ` +
          `${records} unread records are lost (${unread} bytes).`,
      );
      break;
    }
    case 'continued': {
      const { agent, records, lost, unread } = report;
      log.info(
        { event: 'pins.continued', directory, agent, records, lost, unread },
        `continuing with the probes that vfioscope ${agent} pinned in ${directory}, after ${records} records ` +
          `(${lost} lost): ${unread} bytes are unread`,
      );
      for (const setting of ignoredSettings(report, config)) {
        log.warn(
          { event: 'pins.setting_ignored', directory },
          `${setting}; to change it, stop the agent, run vfioscope unpin, and start the agent again`,
        );
      }
    }
  }
}

/** A warning about probes that another agent has pinned, for one that pins none; undefined if there are none. */
export function besidePinned({ pin }: Config): string | undefined {
  if (pin.enabled || !isPinned(pin.directory)) return undefined;
  return (
    `probes are pinned in ${pin.directory}, which this agent does not read: ` +
    'unless another agent does, they only cost CPU time. vfioscope unpin removes them.'
  );
}

function ignoredSettings(
  { ringBytes, moduleBtf }: Extract<PinReport, { state: 'continued' }>,
  { ring, attach }: Config,
): string[] {
  const settings: string[] = [];
  if (ringBytes !== ring.bytes) {
    settings.push(`ring.bytes is ${ring.bytes}, but the pinned ring keeps its ${ringBytes} bytes`);
  }
  if (moduleBtf !== attach.module_btf) {
    settings.push(
      `attach.module_btf is ${attach.module_btf}, but the pinned probes keep ${moduleBtf}`,
    );
  }
  return settings;
}
