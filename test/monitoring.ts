/** Debian's Prometheus and Alertmanager with the rules of this repository, and a receiver of the alerts. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { ALERTMANAGER } from '../dashboards/alerts/alertmanager.ts';
import { alertRules, recordingRules } from '../dashboards/alerts/files.ts';
import { Daemon } from './daemon.ts';
import { type Series, scrapeSeconds, TimeSeries } from './time-series.ts';
import { until } from './until.ts';

/** As Alertmanager sends it. */
export interface Notice {
  readonly status: 'firing' | 'resolved';
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

export class Monitoring {
  /** The notices that the webhook received, in order. */
  readonly notices: Notice[] = [];
  /** Seconds between scrapes. */
  scrapeSeconds = 1;
  readonly #webhook: Server;
  #alertmanager?: Daemon;
  #prometheus?: TimeSeries;

  private constructor() {
    this.#webhook = createServer(async (request, response) => {
      const { alerts } = (await json(request)) as { alerts: Notice[] };
      this.notices.push(...alerts);
      response.end();
    });
  }

  /**
   * Starts all of it, and waits until the agent has been scraped.
   * @param target host:port of the agent
   * @param scale factor for each `for` of the rules, because Prometheus cannot shorten them itself
   */
  static async start(target: string, scale: number): Promise<Monitoring> {
    const monitoring = new Monitoring();
    try {
      await monitoring.#start(target, scale);
    } catch (error) {
      await monitoring.close();
      throw error;
    }
    return monitoring;
  }

  async #start(target: string, scale: number): Promise<void> {
    this.#webhook.listen(0, '127.0.0.1');
    await once(this.#webhook, 'listening');
    const { port } = this.#webhook.address() as AddressInfo;
    this.#alertmanager = await Daemon.start('prometheus-alertmanager', (home) => ({
      'config.file': home.file('alertmanager.yml', {
        ...ALERTMANAGER,
        route: {
          ...ALERTMANAGER.route,
          ...{ group_wait: '100ms', group_interval: '500ms', repeat_interval: '1h' },
        },
        receivers: ALERTMANAGER.receivers.map((receiver) => ({
          ...receiver,
          webhook_configs: [{ url: `http://127.0.0.1:${port}/` }],
        })),
      }),
      'storage.path': `${home.directory}/data`,
      'web.listen-address': home.address,
      'cluster.listen-address': '',
    }));
    this.scrapeSeconds = await scrapeSeconds([{ address: target }]);
    this.#prometheus = await TimeSeries.prometheus(
      [{ address: target }],
      `${this.scrapeSeconds}s`,
      {
        rules: {
          files: {
            'alerts.yml': alertRules({ scale }),
            'recording.yml': recordingRules({ scale }),
          },
          every: '500ms',
          alertmanager: this.#alertmanager.address,
        },
      },
    );
    await this.until('the agent is scraped', async () => {
      const [up] = await this.query('up{job="vfioscope"} == 1');
      return up !== undefined;
    });
  }

  /** Where Alertmanager answers. */
  get alertmanager(): string {
    assert.ok(this.#alertmanager);
    return this.#alertmanager.url;
  }

  get prometheus(): TimeSeries {
    assert.ok(this.#prometheus);
    return this.#prometheus;
  }

  /** The result of an instant query. */
  query(expression: string): Promise<readonly Series[]> {
    return this.prometheus.query(expression);
  }

  /** The first notice of that kind, from number `from` on; waits for it. */
  async notice(status: Notice['status'], alertname: string, from = 0): Promise<Notice> {
    const find = () =>
      this.notices
        .slice(from)
        .find((one) => one.status === status && one.labels.alertname === alertname);
    await this.until(`${alertname} is ${status}`, async () => find() !== undefined);
    return find() as Notice;
  }

  /**
   * Waits until all rules have been evaluated so many seconds from now, by Prometheus' own clock: an
   * alert that does not fire by then was not pending for so long.
   */
  async evaluated(seconds: number): Promise<void> {
    const wanted = Date.now() + seconds * 1000;
    await this.until(`all rules are evaluated ${seconds} s later`, async () => {
      const { groups } = await this.prometheus.get<{
        groups: readonly { readonly lastEvaluation: string }[];
      }>('rules');
      return (
        groups.length > 0 &&
        groups.every(({ lastEvaluation }) => Date.parse(lastEvaluation) >= wanted)
      );
    });
  }

  /** Whether a scrape of the agent failed, such as by a timeout on a busy machine. */
  async hasMissedScrapes(): Promise<boolean> {
    const [up] = await this.query('min_over_time(up{job="vfioscope"}[1h])');
    return up?.values[0] === 0;
  }

  /** How often the agent was scraped. */
  async scrapes(): Promise<number> {
    const [count] = await this.query('vfioscope_scrape_duration_seconds_count');
    return count?.values[0] ?? 0;
  }

  until(what: string, holds: () => Promise<boolean>): Promise<void> {
    return until(what, holds, {
      more: () => {
        const notices = this.notices.map(({ status, labels }) => `${labels.alertname} ${status}`);
        const daemons = [this.#alertmanager, ...(this.#prometheus?.daemons ?? [])];
        const output = daemons.map((daemon) => daemon?.output).join('\n');
        return `; notices: ${notices}; output: ${output}`;
      },
    });
  }

  async close(): Promise<void> {
    await this.#prometheus?.stop();
    await this.#alertmanager?.stop();
    this.#webhook.closeAllConnections();
    this.#webhook.close();
  }
}
