/**
 * Series of single lives as text. A host has tens of thousands of them, so each is written at once,
 * from a label that is made once for each life: prom-client takes five times as long.
 */
import { vmId } from '../../rules/words.ts';
import type { Format } from './exposition.ts';
import { type LifeMetric, type LifeSamples, type Scrape, unitOf } from './metric.ts';

/** Characters that are put together before they become bytes: much faster than all or each line at once. */
const PIECE = 4096;

/** One part of a document, in pieces. */
export function writeLives(
  metrics: readonly LifeMetric[],
  scrape: Scrape,
  format: Format,
): Buffer[] {
  const begun = metrics.map((metric) => ({ metric, samples: new LifeSeries(metric, format) }));
  for (const { metric, samples } of begun) metric.collect?.(scrape, samples);
  const { devices, vms, source } = scrape;
  const ofDevices = begun.filter(({ metric }) => metric.ofDevice);
  for (const device of devices) {
    const label = subject('device', device.name);
    for (const { metric, samples } of ofDevices) metric.ofDevice?.(device, label, samples, source);
  }
  const ofVms = begun.filter(({ metric }) => metric.ofVm);
  for (const vm of vms) {
    const label = subject('vm', vmId(vm));
    for (const { metric, samples } of ofVms) metric.ofVm?.(vm, label, samples, source);
  }
  return begun.flatMap(({ samples }) => samples.end());
}

/** One metric of a document. */
export class LifeSeries implements LifeSamples {
  readonly #name: string;
  /** What stands in front of the value of each label. */
  readonly #labels: readonly string[];
  /** The same without the first. */
  readonly #others: readonly string[];
  readonly #pieces: Buffer[] = [];
  #text: string;

  constructor(metric: LifeMetric, format: Format) {
    const { name, type, labels, help } = metric;
    this.#name = name;
    this.#labels = labels.map((label, i) => `${i === 0 ? '{' : ','}${label}="`);
    this.#others = this.#labels.slice(1);
    const unit = unitOf(metric);
    this.#text = unit && format === 'openmetrics' ? `# UNIT ${name} ${unit}\n` : '';
    this.#text += `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
  }

  show(value: number, labels: readonly string[]): void {
    this.#line(this.#name, this.#labels, value, labels);
  }

  about(subject: string, value: number, others: readonly string[] = []): void {
    this.#line(this.#name + subject, this.#others, value, others);
  }

  end(): readonly Buffer[] {
    this.#pieces.push(Buffer.from(this.#text));
    return this.#pieces;
  }

  #line(name: string, names: readonly string[], value: number, labels: readonly string[]): void {
    let line = name;
    for (let i = 0; i < names.length; i++) line += `${names[i]}${escaped(labels[i])}"`;
    this.#text += line;
    this.#text += `} ${value}\n`;
    if (this.#text.length < PIECE) return;
    this.#pieces.push(Buffer.from(this.#text));
    this.#text = '';
  }
}

/** A first label, as {@link LifeSamples.about} takes it for all series of one life. */
function subject(label: string, value: string): string {
  return `{${label}="${escaped(value)}"`;
}

const SPECIAL = /["\\\n]/;

function escaped(value: string): string {
  if (!SPECIAL.test(value)) return value;
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
