/** What a legal history has to know of its lives to take no wrong step. */
import type { Creation, Opening, Removal, ToldDevice, ToldVm } from './told.ts';

export interface Guest {
  readonly vm: ToldVm;
  closed: boolean;
}

export interface Lent {
  readonly device: ToldDevice;
  readonly creation: Creation | undefined;
  state: 'creating' | 'ready' | 'removing';
  removal: Removal | undefined;
  opening: Opening | undefined;
  opens: Opening[];
  guest: Guest | undefined;
  /** Its group lost its VM in an exit, so it has to be closed at once. */
  hurried: boolean;
}

/** A device that nobody uses. */
export function idle(device: ToldDevice): Lent {
  return {
    device,
    creation: undefined,
    state: 'ready',
    removal: undefined,
    opening: undefined,
    opens: [],
    guest: undefined,
    hurried: false,
  };
}

export function isIdle({ opening, opens }: Lent): boolean {
  return !opening && opens.length === 0;
}
