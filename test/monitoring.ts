/** Debian's Prometheus and Alertmanager with the rules of this repository, and whoever gets the alerts. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { setTimeout } from 'node:timers/promises';
import { alertRules, recordingRules } from '../dashboards/alerts/files.ts';
import { Daemon } from './daemon.ts';
import { type Series, TimeSeries } from './time-series.ts';

/** As Alertmanager sends it. */
export interface Notice {
  readonly status: 'firing' | 'resolved';
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

const SECONDS = 30;

export class Monitoring {
  /** What the webhook got, in order. */
  readonly notices: Notice[] = [];
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
   * @param scale by which each `for` of the rules is multiplied: Prometheus itself has no way to wait less
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
        route: {
          ...{ receiver: 'webhook', group_by: ['alertname', 'instance'] },
          ...{ group_wait: '100ms', group_interval: '500ms', repeat_interval: '1h' },
        },
        receivers: [{ name: 'webhook', webhook_configs: [{ url: `http://127.0.0.1:${port}/` }] }],
      }),
      'storage.path': `${home.directory}/data`,
      'web.listen-address': home.address,
      'cluster.listen-address': '',
    }));
    this.#prometheus = await TimeSeries.prometheus([{ address: target }], '1s', {
      rules: {
        files: { 'alerts.yml': alertRules(scale), 'recording.yml': recordingRules(scale) },
        every: '500ms',
        alertmanager: this.#alertmanager.address,
      },
    });
    await this.until('the agent is scraped', async () => {
      const [up] = await this.query('up{job="vfioscope"} == 1');
      return up !== undefined;
    });
  }

  get prometheus(): TimeSeries {
    assert.ok(this.#prometheus);
    return this.#prometheus;
  }

  /** What an instant query answers. */
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

  async until(what: string, holds: () => Promise<boolean>): Promise<void> {
    const deadline = Date.now() + SECONDS * 1000;
    while (Date.now() < deadline) {
      if (await holds().catch(() => false)) return;
      await setTimeout(100);
    }
    const told = this.notices.map(({ status, labels }) => `${labels.alertname} ${status}`);
    const daemons = [this.#alertmanager, ...(this.#prometheus?.daemons ?? [])];
    const said = daemons.map((daemon) => daemon?.said).join('\n');
    assert.fail(`waited ${SECONDS} s in vain until ${what}; told: ${told}; they said: ${said}`);
  }

  async close(): Promise<void> {
    await this.#prometheus?.stop();
    await this.#alertmanager?.stop();
    this.#webhook.closeAllConnections();
    this.#webhook.close();
  }
}
