/**
 * Names that a process passes to the kernel may have a secret behind them: a VMM passes a VF token
 * behind the name of its device, or wrongly in front of it: "vf_token=UUID". The probes cut such a name at
 * its first blank or "=" (`read_user_name()` of bpf/layout.h). This does the same to the records of older probes, which did not.
 */
import { EVENT, FLAG, NAMES, POINT, WIRE } from './wire.gen.ts';

const BLANK = 0x20;
const EQUALS = 0x3d;
const LENGTH = WIRE.names.find(({ name }) => name === 'device')?.size ?? 0;

/**
 * Cuts the name in a record, in place, if a process passed it: all other names are the kernel's own.
 * @param start index of the record's first byte
 */
export function cutUserName(bytes: Uint8Array, start: number): void {
  const point = bytes[start + EVENT.point];
  const isNamed = (bytes[start + EVENT.flags] & FLAG.EVENT_NAMED) !== 0;
  const isOfUser = point === POINT.VFIO_DEVICE_GET_FD || point === POINT.MODULE_UNLOAD;
  if (!isNamed || !isOfUser) return;
  const name = bytes.subarray(start + NAMES.device, start + NAMES.device + LENGTH);
  const end = name.findIndex((byte) => byte <= BLANK || byte === EQUALS);
  if (end < 0) return;
  const rest = name.subarray(end);
  if (rest.some((byte) => byte > BLANK && byte !== EQUALS))
    bytes[start + EVENT.flags] |= FLAG.EVENT_OPTIONS;
  rest.fill(0);
}
