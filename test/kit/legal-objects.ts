/** What a legal history has to know of its objects to take only legal steps. */
import type {
  Creation,
  Opening,
  Removal,
  ScenarioDevice,
  ScenarioVm,
} from '../../src/scenario/types.ts';

export interface Guest {
  readonly vm: ScenarioVm;
  closed: boolean;
}

export interface Assigned {
  readonly device: ScenarioDevice;
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
export function idle(device: ScenarioDevice): Assigned {
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

export function isIdle({ opening, opens }: Assigned): boolean {
  return !opening && opens.length === 0;
}
