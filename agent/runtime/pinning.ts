/** Tells an operator what was found where probes are pinned, and what that means. */
import type { Logger } from 'pino';
import type { PinReport } from '../../src/kernel/pins.ts';
import { isPinned } from '../../src/kernel/pins-directory.ts';
import type { Config } from '../config/schema.ts';

/** @param report undefined where this agent pins nothing */
export function tellPinning(log: Logger, report: PinReport | undefined, config: Config): void {
  if (!report) {
    const problem = besidePinned(config);
    if (problem) log.warn({ event: 'pins.beside' }, problem);
    return;
  }
  const { directory } = report;
  switch (report.state) {
    case 'new':
      log.info({ event: 'pins.made', directory }, `probes are pinned in ${directory} from now on`);
      break;
    case 'replaced': {
      const { why, unread, records } = report;
      log.warn(
        { event: 'pins.replaced', directory, why, unread, records },
        `what was pinned in ${directory} cannot be used and was replaced: ${why}. ` +
          `${records} records that nobody had read are lost (${unread} bytes).`,
      );
      break;
    }
    case 'continued': {
      const { agent, records, lost, unread } = report;
      log.info(
        { event: 'pins.continued', directory, agent, records, lost, unread },
        `goes on with what vfioscope ${agent} pinned in ${directory}, after ${records} records ` +
          `(${lost} lost): ${unread} bytes are unread`,
      );
      for (const setting of withoutEffect(report, config)) {
        log.warn(
          { event: 'pins.setting', directory },
          `${setting}; to change it: stop the agent, vfioscope unpin, and start it again`,
        );
      }
    }
  }
}

/** What to say of probes that somebody else has pinned, to one who pins none; undefined if there are none. */
export function besidePinned({ pin }: Config): string | undefined {
  if (pin.enabled || !isPinned(pin.directory)) return undefined;
  return (
    `probes are pinned in ${pin.directory}, which this agent does not read: ` +
    'as long as nobody does, they only cost time. vfioscope unpin removes them.'
  );
}

function withoutEffect(
  { ringBytes, moduleBtf }: Extract<PinReport, { state: 'continued' }>,
  { ring, attach }: Config,
): string[] {
  const settings: string[] = [];
  if (ringBytes !== ring.bytes) {
    settings.push(`ring.bytes is ${ring.bytes}, but the pinned ring has ${ringBytes} and stays`);
  }
  if (moduleBtf !== attach.module_btf) {
    settings.push(`attach.module_btf is ${attach.module_btf}, but was ${moduleBtf} and stays so`);
  }
  return settings;
}
