/** All dashboards, from the fleet to a single device or VM, and the agents. */
import type { Board } from './board.ts';
import { AGENT_BOARD } from './boards/agent.ts';
import { DEVICE_BOARD } from './boards/device.ts';
import { FLEET } from './boards/fleet.ts';
import { HOST_BOARD } from './boards/host.ts';
import { VM_BOARD } from './boards/vm.ts';

export const BOARDS: readonly Board[] = [FLEET, HOST_BOARD, DEVICE_BOARD, VM_BOARD, AGENT_BOARD];
