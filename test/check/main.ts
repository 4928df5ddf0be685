// `npm run check:tree`: the checks of layers, import circles, retired words and kernel numbers. With paths, only the
// words in those are checked, whether they are switched on or not: `npm run check:tree -- src/ docs/a.md`

import { checkImports } from './imports.ts';
import { KERNEL_NUMBERS } from './kernel-numbers.ts';
import { CHECKED_PATHS, RETIRED_WORDS, WORD_EXCEPTIONS } from './retired-words.ts';
import { checkWords } from './words.ts';

const root = process.cwd();
const paths = process.argv.slice(2);
const problems =
  paths.length > 0
    ? checkWords(root, { words: RETIRED_WORDS, exceptions: [], paths })
    : [
        ...(await checkImports(root)),
        ...checkWords(root, {
          words: RETIRED_WORDS,
          exceptions: WORD_EXCEPTIONS,
          paths: CHECKED_PATHS,
        }),
        ...checkWords(root, KERNEL_NUMBERS),
      ];
for (const problem of problems) console.error(problem);
if (problems.length > 0) process.exitCode = 1;
