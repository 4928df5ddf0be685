// SPDX-License-Identifier: Apache-2.0
/** Many simulated hosts in few processes, as targets of a scrape. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import type { Target } from '../../time-series.ts';

const HOSTS_OF_PROCESS = 50;

export class Fleet {
  readonly targets: readonly Target[];
  readonly #processes: readonly ChildProcess[];

  private constructor(targets: readonly Target[], processes: readonly ChildProcess[]) {
    this.targets = targets;
    this.#processes = processes;
  }

  /**
   * Waits until all of them can be scraped.
   * @param devices of each
   * @param compression how many seconds they live in each real one
   */
  static async start(agents: number, devices: number, compression = 1): Promise<Fleet> {
    const processes: ChildProcess[] = [];
    const file = path.join(import.meta.dirname, 'hosts.ts');
    for (let first = 0; first < agents; first += HOSTS_OF_PROCESS) {
      const count = Math.min(HOSTS_OF_PROCESS, agents - first);
      processes.push(fork(file, [count, devices, first + 1, compression].map(String)));
    }
    const addresses = await Promise.all(
      processes.map(async (child) => {
        const ended = once(child, 'exit').then(() => Promise.reject(new Error('hosts.ts ended')));
        return ((await Promise.race([once(child, 'message'), ended])) as [string[]])[0];
      }),
    );
    const targets = addresses.flatMap((some, i) =>
      some.map((address, j) => ({
        address,
        labels: { cluster: `cluster${i + 1}`, instance: `kvm${i + 1}-${j + 1}:10055` },
      })),
    );
    return new Fleet(targets, processes);
  }

  stop(): void {
    for (const child of this.#processes) child.disconnect();
  }
}
