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
bash test/generated.sh --check
step 'unit tests and the lab, on this machine'
# The lab boots a VM for some of its tests; two at a time are enough for two cores.
node --test --test-concurrency=2 'src/**/*.test.ts' 'agent/**/*.test.ts' 'dashboards/**/*.test.ts' 'test/bench/**/*.test.ts' 'test/lab/**/*.test.ts'

# A VM keeps one core busy, so the tests that boot some, one after the other, leave the other to these.
beside() {
  # What waits for a VM must not wait for these.
  renice -n 10 "$BASHPID" >/dev/null
  step 'traces, to a real collector and to ones that do not work'
  node --test --test-concurrency=1 'test/collector/*.test.ts'
  step 'legal histories, 100,000 of them, of which no rule may speak'
  VFIOSCOPE_CASES=50 node --test src/rules/legal-history.test.ts
  step 'the container image'
  bash test/image.sh
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
beside >"$log" 2>&1 &
step 'end to end on 6.12'
failed=0
node --test --test-concurrency=1 'test/e2e/*.test.ts' || failed=1
wait $! || failed=1
cat "$log"
step 'end to end on 5.10, where modules tell no types'
VFIOSCOPE_KERNEL=5.10 node --test --test-concurrency=1 test/e2e/{scenario,loss,trace}.e2e.test.ts || failed=1
exit "$failed"
