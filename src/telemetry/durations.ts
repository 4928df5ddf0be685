/** How long operations take, counted without allocation and exported as one histogram. */
import { Histogram } from 'prom-client';
import type { Moment } from '../lifecycle/moment.ts';
import { MOMENT_COUNT, type MomentName, momentIndexOf } from '../lifecycle/points.ts';

/** Which moment completes which operation. */
const OPERATIONS: Readonly<Partial<Record<MomentName, string>>> = {
  'mdev.create:end': 'create',
  'mdev.probe:end': 'bind',
  'vfio.device.open:end': 'open',
  'vfio.device.close:end': 'close',
  'mdev.remove:end': 'remove',
  'mdev.remove_child:end': 'remove_child',
  'vfio.unregister:end': 'wait_for_users',
  'mdev.parent.unregister:end': 'parent_unregister',
  'kvm.vm.create:end': 'vm_create',
  'kvm.vm.destroy:end': 'vm_destroy',
};

/** Upper bounds in seconds: from a fast open to a removal that somebody has to look at. */
const BOUNDS = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 600];
const RESULTS = ['ok', 'error'] as const;
const ROW = BOUNDS.length + 3;
const SUM = BOUNDS.length + 1;
const COUNT = BOUNDS.length + 2;

const NAME = 'vfioscope_operation_duration_seconds';
const HELP = 'How long an operation on a device or VM took, by how it ended';
type Label = 'operation' | 'result';

export class Durations extends Histogram<Label> {
  readonly #operations = Object.values(OPERATIONS);
  readonly #operationOf = new Int8Array(MOMENT_COUNT).fill(-1);
  readonly #rows = new Float64Array(this.#operations.length * RESULTS.length * ROW);

  constructor() {
    super({
      name: NAME,
      help: HELP,
      labelNames: ['operation', 'result'],
      registers: [],
    });
    for (const [i, moment] of Object.keys(OPERATIONS).entries()) {
      this.#operationOf[momentIndexOf(moment as MomentName)] = i;
    }
  }

  /** Counts the operation that this moment completes, if it completes one. */
  take(moment: Moment): void {
    const operation = this.#operationOf[moment.index];
    if (operation < 0 || moment.duration < 0) return;
    const at = (operation * RESULTS.length + (moment.event.ret < 0 ? 1 : 0)) * ROW;
    const elapsed = moment.duration / 1e9;
    let bucket = 0;
    while (bucket < BOUNDS.length && elapsed > BOUNDS[bucket]) bucket++;
    this.#rows[at + bucket]++;
    this.#rows[at + SUM] += elapsed;
    this.#rows[at + COUNT]++;
  }

  /**
   * What prom-client renders, in every format: its own get() goes through this
   * method, which its types do not mention. Buckets are cumulative there and
   * single here.
   */
  async getForPromString() {
    const values: object[] = [];
    const sharedLabels = {};
    for (const [i, operation] of this.#operations.entries()) {
      for (const [j, result] of RESULTS.entries()) {
        const at = (i * RESULTS.length + j) * ROW;
        const labels = { operation, result };
        let below = 0;
        for (const [k, le] of [...BOUNDS, '+Inf'].entries()) {
          below += this.#rows[at + k];
          values.push({
            metricName: `${NAME}_bucket`,
            labels: { ...labels, le },
            sharedLabels,
            value: below,
          });
        }
        values.push({
          metricName: `${NAME}_sum`,
          labels,
          sharedLabels,
          value: this.#rows[at + SUM],
        });
        values.push({
          metricName: `${NAME}_count`,
          labels,
          sharedLabels,
          value: this.#rows[at + COUNT],
        });
      }
    }
    return { name: NAME, help: HELP, type: 'histogram', aggregator: 'sum', values };
  }
}
