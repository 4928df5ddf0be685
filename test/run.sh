#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything that has to hold: formatting, types, unit tests, then real kernels in the lab.
set -euo pipefail
# shellcheck source=test/setup.sh
. "$(dirname "$0")/setup.sh"

step() { printf '\n== %s\n' "$*"; }

step 'format and lint'
npx --no-install biome ci --log-level=error
step 'types'
npx --no-install tsc
step 'generated files'
node src/events/generate-wire.ts --check
node src/lifecycle/generate-automata.ts --check
node test/e2e/support-doc.ts --check
node test/e2e/rules-doc.ts --check
node test/e2e/calm-doc.ts --check
step 'unit tests and the lab, on this machine'
# The lab boots a VM for some of its tests; two at a time are enough for two cores.
node --test --test-concurrency=2 'src/**/*.test.ts' 'agent/**/*.test.ts' 'test/lab/**/*.test.ts'
step 'legal histories, 100,000 of them, of which no rule may speak'
VFIOSCOPE_CASES=25 node --test src/rules/legal-history.test.ts &
VFIOSCOPE_CASES=25 VFIOSCOPE_SEED=1 node --test src/rules/legal-history.test.ts
wait $!
step 'end to end on 6.12'
# One VM at a time: what they do at once is what is tested, not how the machine shares itself.
node --test --test-concurrency=1 'test/e2e/*.test.ts'
step 'end to end on 5.10, where modules tell no types'
VFIOSCOPE_KERNEL=5.10 node --test --test-concurrency=1 test/e2e/{scenario,loss}.e2e.test.ts
step 'the container image'
bash test/image.sh
