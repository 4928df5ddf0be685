#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs all checks: formatting, types, unit tests, then real kernels in the lab.
set -euo pipefail
# shellcheck source=test/setup.sh
. "$(dirname "$0")/setup.sh"

step() { printf '\n== %s\n' "$*"; }

step 'format and lint'
npx --no-install biome ci --log-level=error
step 'types'
npx --no-install tsc
step 'layers, import circles, retired words'
node test/check/main.ts
step 'generated files'
bash test/generated.sh --check
step 'CONTRIBUTING.md, followed literally'
node test/check/contributing.ts
step 'the programs that are started, and their packages'
node test/programs/check.ts
step 'the pictures of the dashboards'
node dashboards/pictures/main.ts --check
step 'unit tests and the lab, on this machine'
# The lab boots a VM for some of its tests; two at a time are enough for two cores.
node --test --test-concurrency=2 'src/**/*.test.ts' 'agent/**/*.test.ts' 'dashboards/**/*.test.ts' 'test/bench/**/*.test.ts' 'test/generate/*.test.ts' 'test/programs/*.test.ts' 'test/rules/*.test.ts' 'test/lifecycle/*.test.ts' 'test/check/*.test.ts' 'test/kernel-sources/*.test.ts' 'test/kit/*.test.ts' 'test/lab/**/*.test.ts'

# What needs no VM runs beside those tests that do, which must not wait for it.
beside() {
  renice -n 10 "$BASHPID" >/dev/null
  step 'traces, to a real collector and to failing ones'
  node --test --test-concurrency=1 'test/collector/*.test.ts'
  step 'Prometheus 3 of a later Debian'
  node --test test/prometheus3/*.test.ts
  step 'legal histories, 100,000 of them, on which no rule may fire'
  VFIOSCOPE_CASES=50 node --test test/rules/legal-history.test.ts
  step 'benchmarks, a second of each: whether they work, not how fast'
  node test/bench/main.ts --smoke
  node test/bench/fleet/main.ts --smoke
  step 'the container image'
  bash test/image.sh
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
beside >"$log" 2>&1 &
beside=$!
# Each VM keeps one core busy, so two run at a time.
step 'end to end on 6.12'
failed=0
node --test --test-concurrency=2 'test/e2e/*.test.ts' || failed=1
step 'end to end on 5.10, which has no module BTF'
VFIOSCOPE_KERNEL=5.10 node --test --test-concurrency=2 test/e2e/{scenario,loss,trace}.e2e.test.ts || failed=1
wait "$beside" || failed=1
cat "$log"
exit "$failed"
