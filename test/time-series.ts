/** Debian's Prometheus and VictoriaMetrics, which scrape what a test serves and answer its PromQL. */
import assert from 'node:assert/strict';
import { Daemon, type Home } from './daemon.ts';

type Labels = Readonly<Record<string, string>>;

export interface Target {
  /** "address:port" */
  readonly address: string;
  readonly labels?: Labels;
}

/** Rules that it evaluates itself. */
export interface Evaluated {
  /** What a rule file contains, by its name. */
  readonly files: Readonly<Record<string, string>>;
  /** Between evaluations, such as `500ms`, unless a group has its own. */
  readonly every: string;
  /** "address:port" of who is told of alerts. */
  readonly alertmanager?: string;
}

export interface Options {
  readonly rules?: Evaluated;
  /** Which metrics are thrown away after a scrape, as a regular expression. */
  readonly without?: string;
}

/** A series and its values, the latest last; those that are no number are left out. */
export interface Series {
  readonly labels: Labels;
  readonly values: readonly number[];
}

type Sample = readonly [time: number, value: string];

interface Answer {
  readonly metric: Labels;
  readonly value?: Sample;
  readonly values?: readonly Sample[];
}

export class TimeSeries {
  readonly url: string;
  /** The database itself, then what evaluates rules for it. */
  readonly daemons: readonly Daemon[];

  private constructor(...daemons: readonly Daemon[]) {
    this.url = daemons[0].url;
    this.daemons = daemons;
  }

  /** @param interval between scrapes, such as `500ms` */
  static async prometheus(
    targets: readonly Target[],
    interval: string,
    options: Options = {},
  ): Promise<TimeSeries> {
    const daemon = await Daemon.start('prometheus', (home) => ({
      'config.file': home.file('config.yml', {
        ...(options.rules ? ruleSettings(home, options.rules) : {}),
        scrape_configs: [job(targets, interval, options)],
      }),
      'storage.tsdb.path': `${home.directory}/data`,
      ...{ 'web.listen-address': home.address, 'log.level': 'warn' },
      'enable-feature': 'exemplar-storage',
      // Tests ask it for a copy of what it keeps in memory.
      'web.enable-admin-api': true,
    }));
    return new TimeSeries(daemon);
  }

  /** Rules, of which only those that record are evaluated, are left to vmalert. */
  static async victoriaMetrics(
    targets: readonly Target[],
    interval: string,
    options: Options = {},
  ): Promise<TimeSeries> {
    const daemon = await Daemon.start('victoria-metrics', (home) => ({
      'promscrape.config': home.file('config.yml', {
        scrape_configs: [job(targets, interval, options)],
      }),
      ...{ storageDataPath: `${home.directory}/data`, httpListenAddr: home.address },
      // Otherwise it hides what is younger than 30 s.
      ...{ 'search.latencyOffset': '1ms', loggerLevel: 'ERROR' },
    }));
    const { rules } = options;
    if (!rules) return new TimeSeries(daemon);
    const evaluator = await Daemon.start('vmalert', (home) => ({
      rule: ruleFiles(home, rules).join(','),
      ...{ 'datasource.url': daemon.url, 'remoteWrite.url': daemon.url },
      ...{ evaluationInterval: rules.every, httpListenAddr: home.address, loggerLevel: 'ERROR' },
    }));
    return new TimeSeries(daemon, evaluator);
  }

  /** What is now. */
  query(expression: string): Promise<Series[]> {
    return this.#ask('query', { query: expression });
  }

  /** What was in the last so many seconds, at each of them. */
  range(expression: string, seconds: number): Promise<Series[]> {
    const end = Date.now() / 1000;
    const times = { start: `${end - seconds}`, end: `${end}`, step: '1' };
    return this.#ask('query_range', { query: expression, ...times });
  }

  /** The values that a label has in the series that a selector finds. */
  async values(label: string, selector: string): Promise<string[]> {
    return this.get<string[]>(`label/${label}/values`, { 'match[]': selector });
  }

  /** What its API answers below /api/v1/. */
  async get<Data>(path: string, parameters: Labels = {}): Promise<Data> {
    const response = await fetch(`${this.url}/api/v1/${path}?${new URLSearchParams(parameters)}`);
    const { status, data, error } = (await response.json()) as Record<string, unknown>;
    assert.equal(status, 'success', `${error}\n${JSON.stringify(parameters)}`);
    return data as Data;
  }

  async stop(): Promise<void> {
    for (const daemon of this.daemons.toReversed()) await daemon.stop();
  }

  async #ask(path: string, parameters: Labels): Promise<Series[]> {
    const { result } = await this.get<{ result: Answer[] }>(path, parameters);
    return result.map(({ metric, value, values = value ? [value] : [] }) => ({
      labels: metric,
      values: values.map(([, text]) => Number(text)).filter((number) => !Number.isNaN(number)),
    }));
  }
}

function job(targets: readonly Target[], interval: string, { without }: Options) {
  const dropped = { source_labels: ['__name__'], regex: without, action: 'drop' };
  return {
    job_name: 'vfioscope',
    scrape_interval: interval,
    scrape_timeout: interval,
    metric_relabel_configs: without ? [dropped] : [],
    static_configs: targets.map(({ address, labels = {} }) => ({ targets: [address], labels })),
  };
}

function ruleSettings(home: Home, rules: Evaluated) {
  const { every, alertmanager } = rules;
  const told = alertmanager ? [{ static_configs: [{ targets: [alertmanager] }] }] : [];
  return {
    global: { evaluation_interval: every },
    rule_files: ruleFiles(home, rules),
    alerting: { alertmanagers: told },
  };
}

/** @returns their paths */
function ruleFiles(home: Home, { files }: Evaluated): string[] {
  return Object.entries(files).map(([name, text]) => home.file(name, text));
}
