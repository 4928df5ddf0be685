// SPDX-License-Identifier: Apache-2.0
/**
 * Compares the agent with bpftrace on real kernels: time until all is attached, what a
 * probe costs, and memory. docs/performance.md describes what is compared and why.
 */
import { parseArgs } from 'node:util';
import type { DoctorReport } from '../../../agent/commands/doctor.ts';
import { readMatrix } from '../../lab/kernels.ts';
import { bootLab, type Vm } from '../../lab/lab.ts';
import { Storm, type StormOptions } from '../../lab/storm.ts';
import { median, spread, table } from '../rounds.ts';
import { fullProgram, hooksOf, plainProgram, probeSites } from './peer.ts';
import { costOfEach, costs, Running, type Tracer } from './tracer.ts';

const DEVICES = 1000;
/** As in bpf/event.h. */
const NAME_LENGTH = 40;
/** The length of a program's name in the kernel. */
const PROGRAM_NAME = 15;
const AGENT = 'dist/agent/main.js';
const MODULES = ['mdev', 'vfio', 'vfio_iommu_type1', 'kvm_amd', 'mtty'];

const LOADS: Readonly<Record<string, StormOptions>> = {
  'lifecycles of devices and VMs': {
    ...{ workers: 2, rounds: 100, vmsEvery: 50 },
    ...{ types: [['mtty', 'mtty-1']], open: true, kvm: true },
  },
  'references to VMs': { workers: 2, rounds: 2000, vmsEvery: 1000, loop: 'kvm' },
};

const AGENT_RUN: Tracer = {
  name: 'vfioscope',
  command: [AGENT, 'run', '--no-budget', '--log-format', 'json'],
  ready: /"module":"kvm"/,
  signal: 'SIGTERM',
};

/** A row of the table; ours and the peer's in pairs. */
interface Row {
  readonly name: string;
  readonly ours: number[];
  readonly peers: number[];
  readonly target: number;
  readonly digits: number;
}

const { kernels, rounds, attachOnly } = readArguments();
for (const kernel of kernels) await compare(kernel);

async function compare(kernel: string): Promise<void> {
  const vm = await bootLab({ kernel, timeoutMs: 1_200_000, memoryMiB: 4096 });
  try {
    for (const module of MODULES) await vm.sh(`modprobe ${module}`);
    await vm.sh(`modprobe mdpy count=${DEVICES}; modprobe vfio_mdev 2>/dev/null || true`);
    const doctor = await vm.sh(`${AGENT} doctor --json`);
    const hooks = hooksOf((JSON.parse(doctor) as DoctorReport).points);
    const plain = await bpftrace(vm, 'plain', plainProgram(hooks));
    const rows = [await attachRow(vm, plain)];
    if (!attachOnly) {
      const full = await bpftrace(vm, 'full', fullProgram(hooks));
      const own = new Set(hooks.map(({ program }) => program.slice(0, PROGRAM_NAME)));
      rows.push(...(await loadRows(vm, full, own)));
    }
    print(
      `${kernel} (${vm.kernel.release}), ${probeSites(hooks).size} probe sites, ${rounds} rounds`,
      rows,
    );
  } finally {
    await vm.close();
  }
}

/** The tracers run in turn, so that a slow period of the machine affects both. */
async function attachRow(vm: Vm, peer: Tracer): Promise<Row> {
  const [ours, peers]: [number[], number[]] = [[], []];
  for (let round = 0; round < rounds; round++) {
    for (const [tracer, times] of [
      [AGENT_RUN, ours],
      [peer, peers],
    ] as const) {
      const running = await Running.start(vm, tracer);
      run(`${tracer.name} attached after ${running.attached.toFixed(2)} s`);
      times.push(running.attached);
      await running.stop();
    }
  }
  return { name: 'attached after, s, smallest', ours, peers, target: 0.5, digits: 2 };
}

/** Both tracers run at the same time: the kernel counts for each program separately. */
async function loadRows(vm: Vm, peer: Tracer, own: ReadonlySet<string>): Promise<Row[]> {
  const [our, their] = [await Running.start(vm, AGENT_RUN), await Running.start(vm, peer)];
  run(`${peer.name} that prints it all attached after ${their.attached.toFixed(2)} s`);
  await vm.sh('sysctl -q kernel.bpf_stats_enabled=1');
  const attached = once(our.attached, their.attached);
  const rows: Row[] = [
    { name: 'attached after, s, to print it all', ...attached, target: 0.5, digits: 2 },
  ];
  for (const [name, options] of Object.entries(LOADS)) {
    const row = { name: `ns a run, ${name}`, ours: [], peers: [], target: 0.7, digits: 0 } as Row;
    for (let round = 0; round < rounds; round++) {
      const before = await costs(vm, own);
      await new Storm(vm, options).done;
      const after = await costs(vm, own);
      row.ours.push(costOfEach(before.ours, after.ours));
      row.peers.push(costOfEach(before.peer, after.peer));
      run(`${name}: ${after.ours.runs - before.ours.runs} runs, ${row.ours.at(-1)?.toFixed(0)} ns`);
    }
    rows.push(row);
  }
  const storm = new Storm(vm, { rounds: DEVICES, keep: DEVICES, types: [['mdpy', 'mdpy-vga']] });
  const { creates } = await storm.holding;
  if (creates !== DEVICES) throw new Error(`only ${creates} devices could be created`);
  for (let scrape = 0; scrape < 5; scrape++) {
    await vm.sh('busybox wget -q -O /dev/null http://127.0.0.1:10055/metrics');
  }
  const [ours, peers] = [await our.resident(), await their.resident()];
  const resident = { target: 1, digits: 0 };
  rows.push(
    { name: `resident, ${DEVICES} devices, MB`, ...once(ours.all, peers.all), ...resident },
    { name: '  without files, MB', ...once(ours.own, peers.own), ...resident },
  );
  await storm.end();
  await our.stop();
  await their.stop();
  return rows;
}

/** A value that is measured once. */
function once(ours: number, peers: number): Pick<Row, 'ours' | 'peers'> {
  return { ours: [ours], peers: [peers] };
}

async function bpftrace(vm: Vm, name: string, program: string): Promise<Tracer> {
  const file = `/tmp/${name}.bt`;
  await vm.run(['tee', file], { input: program });
  return {
    name: 'bpftrace',
    command: ['env', `BPFTRACE_STRLEN=${NAME_LENGTH}`, 'bpftrace', '-B', 'line', file],
    ready: /^ready$/m,
    signal: 'SIGINT',
  };
}

function print(title: string, rows: readonly Row[]): void {
  console.log(`\n${title}\n`);
  table([
    ['', 'vfioscope', 'bpftrace', 'ratio', 'target', ''],
    ...rows.map(({ name, ours, peers, target, digits }) => {
      const ratios = ours.map((value, i) => value / peers[i]);
      const verdict = median(ratios) <= target ? 'ok' : 'missed';
      const shown = [spread(ours, digits), spread(peers, digits), spread(ratios, 2)];
      return [name, ...shown, `≤ ${target}`, verdict];
    }),
  ]);
}

/** Prints the result of a round as progress. */
function run(text: string): void {
  console.error(`bench  ${text}`);
}

interface Arguments {
  readonly kernels: readonly string[];
  readonly rounds: number;
  /** Leave out all but the time to attach. */
  readonly attachOnly: boolean;
}

function readArguments(): Arguments {
  const { values } = parseArgs({
    options: {
      kernel: { type: 'string', multiple: true, default: Object.keys(readMatrix().kernels) },
      rounds: { type: 'string', default: '5' },
      'attach-only': { type: 'boolean', default: false },
    },
  });
  return {
    kernels: values.kernel,
    rounds: Number(values.rounds),
    attachOnly: values['attach-only'],
  };
}
