/** Renders rules and dashboards with settings of one's own: `npm run mixin -- --output DIR`. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Command } from 'commander';
import { problemText, UserProblem } from '../../src/problem.ts';
import { alertRules, recordingRules } from '../alerts/files.ts';
import { BOARDS } from '../catalogue.ts';
import { boardJson } from './board.ts';
import { DEFAULT_SETTINGS, readMixinSettings } from './settings.ts';

interface Options {
  readonly config?: string;
  readonly output: string;
}

function render({ config, output }: Options): void {
  const settings = config === undefined ? DEFAULT_SETTINGS : readMixinSettings(config);
  const files = new Map([
    ['alerts.yml', alertRules({ settings })],
    ['recording.yml', recordingRules({ settings })],
    ...BOARDS.map((board) => [`${board.name}.json`, boardJson(board, settings)] as const),
  ]);
  mkdirSync(output, { recursive: true });
  for (const [name, text] of files) writeFileSync(path.join(output, name), text);
  console.log(`${files.size} files are in ${output}: ${[...files.keys()].join(', ')}`);
}

const command = new Command('npm run mixin --')
  .description('Renders the alert rules, recording rules and dashboards.')
  .option('--config <file>', 'settings in YAML, which docs/mixin.md lists')
  .requiredOption('--output <directory>', 'where the files are written')
  .action((options: Options) => {
    try {
      render(options);
    } catch (error) {
      if (!(error instanceof UserProblem)) throw error;
      console.error(problemText(error));
      process.exitCode = 2;
    }
  });
command.parse();
