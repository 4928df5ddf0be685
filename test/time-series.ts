/** Debian's Prometheus and VictoriaMetrics, which scrape a test's targets and answer its PromQL. */
import assert from 'node:assert/strict';
import { Daemon, type Home } from './daemon.ts';
import { until } from './until.ts';

/** That of Debian’s package, unless the tests of another version run. */
const PROMETHEUS = process.env.VFIOSCOPE_PROMETHEUS ?? 'prometheus';

type Labels = Readonly<Record<string, string>>;

export interface Target {
  /** "address:port" */
  readonly address: string;
  readonly labels?: Labels;
}

/** Rules for it to evaluate. */
export interface Evaluated {
  /** The contents of rule files, by name. */
  readonly files: Readonly<Record<string, string>>;
  /** The interval of evaluations, such as `500ms`, unless a group has its own. */
  readonly every: string;
  /** "address:port" of the Alertmanager. */
  readonly alertmanager?: string;
}

export interface Options {
  readonly rules?: Evaluated;
  /** The metrics that are dropped after a scrape, as a regular expression. */
  readonly without?: string;
  /** s of samples in a block, instead of two hours. */
  readonly block?: number;
}

/** A series and its values, the latest last, without those that are not numbers. */
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

/**
 * The interval and timeout of scrapes, s: ten times what the slowest of these targets needs now, so that
 * no scrape fails on a busy machine.
 */
export async function scrapeSeconds(targets: readonly Target[]): Promise<number> {
  let slowest = 0;
  for (const { address } of targets) {
    const began = performance.now();
    await (await fetch(`http://${address}/metrics`)).text();
    slowest = Math.max(slowest, performance.now() - began);
  }
  return Math.max(1, Math.ceil(slowest / 100));
}

export class TimeSeries {
  readonly url: string;
  /** The database itself, then the program that evaluates rules for it. */
  readonly daemons: readonly Daemon[];

  private constructor(...daemons: readonly Daemon[]) {
    this.url = daemons[0].url;
    this.daemons = daemons;
  }

  /**
   * Rules are evaluated from the first scrape of every target on: a test shortens the times that alerts
   * wait, and an alert about absent targets would otherwise not outlast the wait for that scrape.
   * @param interval of scrapes, such as `500ms`
   */
  static async prometheus(
    targets: readonly Target[],
    interval: string,
    options: Options = {},
  ): Promise<TimeSeries> {
    const { rules, block } = options;
    const scrapes = { scrape_configs: [job(targets, interval, options)] };
    // programs: prometheus
    const daemon = await Daemon.start(PROMETHEUS, (home) => ({
      'config.file': home.file('config.yml', scrapes),
      'storage.tsdb.path': `${home.directory}/data`,
      ...{ 'web.listen-address': home.address, 'log.level': 'warn' },
      'enable-feature': 'exemplar-storage',
      'web.enable-lifecycle': true,
      ...(block ? { 'storage.tsdb.min-block-duration': `${block}s` } : {}),
    }));
    const database = new TimeSeries(daemon);
    if (!rules) return database;
    try {
      await until('all targets are scraped', async () => {
        const [scraped] = await database.query('count(up)');
        return scraped?.values[0] === targets.length;
      });
      daemon.home.file('config.yml', { ...ruleSettings(daemon.home, rules), ...scrapes });
      const { ok } = await fetch(`${daemon.url}/-/reload`, { method: 'POST' });
      assert.ok(ok, `Prometheus does not load its rules: ${daemon.output}`);
    } catch (error) {
      await database.stop();
      throw error;
    }
    return database;
  }

  /** Rules are left to vmalert, which sends no alerts but records `ALERTS`. */
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
      // Otherwise it hides samples younger than 30 s.
      ...{ 'search.latencyOffset': '1ms', loggerLevel: 'ERROR' },
    }));
    const { rules } = options;
    if (!rules) return new TimeSeries(daemon);
    const evaluator = await Daemon.start('vmalert', (home) => ({
      rule: ruleFiles(home, rules).join(','),
      ...{ 'datasource.url': daemon.url, 'remoteWrite.url': daemon.url },
      ...{ evaluationInterval: rules.every, httpListenAddr: home.address, loggerLevel: 'ERROR' },
      // It refuses alerts without somebody to send them to; nobody listens there.
      'notifier.url': `http://${rules.alertmanager ?? '127.0.0.1:9'}`,
    }));
    return new TimeSeries(daemon, evaluator);
  }

  /** The current values of an expression. */
  query(expression: string): Promise<Series[]> {
    return this.#ask('query', { query: expression });
  }

  /** The values of an expression in the last seconds, one for each second. */
  range(expression: string, seconds: number): Promise<Series[]> {
    const end = Date.now() / 1000;
    const times = { start: `${end - seconds}`, end: `${end}`, step: '1' };
    return this.#ask('query_range', { query: expression, ...times });
  }

  /** The values of a label in the series of a selector. */
  async values(label: string, selector: string): Promise<string[]> {
    return this.get<string[]>(`label/${label}/values`, { 'match[]': selector });
  }

  /** An answer of its API below /api/v1/. */
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
  const alertmanagers = alertmanager ? [{ static_configs: [{ targets: [alertmanager] }] }] : [];
  return {
    global: { evaluation_interval: every },
    rule_files: ruleFiles(home, rules),
    alerting: { alertmanagers },
  };
}

/** @returns their paths */
function ruleFiles(home: Home, { files }: Evaluated): string[] {
  return Object.entries(files).map(([name, text]) => home.file(name, text));
}
